package nginx

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// server is a block server of http.
type server struct {
	d  *syntax.Directive
	lv *level

	names     []string // as written, in their order
	locations locations
}

func (cv *converter) server(d *syntax.Directive, up *level) *server {
	s := &server{d: d, lv: up.within(d)}
	cv.carry(d)
	for _, d := range s.lv.own("server_name") {
		s.names = append(s.names, d.Args...)
		cv.carry(d)
	}
	s.locations = cv.locations(s.lv, nil)
	return s
}

// name is a name of a server, as routes match it.
type name struct {
	server *server
	d      *syntax.Directive
	text   string
	host   pattern.Host
	regex  pattern.Regex // for what host can't say
}

// names are the names of all servers of a socket, in the order in which nginx tries them:
// exact ones, then "*.example.com", then "www.example.*", the longest first, then regular
// expressions. Of a name that several servers have, the first counts.
func (cv *converter) names(k *socket) []name {
	var kinds [4][]name
	seen := map[string]*server{}
	for _, s := range k.servers {
		for _, d := range s.lv.own("server_name") {
			for _, text := range d.Args {
				if expression, ok := strings.CutPrefix(text, "~"); ok {
					re, err := cv.parseRegex(expression)
					if err != nil {
						cv.refuse(d, err.Error())
						continue
					}
					kinds[3] = append(kinds[3], name{server: s, d: d, text: text, regex: re})
					cv.expressions = append(cv.expressions, expression)
					continue
				}
				for _, n := range cv.plainName(s, d, strings.ToLower(text)) {
					if other := seen[n.text]; other != nil {
						if other != s {
							cv.differ(d, "the name "+n.text+" is ignored, as nginx does: a server before has it")
						}
						continue
					}
					seen[n.text] = s
					kind := 0
					switch {
					case !n.regex.IsZero():
						kind = 2
					case strings.HasPrefix(n.text, "*."):
						kind = 1
					}
					kinds[kind] = append(kinds[kind], n)
				}
			}
		}
	}
	for _, kind := range []int{1, 2} {
		slices.SortStableFunc(kinds[kind], func(a, b name) int { return cmp.Compare(len(b.text), len(a.text)) })
	}
	return slices.Concat(kinds[0], kinds[1], kinds[2], kinds[3])
}

// plainName reads a name that is no regular expression. One such as ".example.com" is two.
func (cv *converter) plainName(s *server, d *syntax.Directive, text string) []name {
	if below, ok := strings.CutPrefix(text, "."); ok {
		return append(cv.plainName(s, d, below), cv.plainName(s, d, "*."+below)...)
	}
	if strings.HasSuffix(text, ".*") && !strings.HasPrefix(text, "*") {
		re, err := cv.parseRegex(wildcard(text))
		if err != nil {
			cv.refuse(d, err.Error())
			return nil
		}
		return []name{{server: s, d: d, text: text, regex: re}}
	}
	if strings.Contains(text, "$") {
		cv.refuse(d, "a name can't have a variable in it")
		return nil
	}
	h, err := pattern.ParseHost(text)
	if err != nil {
		// Such as "_" and "": names that no request has, to make a server that only
		// gets requests as the default server.
		if strings.Contains(text, "*") {
			cv.refuse(d, "a wildcard stands at the beginning or the end of a name, as in *.example.com: "+hint.Quote(text))
		}
		return nil
	}
	return []name{{server: s, d: d, text: text, host: h}}
}

// mayTake reports whether a request with the name n may have another name of other
// servers, too, which would then get it.
func (n *name) mayTake(others []name) bool {
	return slices.ContainsFunc(others, func(o name) bool {
		switch {
		case o.server == n.server:
			return false
		case o.host != pattern.Host{} && !strings.HasPrefix(o.text, "*."):
			return strings.HasPrefix(n.text, "*.") || !n.regex.IsZero()
		case n.host != pattern.Host{} && !strings.HasPrefix(n.text, "*."):
			if o.regex.IsZero() {
				return slices.Contains(n.host.Wider(), o.host)
			}
			return pattern.MatchRegex(o.regex, n.text)
		}
		return true
	})
}

// socketRoutes makes the routes of all servers of a socket.
func (cv *converter) socketRoutes(k *socket) ([]*route, error) {
	var list []*route
	add := func(s *server, d *syntax.Directive, m config.Match) error {
		sc := &scope{cv: cv, socket: k, server: s, match: m}
		made, err := sc.serverRoutes()
		if d != nil && len(made) > 0 {
			cv.carry(d).in(made[0], "match")
		}
		if list = append(list, made...); err == nil && len(list) > maxRoutes {
			err = errRoutes
		}
		return err
	}
	names := cv.names(k)
	if len(k.servers) > 1 {
		for i := range names {
			n := &names[i]
			// The default server gets what has no other name anyway.
			if n.server == k.fallback && !n.mayTake(names) {
				continue
			}
			if err := add(n.server, n.d, config.Match{Host: n.host, HostRegex: n.regex}); err != nil {
				return nil, err
			}
		}
	}
	return list, add(k.fallback, nil, config.Match{})
}

// serverRoutes makes the routes of a server for the requests of a scope.
func (sc *scope) serverRoutes() ([]*route, error) {
	s, cv := sc.server, sc.cv
	before, in, done := sc.rewrites(s.lv, nil)
	list := append(sc.needsCertificate(), before.answers...)
	if done {
		for _, loc := range s.locations.all() {
			cv.skip(loc.d, "the server answers all requests before it looks at locations")
			cv.skipAll(loc.d.Block, "the server answers all requests before it looks at locations")
		}
		return list, nil
	}
	for _, variant := range before.contents {
		cv.refuse(variant.d, "write it into a location: an if of a server can only answer (return)")
	}
	made, err := in.emit(&s.locations, nil)
	if err != nil {
		return nil, err
	}
	list = append(list, made...)
	if !slices.ContainsFunc(s.locations.prefixes, func(loc *location) bool { return loc.path == "/" }) {
		rest, err := in.rest(s)
		if err != nil {
			return nil, err
		}
		list = append(list, rest...)
	}
	return list, nil
}

// tried is the named location that a try_files ends with; nil if it has none.
func (s *server) tried(try *syntax.Directive) *location {
	for _, named := range s.locations.named {
		if n := len(try.Args); n > 0 && try.Args[n-1] == "@"+named.name {
			return named
		}
	}
	return nil
}

// rest makes the routes for what no location of a server is for: nginx looks for a file
// then.
func (sc *scope) rest(s *server) ([]*route, error) {
	cv := sc.cv
	root := s.lv.all("root")
	if try := s.lv.own("try_files"); len(try) > 0 {
		if named := s.tried(try[0]); named != nil {
			cv.refuse(try[0], "holdfast looks for no files: without this line, all requests go to @"+named.name)
			return sc.body(named)
		}
	}
	if len(root) > 0 {
		cv.refuse(root[0], files)
	} else if !cv.known(s.d) || len(s.locations.all()) > 0 {
		cv.differ(s.d, "what no location is for is answered with 404: nginx looks for files in its own folder html")
	} else {
		cv.differ(s.d, "it has no location, so all is answered with 404: nginx looks for files in its own folder html")
	}
	r := sc.route(s.d)
	r.Respond = &config.Respond{Status: 404}
	return []*route{r}, nil
}
