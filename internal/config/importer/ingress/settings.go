package ingress

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// settings are what the annotations of an Ingress say.
type settings struct {
	ing    *Ingress
	values map[string]string // by name without the prefix
	maps   map[string]*ConfigMap
	notes  []note
	// cluster: Secrets and ConfigMaps of other namespaces aren't read.
	cluster bool
	// accepted are annotations whose loss the author accepts.
	accepted []string

	// Of its pools.
	balance string
	hash    []requestkey.Part
	cookie  *config.Cookie
	tls     *backendTLS
	retryOn []config.StatusRange

	// Of its routes.
	allow, deny     []netip.Prefix
	limits          config.RouteLimits
	exempt          []netip.Prefix
	auth            *config.AuthRequest
	timeouts        config.RouteTimeouts
	host            string // upstream-vhost
	responseHeaders config.Headers
	cors            *cors
	regex           bool
	rewrite         string
	redirect        *config.Redirect

	// Of its hosts.
	sslRedirect, forceSSL bool
	passthrough           bool
	appRoot               string
	www                   bool
	aliases               []string
	clientCert            *clientCert

	canary *canary
	after  []func()
}

// backendTLS says how the pods are reached by TLS.
type backendTLS struct {
	secret string // with ca.crt, and tls.crt and tls.key for the balancer; "" is none
	name   string
	verify bool
}

// clientCert says which certificates clients need.
type clientCert struct {
	secret   string // NAMESPACE/NAME, with ca.crt
	optional bool
	cn       string
	headers  bool // with the certificate itself
}

// cors are the answers to pages of other origins.
type cors struct {
	origins []string // "*" alone is all
	headers config.Headers
}

// canary says which requests of another Ingress go to this one's backends.
type canary struct {
	header, value, pattern string
	cookie                 string
	weight, total          int
}

// note is what became of an annotation. Where it became that is known when the routes have
// been made.
type note struct {
	Annotation
	outcome importer.Outcome
	text    string
	target  string // "pool.KEY", "route.KEY", or a path
	guards  bool   // what was refused restricts who gets in
}

// AnnotationPrefix is what the controller's own annotations begin with.
const AnnotationPrefix = "nginx.ingress.kubernetes.io/"

// read interprets all annotations.
func readSettings(i *Ingress, maps map[string]*ConfigMap, cluster bool) *settings {
	s := &settings{ing: i, values: map[string]string{}, maps: maps, sslRedirect: true, cluster: cluster}
	for _, a := range i.Annotations {
		if name, ok := strings.CutPrefix(a.Name, AnnotationPrefix); ok {
			s.values[name] = strings.TrimSpace(a.Value)
		}
	}
	for _, a := range i.Annotations {
		name, ours := strings.CutPrefix(a.Name, AnnotationPrefix)
		if !ours {
			s.foreign(a)
			continue
		}
		a.Name, a.Value = name, strings.TrimSpace(a.Value)
		if handle, known := annotations[name]; known {
			handle(s, a)
		} else {
			s.differ(a, "", "no such annotation%s: ingress-nginx ignores it, too", hint.DidYouMean(name, annotationNames()))
		}
	}
	for _, do := range s.after {
		do()
	}
	return s
}

// foreign notes an annotation that isn't the controller's.
func (s *settings) foreign(a Annotation) {
	switch {
	case a.Name == "kubernetes.io/ingress.class":
		s.skip(a, "there is one balancer")
	case a.Name == AcceptLoss:
		s.acceptLoss(a)
	case s.cluster:
		s.skip(a, "it is for other programs")
	case a.Name == "kubernetes.io/tls-acme" || strings.HasPrefix(a.Name, "cert-manager.io/"):
		s.differ(a, "", "cert-manager goes on keeping the Secret; holdfast can get the certificate itself: tls: {acme: {domains: [...]}}")
	default:
		s.skip(a, "it isn't an annotation of ingress-nginx")
	}
}

func (s *settings) carry(a Annotation, target string) {
	s.notes = append(s.notes, note{Annotation: a, outcome: importer.Carried, target: target})
}

func (s *settings) skip(a Annotation, why string) {
	s.notes = append(s.notes, note{Annotation: a, outcome: importer.NotNeeded, text: why})
}

func (s *settings) differ(a Annotation, target, format string, args ...any) {
	s.notes = append(s.notes, note{Annotation: a, outcome: importer.Different, text: fmt.Sprintf(format, args...), target: target})
}

func (s *settings) refuse(a Annotation, format string, args ...any) {
	s.instead(a)
	s.notes = append(s.notes, note{Annotation: a, outcome: importer.Refused, text: fmt.Sprintf(format, args...), guards: isGuard(a.Name)})
}

// instead removes the note about an annotation, before another one is made.
func (s *settings) instead(a Annotation) {
	s.notes = slices.DeleteFunc(s.notes, func(n note) bool { return n.Place == a.Place && n.Name == a.Name })
}

// isGuard reports whether an annotation restricts who gets in, or may do so.
func isGuard(name string) bool {
	for _, part := range []string{"auth-", "-source-range", "limit", "satisfy", "modsecurity", "owasp", "waf", "-snippet", "proxy-ssl-", "global-auth"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// is reports whether an annotation has the value true.
func (s *settings) is(name string) bool {
	b, err := strconv.ParseBool(s.values[name])
	return err == nil && b
}

// boolean reads true or false. ok is false if it is neither, which is noted.
func (s *settings) boolean(a Annotation) (value, ok bool) {
	value, err := strconv.ParseBool(a.Value)
	if err != nil {
		s.differ(a, "", "neither true nor false: ignored, as by ingress-nginx")
	}
	return value, err == nil
}

// on notes a switch that is off by default, and reports whether it is on. target is what
// it then becomes.
func (s *settings) on(a Annotation, target string) bool {
	on, ok := s.boolean(a)
	switch {
	case !ok:
	case on:
		s.carry(a, target)
	default:
		s.skip(a, "off is what holdfast has")
	}
	return on && ok
}

// number reads a number that isn't negative.
func (s *settings) number(a Annotation) (int, bool) {
	n, err := strconv.Atoi(a.Value)
	if err != nil || n < 0 || n > 1_000_000_000 {
		s.differ(a, "", "not a number: ignored, as by ingress-nginx")
		return 0, false
	}
	return n, true
}

// seconds reads a number of seconds for a timeout, which is bounded by what holdfast
// takes.
func (s *settings) seconds(a Annotation) (time.Duration, bool) {
	n, ok := s.number(a)
	if ok && n == 0 {
		s.differ(a, "", "0 isn't a timeout: holdfast's own is used")
		return 0, false
	}
	return min(time.Duration(n)*time.Second, 8760*time.Hour), ok
}

// networks reads a list of addresses and networks.
func (s *settings) networks(a Annotation) (list []netip.Prefix, err error) {
	for item := range strings.SplitSeq(a.Value, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		p, err := netip.ParsePrefix(item)
		if ip, notPrefix := netip.ParseAddr(item); err != nil && notPrefix == nil && ip.Zone() == "" {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("bad network %s", hint.Quote(item))
		}
		if p = p.Masked(); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list, nil
}

// needs skips an annotation that does nothing because another one doesn't have a value.
func (s *settings) needs(a Annotation, ok bool, other string) bool {
	if !ok {
		s.skip(a, "it does nothing without "+other)
	}
	return ok
}

var (
	variable = regexp.MustCompile(`\$(?:\{(\w+)\}|(\w+))`)
	plain    = map[string]string{
		"host": "host", "http_host": "host", "best_http_host": "host", "request_uri": "uri", "uri": "path", "args": "query", "query_string": "query",
		"scheme": "scheme", "pass_access_scheme": "scheme", "remote_addr": "client_ip", "remote_port": "client_port", "req_id": "request_id", "request_id": "request_id",
	}
	named = []struct{ nginx, ours, colon string }{{"arg_", "query.", "query:"}, {"http_", "header.", "header:"}, {"cookie_", "cookie.", "cookie:"}}
)

// template turns a text with nginx's variables into one with holdfast's. Groups of the
// path, $1 to $9, stay as they are.
func template(s string) (string, error) {
	var b strings.Builder
	rest := 0
	for _, m := range variable.FindAllStringIndex(s, -1) {
		b.WriteString(strings.ReplaceAll(s[rest:m[0]], "$", "$$"))
		v := s[m[0]:m[1]]
		rest = m[1]
		word, ok := ours(strings.Trim(v, "${}"))
		if !ok {
			return "", fmt.Errorf("holdfast has no variable %s", hint.Quote(v))
		}
		b.WriteString(word)
	}
	b.WriteString(strings.ReplaceAll(s[rest:], "$", "$$"))
	return b.String(), nil
}

// ours is holdfast's variable for the one of nginx with this name.
func ours(name string) (string, bool) {
	if digit := name[0]; digit >= '1' && digit <= '9' { // $1x is $1 and an x
		return "$" + name, true
	}
	if word, ok := plain[name]; ok {
		return "${" + word + "}", true
	}
	for _, n := range named {
		if rest, ok := strings.CutPrefix(name, n.nginx); ok && rest != "" {
			if n.nginx == "http_" {
				rest = strings.ReplaceAll(rest, "_", "-")
			}
			return "${" + n.ours + rest + "}", true
		}
	}
	return "", false
}

// withGroups removes the groups of a template that an expression doesn't have. In nginx,
// they are empty.
func withGroups(s string, n int) string {
	without := group.ReplaceAllStringFunc(s, func(g string) string {
		if g[1] != '$' && int(g[1]-'0') > n {
			return ""
		}
		return g
	})
	if without != s && strings.HasPrefix(s, "/") { // of /$1/$2, one slash is left
		without = slashes.ReplaceAllString(without, "/")
	}
	return without
}

var (
	group   = regexp.MustCompile(`\$[$1-9]`)
	slashes = regexp.MustCompile(`/{2,}`)
)

// hashKey turns nginx's variables into the parts of a hash key. Text between them makes no
// difference to which requests have the same key.
func hashKey(s string) (parts []requestkey.Part, err error) {
	words := map[string]string{
		"remote_addr": "client_ip", "binary_remote_addr": "client_ip", "proxy_add_x_forwarded_for": "client_ip", "the_real_ip": "client_ip",
		"request_uri": "uri", "uri": "path", "document_uri": "path", "host": "header:Host", "http_host": "header:Host",
	}
	all := variable.FindAllStringSubmatch(s, -1)
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no variable in it, so that all requests would go to one pod")
	}
	for _, v := range all {
		name := v[1] + v[2]
		word := words[name]
		for _, n := range named {
			if rest, ok := strings.CutPrefix(name, n.nginx); ok && rest != "" && word == "" {
				if n.nginx == "http_" {
					rest = strings.ReplaceAll(rest, "_", "-")
				}
				word = n.colon + rest
			}
		}
		if word == "" {
			return nil, fmt.Errorf("holdfast has no key for %s", hint.Quote(v[0]))
		}
		part, err := requestkey.Parse(word)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// later does something after all annotations were read.
func (s *settings) later(do func()) { s.after = append(s.after, do) }
