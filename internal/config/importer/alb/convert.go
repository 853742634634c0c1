package alb

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
)

type converter struct {
	*objects
	r      *importer.Report
	c      *config.Config
	folder string

	groupOf  map[string]object            // by ARN
	targets  map[string]object            // descriptions of the health of targets, by ARN of their group
	settings map[string]map[string]object // attributes, by the ARN of what they are of
	pools    map[string]string            // from what pools are made of to their names
	names    map[string]bool
}

func convert(all *objects, folder string, r *importer.Report) *config.Config {
	c := config.Defaults()
	c.HTTP.Via = false
	v := &converter{objects: all, r: r, c: &c, folder: folder, groupOf: map[string]object{}, targets: map[string]object{}, settings: map[string]map[string]object{}, pools: map[string]string{}, names: map[string]bool{}}
	for _, g := range all.groups {
		v.groupOf[g.Str("TargetGroupArn")] = g
	}
	for _, h := range all.health {
		g, err := of(h, "TargetGroupArn", "TargetGroupName", all.groups)
		if err != nil {
			r.Refuse(h.at(), "TargetHealthDescriptions", "%v", err)
			continue
		}
		v.targets[g.Str("TargetGroupArn")] = h
	}
	for _, a := range all.attributes {
		v.attributesOf(a)
	}
	balancers := map[string]object{}
	for _, b := range all.balancers {
		balancers[b.Str("LoadBalancerArn")] = b
		v.balancer(b)
	}
	for _, l := range all.listeners {
		v.listener(l, balancers[l.Str("LoadBalancerArn")])
	}
	v.unused()
	v.dropPools()
	r.Locate("", all.listeners[0].at())
	v.once(all.listeners[0])
	return &c
}

// dropPools removes the pools of target groups that only share one with others.
func (v *converter) dropPools() {
	used := map[string]bool{}
	for _, l := range v.c.Listeners {
		used[l.Pool] = true
	}
	for _, r := range v.c.Routes {
		used[r.Pool] = true
	}
	v.c.Pools = slices.DeleteFunc(v.c.Pools, func(p config.Pool) bool { return !used[p.Name] })
}

// balancer notes what becomes of a load balancer itself.
func (v *converter) balancer(b object) {
	directive := "LoadBalancer " + b.Str("LoadBalancerName")
	switch b.Str("Type") {
	case "gateway":
		v.r.Refuse(b.at("Type"), directive, "a Gateway Load Balancer sends packets through appliances, which holdfast doesn't do")
		return
	case "application":
		if v.settings[b.Str("LoadBalancerArn")] == nil {
			v.r.Differ(b.at("LoadBalancerName"), directive, "", "its attributes aren't in the files: add the output of aws elbv2 describe-load-balancer-attributes (without it, a silent session ends after an hour, and with an ALB after 60 s)")
		}
	}
	v.r.Skip(b.at("LoadBalancerName"), directive, "clients find holdfast by its own address: change the DNS record")
	if b.Str("Type") == "application" {
		v.r.Differ(b.at("LoadBalancerArn"), directive, "", "whether a web ACL (WAF) guards it isn't in the files: if one does, it must stay before holdfast, as at CloudFront")
	}
	if groups := b.Texts("SecurityGroups"); len(groups) > 0 {
		v.r.Differ(b.at("SecurityGroups"), "SecurityGroups "+strings.Join(groups, " "), "", "who may connect is decided outside: give the machines of holdfast the same groups, and let the targets' groups admit them")
	}
}

// once reports what differs for all files.
func (v *converter) once(first object) {
	http := false
	for i := range v.c.Listeners {
		http = http || !v.c.Listeners[i].Opaque()
	}
	if !http {
		return
	}
	for _, text := range []string{
		"pages of any origin may open WebSockets, as before; to admit only your own, write origins: same_site",
		"pings keep silent sessions alive, and find clients that are gone; write keepalive: {interval: 0} for none",
		"requests that servers read in different ways (with //, %2f, ; or .. in the path) get 400",
		"backends get X-Forwarded-For with addresses that are believed only, and no X-Amzn-Trace-Id; forwarded: {trust: [...], trace_context: true}",
	} {
		v.r.Differ(first.at(), listenerName(first), "", "%s", text)
	}
}

func listenerName(l object) string {
	return fmt.Sprintf("%s-%d", strings.ToLower(l.Str("Protocol")), l.Num("Port"))
}

// listener adds a listener and its routes.
func (v *converter) listener(l, balancer object) {
	name := listenerName(l)
	directive := "Listener " + name
	protocol := l.Str("Protocol")
	if v.names["listener "+name] {
		v.r.Refuse(l.at("Port"), directive, "another listener has this protocol and port: import one load balancer at a time, or change the port")
		return
	}
	v.names["listener "+name] = true
	address, err := hostport.Parse(fmt.Sprintf(":%d", l.Num("Port")))
	if err != nil {
		v.r.Refuse(l.at("Port"), directive, "%v", err)
		return
	}
	out := config.Listener{Name: name, Address: address}
	p := config.Path("listeners").Index(len(v.c.Listeners))
	switch protocol {
	case "HTTP", "HTTPS":
		out.Origins = &config.Origins{Allow: []origin.Pattern{origin.Any}}
	case "TCP", "TLS":
		out.Mode = config.ModeTCP
	default:
		v.r.Refuse(l.at("Protocol"), directive, "holdfast has no %s", cmp.Or(hint.Cut(protocol), "such protocol"))
		return
	}
	if protocol == "HTTPS" || protocol == "TLS" {
		out.TLS = v.tls(l, balancer, p.Key("tls"))
	}
	v.r.Carry(l.at("Port"), directive, p)
	if a := l.Texts("AlpnPolicy"); len(a) > 0 && a[0] != "None" {
		v.r.Differ(l.at("AlpnPolicy"), "AlpnPolicy "+a[0], "", "with mode: tcp, no protocol is agreed on (ALPN)")
	}
	if out.Mode == config.ModeTCP {
		v.c.Listeners = append(v.c.Listeners, out)
		i := len(v.c.Listeners) - 1
		if len(l.All("DefaultActions")) == 0 {
			v.r.Refuse(l.at(), directive, "it has no DefaultActions")
			return
		}
		v.c.Listeners[i].Pool, _ = v.forward(object{l.All("DefaultActions")[0], l.file}, true)
		return
	}
	v.c.Listeners = append(v.c.Listeners, out)
	for _, r := range v.rulesOf(l) {
		v.rule(r, name)
	}
	v.defaultRule(l, name)
}

// rulesOf are the rules of a listener in the order of their priorities, without the
// default one.
func (v *converter) rulesOf(l object) (rules []object) {
	arn := l.Str("ListenerArn")
	for _, r := range v.rules {
		if r.True("IsDefault") || r.Str("Priority") == "default" {
			continue
		}
		// arn:...:listener-rule/app/NAME/ID/LISTENER/RULE
		if of := strings.Replace(path.Dir(r.Str("RuleArn")), ":listener-rule/", ":listener/", 1); of == arn || r.Str("ListenerArn") == arn {
			rules = append(rules, r)
		}
	}
	slices.SortStableFunc(rules, func(a, b object) int { return cmp.Compare(priority(a), priority(b)) })
	return rules
}

func priority(r object) int {
	n, err := strconv.Atoi(r.Str("Priority"))
	if err != nil {
		return 1 << 30
	}
	return n
}

// tls reads the certificates and the policy of a listener.
func (v *converter) tls(l, balancer object, p config.Path) *config.ListenerTLS {
	t := new(config.ListenerTLS)
	t.SetDefaults()
	for i, cert := range l.All("Certificates") {
		arn := cert.Str("CertificateArn")
		base := safe(path.Base(arn))
		t.Certificates = append(t.Certificates, config.Certificate{Cert: filepath.Join(v.folder, base+".crt"), Key: filepath.Join(v.folder, base+".key")})
		v.r.Differ(object{cert, l.file}.at("CertificateArn"), "Certificate "+arn, p.Key("certificates").Index(i),
			"AWS doesn't give away keys of its certificates: put one of your own into %s.crt and %s.key, or write acme: {domains: [...]}", base, base)
	}
	policy := l.Str("SslPolicy")
	at := l.at("SslPolicy")
	switch {
	case policy == "":
	case strings.Contains(policy, "TLS13-1-3"):
		t.MinVersion = "1.3"
		v.r.Carry(at, "SslPolicy "+policy, p.Key("min_version"))
	case strings.Contains(policy, "-1-2-") || strings.Contains(policy, "FS-1-2"):
		v.r.Carry(at, "SslPolicy "+policy, p.Key("min_version"))
	default:
		v.r.Differ(at, "SslPolicy "+policy, p.Key("min_version"), "clients need TLS 1.2 or 1.3, and this policy may let in older ones")
	}
	if a, ok := v.settings[balancer.str("LoadBalancerArn")]["routing.http2.enabled"]; ok && a.Str("Value") == "false" {
		t.HTTP2 = false
	}
	v.mutual(l, t, p)
	return t
}

// mutual reads what certificates clients need.
func (v *converter) mutual(l object, t *config.ListenerTLS, p config.Path) {
	mode := l.Str("MutualAuthentication", "Mode")
	at := l.at("MutualAuthentication")
	directive := "MutualAuthentication " + mode
	switch mode {
	case "", "off":
		return
	case "verify":
	default:
		v.r.RefuseGuard(at, directive, "certificates that aren't verified can't be passed on: use verify, with a trust store")
		return
	}
	base := safe(path.Base(path.Dir(l.Str("MutualAuthentication", "TrustStoreArn"))))
	t.ClientCA = filepath.Join(v.folder, base+".pem")
	t.ClientHeaders = config.Headers{
		{"X-Amzn-Mtls-Clientcert-Subject", "subject"}, {"X-Amzn-Mtls-Clientcert-Issuer", "issuer"},
		{"X-Amzn-Mtls-Clientcert-Serial-Number", "serial"}, {"X-Amzn-Mtls-Clientcert-Leaf", "pem"},
	}
	v.r.Differ(at, directive, p.Key("client_ca"), "put the authorities of the trust store into %s.pem; backends get the same fields, but no X-Amzn-Mtls-Clientcert-Validity", base)
	if l.True("MutualAuthentication", "IgnoreClientCertificateExpiry") {
		v.r.Differ(l.at("MutualAuthentication", "IgnoreClientCertificateExpiry"), "IgnoreClientCertificateExpiry", "", "expired certificates are refused")
	}
}

// safe is a name without anything that has a meaning in a path.
func safe(s string) string {
	return strings.TrimLeft(strings.Map(func(c rune) rune {
		if c == '.' || c == '-' || c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' {
			return c
		}
		return '_'
	}, s), ".")
}

// unused reports what no listener has needed.
func (v *converter) unused() {
	for _, r := range v.rules {
		if !v.names["rule "+r.Str("RuleArn")] {
			if r.True("IsDefault") || r.Str("Priority") == "default" {
				v.r.Skip(r.at("Priority"), "Rule default", "the DefaultActions of its listener say the same")
			} else {
				v.r.Skip(r.at("Priority"), "Rule "+r.Str("Priority"), "its listener isn't in the files")
			}
		}
	}
	for _, g := range v.groups {
		if !v.names["group "+g.Str("TargetGroupArn")] {
			v.r.Skip(g.at("TargetGroupName"), "TargetGroup "+g.Str("TargetGroupName"), "no listener leads to it")
		}
	}
}
