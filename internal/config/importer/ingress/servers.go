package ingress

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// conf is an Ingress with what its annotations say, and what it became.
type conf struct {
	*Ingress
	*settings
	routes []config.Path // those that serve its paths
	root   config.Path   // the one of app-root
	pools  []config.Path
}

// server has the locations of a host, as in the nginx.conf that ingress-nginx writes.
type server struct {
	host       string // "" is every other host
	by         *conf  // the first Ingress with the host; nil for ""
	namespace  string // of that Ingress, or for "" of the first one with a path
	aliases    []string
	aliasBy    *conf // whose aliases they are
	tls        bool
	cert       *TLS  // names its certificate; nil is the default one
	certBy     *conf // whose cert it is
	www        bool
	through    bool  // TLS is passed through
	throughBy  *conf // the first Ingress that says so
	clientCert *clientCert
	clientBy   *conf // whose clientCert it is
	shut       bool  // what guards the host can't be carried over: nothing of it is served
	locations  []*location
	first      map[string]*location // the first with a path, while paths are added
	paths      map[string]bool      // of all locations; true for one that is exact
	regex      bool                 // all paths are regular expressions
}

// location is a path of a server.
type location struct {
	path    string
	exact   bool
	backend *Backend // nil: 404
	by      *conf    // nil for the "/" of the server ""
	unset   bool     // the "/" that every server has, as long as no Ingress has a path for it
	again   bool     // another location is of the same path
	canary  *canaryOf
	config.Place
}

// canaryOf is where a canary sends requests of a location.
type canaryOf struct {
	by      *conf
	backend *Backend
}

// needsRewrite reports whether requests of l are rewritten, which makes the paths of the
// whole host regular expressions.
func (l *location) needsRewrite() bool {
	if l.by == nil {
		return false
	}
	target := l.by.values["rewrite-target"]
	return target != "" && target != l.path
}

// inOrder sorts Ingresses as ingress-nginx does, by age. Those of a file that don't say
// when they were created stay in the order of the file.
func inOrder(all []*conf) {
	slices.SortStableFunc(all, func(a, b *conf) int {
		if a.Created == "" || b.Created == "" {
			return 0
		}
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(b.key(), a.key()))
	})
}

// servers makes the servers of all Ingresses. It reports paths that an older Ingress has
// already.
func (v *converter) servers(all []*conf) []*server {
	byHost := map[string]*server{"": {locations: []*location{{path: "/", unset: true}}}}
	list := []*server{byHost[""]}
	for _, c := range all {
		v.bound(c)
		if c.canary != nil {
			continue
		}
		if c.Default != nil && len(c.Rules) == 0 {
			byHost[""].namespace = cmp.Or(byHost[""].namespace, c.Namespace)
			if l := byHost[""].locations[0]; l.unset {
				l.unset, l.backend, l.by, l.Place = false, c.Default, c, c.Default.Place
			}
		}
		for _, rule := range c.Rules {
			s := byHost[rule.Host]
			if s == nil && v.isAlias(c, &rule) {
				continue
			}
			if s == nil {
				s = &server{host: rule.Host, by: c, locations: []*location{{path: "/", unset: true, backend: c.Default, by: c, Place: rule.Place}}}
				byHost[rule.Host] = s
				list = append(list, s)
			}
			s.namespace = cmp.Or(s.namespace, c.Namespace)
			v.hostSettings(s, c)
			for i := range rule.Paths {
				v.addPath(s, c, &rule.Paths[i])
			}
		}
	}
	for _, c := range all {
		if c.canary != nil {
			v.addCanary(byHost, c)
		}
	}
	v.claimAliases(byHost, list)
	for _, s := range list {
		for _, l := range s.locations {
			s.regex = s.regex || l.by != nil && v.owns(l.by, s) && (l.needsRewrite() || l.rewritesItself() || l.by.regex)
		}
		s.splitSlashes()
		s.sort()
		s.splitRewritten()
		s.paths = make(map[string]bool, len(s.locations))
		for _, l := range s.locations {
			s.paths[l.path] = s.paths[l.path] || l.exact
		}
	}
	sortServers(list)
	return list
}

// rewritesItself reports whether l is a prefix that is rewritten to itself. ingress-nginx
// means to leave its requests alone, but first makes two locations of a prefix, one with a
// slash at the end, which is rewritten then.
func (l *location) rewritesItself() bool {
	return l.by != nil && !l.exact && !strings.HasSuffix(l.path, "/") && !l.by.regex && l.by.values["rewrite-target"] == l.path
}

// splitSlashes adds a location for /x itself if there are the prefixes /x and /x/. A path of
// holdfast stands for both, so that /x/, which is tried first, would get it.
func (s *server) splitSlashes() {
	if s.regex {
		return
	}
	byPath := map[string]*location{}
	for _, l := range s.locations {
		if known := byPath[l.path]; known == nil || l.exact {
			byPath[l.path] = l
		}
	}
	for _, l := range slices.Clone(s.locations) {
		without := strings.TrimSuffix(l.path, "/")
		if other := byPath[without]; !l.exact && without != l.path && without != "" && other != nil && !other.exact {
			itself := *other
			itself.exact, itself.again = true, true
			s.locations = append(s.locations, &itself)
		}
	}
}

// splitRewritten makes these two locations.
func (s *server) splitRewritten() {
	var all []*location
	for _, l := range s.locations {
		all = append(all, l)
		if !l.rewritesItself() {
			continue
		}
		itself := *l
		itself.exact, itself.again = true, true
		if !slices.ContainsFunc(s.locations, func(o *location) bool { return o.exact && o.path == l.path }) {
			all = append(all, &itself)
		}
		l.path += "/"
	}
	s.locations = all
}

// claimAliases removes the aliases that another server has already, in the order of their
// names, as nginx does; in a cluster, the oldest one has it.
func (v *converter) claimAliases(byHost map[string]*server, list []*server) {
	taken := map[string]bool{}
	for host := range byHost {
		taken[host] = true
	}
	if v.Cluster == nil {
		list = slices.SortedFunc(slices.Values(list), func(a, b *server) int { return cmp.Compare(a.host, b.host) })
	}
	for _, s := range list {
		s.aliases = slices.DeleteFunc(s.aliases, func(a string) bool {
			before := taken[a]
			taken[a] = true
			return before
		})
	}
}

// sortServers puts servers into the order in which nginx finds them.
func sortServers(list []*server) {
	// nginx tries names first, then names with a wildcard, in alphabetical order since
	// they are regular expressions there, and last the default server.
	class := func(s *server) int {
		switch {
		case s.host == "":
			return 2
		case strings.HasPrefix(s.host, "*"):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b *server) int {
		return cmp.Or(cmp.Compare(class(a), class(b)), cmp.Compare(a.host, b.host))
	})
}

// hostSettings applies what holds for a whole host. The first Ingress with something
// counts.
func (v *converter) hostSettings(s *server, c *conf) {
	if !v.owns(c, s) {
		v.noteForeign(s, c)
		return
	}
	if len(s.aliases) == 0 {
		s.aliasBy = c
		for _, a := range c.aliases {
			if a != s.host && !slices.Contains(s.aliases, a) && v.claim(a, s) {
				s.aliases = append(s.aliases, a)
			}
		}
	}
	if c.www && !s.www {
		s.www = true
		if from, _, ok := s.otherWWW(); ok {
			s.www = v.claim(from.String(), s)
		}
	}
	if c.passthrough && !s.through {
		s.through, s.throughBy = true, c
	}
	if s.clientCert == nil {
		s.clientCert, s.clientBy = c.clientCert, c
	}
	v.chooseCertificate(s, c)
	if !s.tls && s.host != "" {
		for i := range c.TLS {
			if c.TLS[i].covers(s.host) {
				s.tls = true
			}
		}
	}
}

// covers reports whether t has the certificate for a host. Without hosts, the controller
// goes by the names in the certificate.
func (t *TLS) covers(host string) bool {
	return len(t.Hosts) == 0 || slices.ContainsFunc(t.Hosts, func(h string) bool {
		_, domain, _ := strings.Cut(host, ".")
		return h == host || h == "*."+domain
	})
}

func (v *converter) addPath(s *server, c *conf, p *Path) {
	text := cmp.Or(p.Path, "/")
	directive := "path " + text
	isExact := p.Type == exact
	if !v.owns(c, s) && c.changesHost(text) {
		v.r.Refuse(p.Place, directive, "the host %s belongs to the namespace %s, and use-regex or rewrite-target would make regular expressions of all its paths", hint.Quote(s.host), s.namespace)
		return
	}
	if s.first == nil {
		s.first = map[string]*location{}
		for _, l := range s.locations {
			s.first[l.path] = l
		}
	}
	if l := s.first[text]; l != nil && l.exact == isExact {
		if l.unset {
			l.unset, l.backend, l.by, l.Place = false, &p.Backend, c, p.Place
			return
		}
		v.r.Differ(p.Place, directive, "", "the Ingress %s has this path already, and gets its requests, as with ingress-nginx", l.by.key())
		return
	}
	l := &location{path: text, exact: isExact, backend: &p.Backend, by: c, Place: p.Place}
	if s.first[text] == nil {
		s.first[text] = l
	}
	s.locations = append(s.locations, l)
}

// sort puts the locations into the order in which nginx finds them: those that match
// exactly, then the longest. Regular expressions are all tried by length.
func (s *server) sort() {
	slices.SortStableFunc(s.locations, func(a, b *location) int {
		if !s.regex && a.exact != b.exact {
			if a.exact {
				return -1
			}
			return 1
		}
		x, y := a.path, b.path
		if !s.regex {
			x, y = strings.TrimSuffix(x, "/"), strings.TrimSuffix(y, "/")
		}
		return cmp.Or(cmp.Compare(len(y), len(x)), cmp.Compare(y, x))
	})
}
