package ingress

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Cluster is what a program that watches a cluster knows, and files don't say.
//
// Whoever may write an Ingress in one namespace must not do harm in others, and a program
// can't be refused as a file is. So what is wrong with an Ingress concerns no other one:
//
//   - While something is refused that guards an Ingress, or without which its paths would
//     do something else, its paths answer 503. Its author may accept the loss of an
//     annotation (holdfast.dev/accept-loss).
//   - What holds for a whole host, such as its certificate or use-regex, is said by the
//     namespace that has the host, which is that of the oldest Ingress with it.
//   - Secrets and ConfigMaps of other namespaces aren't read.
//
// Nothing global is set: what ingress-nginx has for all routes is part of each route.
// Pools have no backends: PoolOrigin says of which Service they are.
type Cluster struct {
	// HTTP and HTTPS are the listeners. HTTPS has TLS with one certificate, for the hosts
	// that have none of their own. Both are always there, as with ingress-nginx.
	HTTP, HTTPS config.Listener
	// CheckCertificate returns the names in a certificate in lower case, or why it can't be
	// used together with its key.
	CheckCertificate func(*config.PEM) (names []string, err error)
	// CheckAuthorities says why the certificates of authorities can't be used.
	CheckAuthorities func(*config.PEM) error
	// CookieSecret signs the cookies of affinity; "" leaves that to the name of the pool.
	CookieSecret string
	// ExternalNames serves Services of the type ExternalName. Their name may lead to any
	// server that the balancer can reach, also to one on the same machine.
	ExternalNames bool
}

// clusterState is what a converter has for a Cluster.
type clusterState struct {
	shut      bool  // routes that are added now aren't served
	diverted  *conf // the canary that routes are added for now
	pems      map[string]*config.PEM
	aliasOf   map[string]*server
	certNames map[*config.PEM][]string // in certificates
}

// poolPrefix is before the names of pools in a cluster, where Gateways have pools, too.
const poolPrefix = "ingress/"

// AcceptLoss is an annotation with the names of others, without their prefix, whose loss
// the author of the Ingress accepts.
const AcceptLoss = "holdfast.dev/accept-loss"

func (s *settings) acceptLoss(a Annotation) {
	for name := range strings.SplitSeq(a.Value, ",") {
		if name = strings.TrimPrefix(strings.TrimSpace(name), AnnotationPrefix); name != "" {
			s.accepted = append(s.accepted, name)
		}
	}
	s.skip(a, "it is about other annotations")
}

func (s *settings) accepts(name string) bool { return slices.Contains(s.accepted, name) }

// object is the key of the Secret or ConfigMap that an annotation names. If ok is false,
// it was refused.
func (s *settings) object(a Annotation) (key string, ok bool) {
	namespace, _, qualified := strings.Cut(a.Value, "/")
	if !qualified {
		return s.ing.Namespace + "/" + a.Value, true
	}
	if s.cluster && namespace != s.ing.Namespace {
		s.refuse(a, "it is in another namespace than the Ingress")
		return "", false
	}
	return a.Value, true
}

// essential are annotations without which a path would do something else, though they
// guard nothing.
var essential = []string{"backend-protocol", "grpc-backend", "fastcgi-index", "fastcgi-params-configmap", "rewrite-target", "permanent-redirect", "temporal-redirect"}

// Closes reports whether the paths of an Ingress aren't served while an annotation, given
// without its prefix, is refused.
func Closes(annotation string) bool {
	return isGuard(annotation) || slices.Contains(essential, annotation)
}

// closed reports whether the paths of an Ingress aren't served.
func (s *settings) closed() bool {
	return slices.ContainsFunc(s.notes, func(n note) bool {
		return n.outcome == importer.Refused && Closes(n.Name) && !s.accepts(n.Name)
	})
}

// Bounds of one Ingress in a cluster, where anybody may write one.
const (
	maxPaths  = 1000
	maxServed = 2000 // paths of all hosts and aliases
)

// bound leaves out what is too much in an Ingress.
func (v *converter) bound(c *conf) {
	if v.Cluster == nil {
		return
	}
	paths := 0
	for i := range c.Rules {
		r := &c.Rules[i]
		if paths += 1 + len(r.Paths); paths > maxPaths {
			v.r.Refuse(r.Place, "path", "an Ingress may have %d hosts and paths: those from here on are left out, put them into another one", maxPaths)
			c.Rules = c.Rules[:i]
			break
		}
	}
	if most := maxServed / max(paths, 1); len(c.aliases) > most {
		c.settings.refuse(c.annotation("server-alias"), "there are too many aliases for that many paths: the first %d are used", most)
		c.aliases = c.aliases[:most]
	}
}

// owns reports whether what an Ingress says about the whole of a host counts.
func (v *converter) owns(c *conf, s *server) bool {
	return v.Cluster == nil || c.Namespace == s.namespace
}

// claim reports whether a server gets an alias, which in a cluster is the first come.
func (v *converter) claim(alias string, s *server) bool {
	if v.Cluster == nil {
		return true
	}
	if by := v.aliasOf[alias]; by != nil {
		return by == s
	}
	v.aliasOf[alias] = s
	return true
}

// isAlias reports whether the host of a rule is an alias of an older Ingress of another
// namespace, and says so.
func (v *converter) isAlias(c *conf, r *Rule) bool {
	s := v.aliasOf[r.Host]
	if s == nil || s.namespace == c.Namespace {
		return false
	}
	v.r.Refuse(r.Place, "host "+hint.Quote(r.Host), "it is an alias of the host %s, which belongs to the namespace %s", hint.Quote(s.host), s.namespace)
	return true
}

// noteForeign says so of an Ingress that says something about the host of another
// namespace.
func (v *converter) noteForeign(s *server, c *conf) {
	what := c.TLS != nil || c.aliases != nil || c.www || c.passthrough || c.clientCert != nil || c.appRoot != ""
	if key := "host " + s.host + " " + c.key(); what && !v.noted[key] {
		v.noted[key] = true
		v.r.Differ(c.Place, "host "+hint.Quote(s.host), "", "it belongs to the namespace %s, whose oldest Ingress is older: what this Ingress says about the whole host, such as tls, has no effect", s.namespace)
	}
	if c.clientCert != nil && !c.clientCert.optional {
		c.settings.refuse(c.annotation("auth-tls-secret"), "the host %s belongs to the namespace %s, and clients of a host are asked for one kind of certificate", hint.Quote(s.host), s.namespace)
	}
}

// changesHost reports whether a path of an Ingress makes the paths of its host regular
// expressions.
func (c *conf) changesHost(path string) bool {
	target := c.values["rewrite-target"]
	return c.regex || target != "" && target != path || target != "" && c.redirect == nil
}

// mayDivert reports whether a canary gets requests of a location, and says why not.
func (v *converter) mayDivert(c *conf, l *location, b *Backend) bool {
	switch {
	case l.by == nil || l.by.Namespace != c.Namespace:
		v.r.Differ(b.Place, "backend "+b.Service, "", "it gets nothing: the path belongs to an Ingress of another namespace")
	case c.closed():
		v.r.Differ(b.Place, "backend "+b.Service, "", "it gets nothing, since an annotation of the canary is refused")
	default:
		return true
	}
	return false
}

// clusterTarget is find for a Cluster.
func (v *converter) clusterTarget(c *conf, b *Backend) (t target, ok bool) {
	directive := "backend " + b.Service
	refuse := func(format string, args ...any) {
		v.noteOnce(fmt.Sprint("backend", b.Place), func() { v.r.Refuse(b.Place, directive, format, args...) })
	}
	s := v.services[c.Namespace+"/"+b.Service]
	switch {
	case b.Service == "":
		refuse("a backend must be a Service: other resources are not supported, by ingress-nginx neither")
		return t, false
	case s == nil:
		refuse("there is no Service %s in the namespace %s", hint.Quote(b.Service), c.Namespace)
		return t, false
	case s.ExternalName != "" && !v.Cluster.ExternalNames:
		refuse("the Service is of the type ExternalName, which the operator hasn't allowed (--allow-external-names)")
		return t, false
	case s.ExternalName != "" && b.Port.Number != 0:
		return target{name: s.ExternalName, port: b.Port.Number, external: true}, true
	}
	t = target{name: s.ExternalName, external: s.ExternalName != "", known: true}
	var names []string
	for _, p := range s.Ports {
		if b.Port.Name != "" && p.Name == b.Port.Name || b.Port.Number != 0 && p.Number == b.Port.Number {
			t.port = p.Number
			return t, true
		}
		names = append(names, p.Name)
	}
	refuse("the Service has no port %s%s", hint.Quote(b.Port.String()), hint.DidYouMean(b.Port.String(), names))
	return t, false
}

// clusterPoolName is the name of the pool of an Ingress for a port of a Service. It stays
// the same whatever is edited: a pool with another name would be another pool, and the
// sessions of this one would be drained. So Ingresses don't share pools.
func clusterPoolName(c *conf, service string, port int) string {
	name := fmt.Sprintf("%s%s/%s/%s:%d", poolPrefix, c.Namespace, c.Name, service, port)
	const most = 200 // names have at most 260 bytes
	if len(name) > most {
		sum := sha256.Sum256([]byte(name))
		name = name[:most-17] + "-" + hex.EncodeToString(sum[:8])
	}
	return name
}

// clusterRoute adds a route for each listener that it is for.
func (v *converter) clusterRoute(by *conf, at config.Place, r config.Route) {
	all := []config.Route{r}
	if r.Pool != "" || r.Split != nil {
		all = v.serving(by, r)
	}
	from := originOf(by, at)
	if v.diverted != nil {
		from = originOf(v.diverted, at)
	}
	for _, r := range all {
		listeners := []string{r.Match.Listener}
		if listeners[0] == "" {
			listeners = []string{v.names.http, v.names.https}
		}
		for _, name := range listeners {
			r.Match.Listener = name
			v.c.Routes = append(v.c.Routes, r)
			v.routeOrigins = append(v.routeOrigins, from)
		}
	}
}

// serving is a route to a pool with what ingress-nginx has for all routes, after one for
// the clients that are exempt from its limits.
func (v *converter) serving(by *conf, r config.Route) []config.Route {
	if v.shut || by.closed() {
		return []config.Route{Unavailable(r.Match)}
	}
	if r.Limits.MaxBody == nil {
		most := maxBody
		r.Limits.MaxBody = &most
	}
	r.RequestHeaders.Set = slices.Concat(r.RequestHeaders.Set, requestHeaders)
	if len(by.exempt) == 0 || r.Limits.MaxRequestsPerAddress == nil && r.Limits.NewRequestsPerAddress == nil {
		return []config.Route{r}
	}
	exempt := r
	exempt.Match.Client = by.exempt
	exempt.Limits.MaxRequestsPerAddress, exempt.Limits.NewRequestsPerAddress = nil, nil
	return []config.Route{exempt, r}
}

// Unavailable answers requests that can't be served.
func Unavailable(m config.Match) config.Route {
	return config.Route{Match: m, Respond: &config.Respond{Status: 503, Body: "503 Service Temporarily Unavailable", ContentType: "text/plain; charset=utf-8"}}
}

// closePath answers the requests of an expression that can't be understood. They must not
// get to shorter paths, which may be open. So all are answered that begin as it does. No
// request has a path that can't be understood and isn't an expression.
func (v *converter) closePath(s *server, l *location, m config.Match, redirected bool) {
	if re, err := pattern.ParseRegex("(?i)^" + beginning(l.path)); err == nil {
		m.PathRegex = re
	}
	if !redirected && s.toHTTPS(l) {
		v.redirectHTTPS(l.by, l.Place, m)
	}
	v.route(l.by, l.Place, Unavailable(m))
}

var letters = regexp.MustCompile(`^[A-Za-z0-9/_-]{0,200}`)

// beginning is what everything begins with that an expression may match.
func beginning(expression string) string {
	if strings.Contains(expression, "|") {
		return ""
	}
	begin := letters.FindString(expression)
	if rest := expression[len(begin):]; rest != "" && strings.Contains("*?{", rest[:1]) && begin != "" {
		begin = begin[:len(begin)-1]
	}
	return begin
}
