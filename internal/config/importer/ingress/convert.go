package ingress

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Options say what isn't in the objects.
type Options struct {
	// ClusterDomain is the domain of the names of Services; "" is cluster.local.
	ClusterDomain string
	// Folder has the files of certificates, named after their Secrets.
	Folder string
	// Cluster is set by a program that watches a cluster; nil stands for files.
	Cluster *Cluster
}

// Built is a Config, and which Ingresses its parts are from.
type Built struct {
	Config *config.Config
	Routes []Origin     // of Config.Routes
	Pools  []PoolOrigin // of Config.Pools
}

// Origin is what a part of a Config was made from.
type Origin struct {
	Ingress      *Ingress // nil: of no Ingress
	config.Place          // of the path, or of what else it was made from
}

// PoolOrigin is where a pool finds its backends. Service is "" if that isn't a Service,
// but a name in DNS.
type PoolOrigin struct {
	Origin
	Service string // in the namespace of the Ingress
	Port    int    // its number
}

// Convert builds what the objects say. What became of each annotation is reported to r.
// The result isn't checked yet.
func Convert(o *Objects, opts Options, r *importer.Report) *config.Config {
	return Build(o, opts, r).Config
}

// Build is Convert for those who want to know where everything is from.
func Build(o *Objects, opts Options, r *importer.Report) *Built {
	c := config.Defaults()
	v := &converter{Options: opts, r: r, c: &c, services: map[string]*Service{}, secrets: map[string]*Secret{}, used: map[string]bool{}, signatures: map[string]string{}, noted: map[string]bool{}, files: map[string]string{},
		names: listenerNames{http: "http", https: "https"}}
	v.ClusterDomain = cmp.Or(v.ClusterDomain, "cluster.local")
	maps := map[string]*ConfigMap{}
	for i := range o.Services {
		v.services[o.Services[i].key()] = &o.Services[i]
	}
	for i := range o.Secrets {
		v.secrets[o.Secrets[i].key()] = &o.Secrets[i]
	}
	for i := range o.ConfigMaps {
		maps[o.ConfigMaps[i].key()] = &o.ConfigMaps[i]
	}
	var all []*conf
	for i := range o.Ingresses {
		all = append(all, &conf{Ingress: &o.Ingresses[i], settings: readSettings(&o.Ingresses[i], maps, opts.Cluster != nil)})
	}
	inOrder(all)
	v.aliasOf = map[string]*server{}
	servers := v.servers(all)
	v.hosts = map[pattern.Host]bool{}
	for _, s := range servers {
		for _, name := range append(s.aliases, s.host) {
			if h, err := pattern.ParseHost(name); err == nil {
				v.hosts[h] = true
			}
		}
	}
	if v.Cluster != nil {
		v.clusterListeners(servers)
	} else {
		v.global(all)
		v.listeners(servers, all)
	}
	v.allRoutes(servers)
	for _, conf := range all {
		v.flush(conf)
	}
	if v.Cluster == nil {
		v.unused(o, maps)
		v.once(all)
	}
	return &Built{&c, v.routeOrigins, v.poolOrigins}
}

// maxBody bounds bodies, unless proxy-body-size does.
const maxBody = 1 << 20

// requestHeaders are the fields that ingress-nginx adds to requests.
var requestHeaders = config.Headers{{"X-Forwarded-Scheme", "${scheme}"}, {"X-Scheme", "${scheme}"}}

// global sets what holds for all routes.
func (v *converter) global(all []*conf) {
	v.c.HTTP.Via = false
	most := maxBody
	v.c.Limits.MaxBody = &most
	v.c.Forwarded.XRealIP, v.c.Forwarded.RequestID = true, true
	v.c.RequestHeaders.Set = slices.Clone(requestHeaders)
	for _, conf := range all {
		for _, p := range conf.exempt {
			if !slices.Contains(v.c.Limits.Exempt, p) {
				v.c.Limits.Exempt = append(v.c.Limits.Exempt, p)
			}
		}
	}
}

type listenerNames struct{ http, https string }

type converter struct {
	Options
	names      listenerNames
	r          *importer.Report
	c          *config.Config
	services   map[string]*Service
	secrets    map[string]*Secret
	used       map[string]bool   // keys of the objects that were needed, with their kind
	signatures map[string]string // from names of pools to what they were made of
	noted      map[string]bool   // backends
	files      map[string]string // from names of files to Secrets
	hosts      map[pattern.Host]bool
	https      bool // there is a listener with TLS that is terminated

	routeOrigins []Origin
	poolOrigins  []PoolOrigin
	clusterState
}

// listeners adds those for HTTP and, if any Ingress has tls, for HTTPS.
func (v *converter) listeners(servers []*server, all []*conf) {
	anywhere := &config.Origins{Allow: []origin.Pattern{origin.Any}}
	v.c.Listeners = []config.Listener{{Name: v.names.http, Address: hostport.MustParse(":80"), Origins: anywhere}}
	https := config.Listener{Name: v.names.https, Address: hostport.MustParse(":443")}
	at := config.Path("listeners[1]")
	through, terminated := false, false
	for _, s := range servers {
		through = through || s.through
		terminated = terminated || s.tls && !s.through
	}
	for _, s := range servers {
		if s.clientCert != nil && (!s.tls || s.through) {
			s.clientBy.settings.refuse(s.clientBy.annotation("auth-tls-secret"), "%s", s.noCertificate())
		}
	}
	switch {
	case through && terminated:
		for _, c := range all {
			c.each("ssl-passthrough", func(a Annotation) {
				c.settings.refuse(a, "a port either passes TLS through or terminates it, and other hosts have certificates: give the host a listener of its own with mode: tls-passthrough")
			})
		}
	case through:
		https.Mode = "tls-passthrough"
		v.c.Listeners = append(v.c.Listeners, https)
		return
	case !terminated:
		return
	}
	v.https = true
	https.Origins = anywhere
	https.TLS = new(config.ListenerTLS)
	https.TLS.SetDefaults()
	seen := map[string]int{}
	for _, c := range all {
		for _, t := range c.TLS {
			key := c.Namespace + "/" + t.Secret
			directive := "tls secretName " + t.Secret
			i, again := seen[key]
			if !again {
				i = len(https.TLS.Certificates)
				seen[key] = i
				https.TLS.Certificates = append(https.TLS.Certificates, v.certificate(c.Namespace, cmp.Or(t.Secret, "default")))
			}
			p := at.Key("tls").Key("certificates").Index(i)
			switch cert := https.TLS.Certificates[i]; {
			case again:
				v.r.Carry(t.Place, directive, p)
			case t.Secret == "":
				v.r.Differ(t.Place, "tls without secretName", p, "the controller's own certificate isn't in the file: put one into %s and %s", filepath.Base(cert.Cert), filepath.Base(cert.Key))
			default:
				v.r.Differ(t.Place, directive, p, "holdfast reads certificates from files: %s", v.howToGet(c.Namespace, t.Secret, "tls.crt", cert.Cert, "tls.key", cert.Key))
			}
		}
	}
	v.clientCAs(https.TLS, servers)
	v.c.Listeners = append(v.c.Listeners, https)
}

// certificate names the files of a Secret. Key material of Secrets is never written
// anywhere: the user puts it there.
func (v *converter) certificate(namespace, name string) config.Certificate {
	base := v.file(namespace, name)
	return config.Certificate{Cert: base + ".crt", Key: base + ".key"}
}

// file is the path of the files of a Secret, without what follows the dot.
func (v *converter) file(namespace, name string) string {
	v.used["Secret "+namespace+"/"+name] = true
	base := safeName(name)
	if other, taken := v.files[base]; taken && other != namespace+"/"+name {
		base = safeName(namespace + "-" + name)
	}
	v.files[base] = namespace + "/" + name
	return filepath.Join(v.Folder, base)
}

// safeName is a name without anything that has a meaning in a path. Names in a cluster
// never have any.
func safeName(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == '.' || c == '-' || c == '_' || c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			return c
		}
		return '_'
	}, s)
	return strings.TrimLeft(s, ".")
}

// howToGet says how a key of a Secret becomes a file, for pairs of key and file.
func (v *converter) howToGet(namespace, secret string, pairs ...string) string {
	var commands []string
	for i := 0; i < len(pairs); i += 2 {
		commands = append(commands, fmt.Sprintf(`kubectl get secret -n %s %s -o jsonpath='{.data.%s}' | base64 -d > %s`,
			namespace, secret, strings.ReplaceAll(pairs[i], ".", `\.`), filepath.Base(pairs[i+1])))
	}
	return "umask 077; " + strings.Join(commands, "; ")
}

// each calls do for the annotation of a name, if there is one.
func (c *conf) each(name string, do func(Annotation)) {
	for _, a := range c.Annotations {
		if a.Name == AnnotationPrefix+name {
			a.Name = name
			do(a)
		}
	}
}

// annotation returns the one of a name, or the place of the Ingress.
func (c *conf) annotation(name string) Annotation {
	found := Annotation{Name: name, Place: c.Place}
	c.each(name, func(a Annotation) { found = a })
	return found
}

// flush reports what became of the annotations of an Ingress.
func (v *converter) flush(c *conf) {
	for _, n := range c.notes {
		directive := directive(n.Annotation)
		kind, key, _ := strings.Cut(n.target, ".")
		var at []config.Path
		switch {
		case n.target == "root":
			at = []config.Path{c.root}
		case (kind == "route" || kind == "pool") && c.canary == nil && len(c.routes) == 0 && (n.outcome == importer.Carried || n.outcome == importer.Different):
			n.outcome, n.text = importer.Different, "no request gets to a path of this Ingress"
		case kind == "route" && c.canary != nil && key != "match.header":
			if n.outcome == importer.Carried || n.outcome == importer.Different {
				n.outcome, n.text = importer.Different, "requests of a canary go by the other Ingress's annotations, as with ingress-nginx"
			}
		case kind == "route":
			at = under(c.routes, key)
		case kind == "pool":
			at = under(c.pools, key)
		case n.target != "":
			at = []config.Path{config.Path(n.target)}
		}
		path := config.Path("")
		for i, p := range at {
			if i == 0 {
				path = p
			}
			v.r.Locate(p, n.Place)
		}
		lost := n.outcome == importer.Refused && (v.r.AcceptLoss || c.accepts(n.Name))
		v.r.Notes = append(v.r.Notes, importer.Note{Place: n.Place, Directive: directive, Outcome: n.outcome, Text: n.text, Path: path, Lost: lost, Guards: n.guards})
	}
}

func under(paths []config.Path, key string) (all []config.Path) {
	for _, p := range paths {
		for k := range strings.SplitSeq(key, ".") {
			p = p.Key(k)
		}
		all = append(all, p)
	}
	return all
}

// directive is an annotation in one line. Snippets may have secrets in them.
func directive(a Annotation) string {
	if strings.HasSuffix(a.Name, "-snippet") {
		return a.Name
	}
	value := a.Value
	if strings.ContainsFunc(value, unicode.IsControl) {
		value = hint.Quote(value)
	}
	return a.Name + ": " + hint.Cut(value)
}

// unused reports the objects that no Ingress has needed.
func (v *converter) unused(o *Objects, maps map[string]*ConfigMap) {
	for _, s := range o.Services {
		if !v.used["Service "+s.key()] {
			v.r.Skip(s.Place, "Service "+s.Name, "no Ingress leads to it")
		}
	}
	for _, s := range o.Secrets {
		if !v.used["Secret "+s.key()] {
			v.r.Skip(s.Place, "Secret "+s.Name, "no Ingress needs it")
		} else {
			v.r.Skip(s.Place, "Secret "+s.Name, "keys are read from files, see the note at tls")
		}
	}
	for _, m := range o.ConfigMaps {
		v.r.Skip(m.Place, "ConfigMap "+m.Name, "only custom-headers reads one; settings of the controller aren't carried over")
	}
}

// once reports what differs for every file.
func (v *converter) once(all []*conf) {
	if len(all) == 0 {
		return
	}
	oldest := slices.MinFunc(all, func(a, b *conf) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	v.r.Locate("", oldest.Place) // for errors about the whole
	for _, text := range []string{
		"pages of any origin may open WebSockets, as before; to admit only your own, write origins: same_site",
		"pings keep silent sessions alive, and find clients that are gone; write keepalive: {interval: 0} for none",
		"requests that servers read in different ways (with //, %2f, ; or .. in the path) get 400",
	} {
		v.r.Differ(oldest.Place, "Ingress "+oldest.Name, "", "%s", text)
	}
	if len(v.c.Listeners) == 1 {
		v.r.Differ(oldest.Place, "Ingress "+oldest.Name, "", "no Ingress has tls, so that nothing listens on port 443; ingress-nginx does, with a certificate that it makes up")
	}
}
