package nginx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

const files = "it serves files, and holdfast serves none: leave them to a web server, and send it their paths by a proxy_pass"

// body makes the routes of a location, without those of the locations in it.
func (sc *scope) body(loc *location) (made []*route, err error) {
	cv := sc.cv
	note := cv.carry(loc.d)
	defer func() {
		if len(made) > 0 { // the last has all that the location is for
			note.in(made[len(made)-1], "match")
		}
	}()
	if loc.lv.has("internal") {
		cv.carry(loc.lv.own("internal")[0])
		return sc.nothing(loc.d), nil
	}
	out, in, done := sc.rewrites(loc.lv, loc)
	list := out.answers
	if done {
		return list, nil
	}
	for _, c := range slices.Backward(out.contents) {
		list = append(list, c.in.content(c.lv, loc, c.path, c.d)...)
	}
	for _, d := range loc.lv.own("limit_except") {
		list = append(list, in.limitExcept(d, loc)...)
	}
	if handler := loc.lv.handles(); !handler && len(list) > 0 {
		if !cv.covers(loc) {
			cv.differ(loc.d, "requests that nothing in it answers get 404: nginx looks for a file")
		}
		return append(list, in.nothing(loc.d)...), nil
	}
	return append(list, in.content(loc.lv, loc, "", loc.d)...), nil
}

// handles reports whether a block itself says what to do with requests.
func (l *level) handles() bool {
	for _, d := range l.list {
		if strings.HasSuffix(d.Name, "_pass") || strings.Contains(d.Name, "content") || slices.Contains(
			[]string{"root", "alias", "try_files", "index", "autoindex", "stub_status", "allow", "deny", "perl", "empty_gif", "dav_methods"}, d.Name) {
			return true
		}
	}
	return false
}

// covers reports whether a rewrite of a location answers all of its requests.
func (cv *converter) covers(loc *location) bool {
	return slices.ContainsFunc(loc.lv.own("rewrite"), func(d *syntax.Directive) bool {
		return len(d.Args) > 0 && (loc.regex == d.Args[0] || slices.Contains([]string{"^" + loc.path, "^" + loc.path + "(.*)$", "^" + loc.path + "(.*)", "^" + loc.path + ".*$"}, d.Args[0]))
	})
}

// limitExcept makes the routes for the methods that a limit_except doesn't name.
func (sc *scope) limitExcept(d *syntax.Directive, loc *location) []*route {
	allowed := slices.Clone(d.Args)
	if slices.Contains(allowed, "GET") {
		allowed = append(allowed, "HEAD")
	}
	c := *sc
	c.match = cloneMatch(&sc.match)
	c.match.Not = append(c.match.Not, config.Match{Method: allowed})
	sc.cv.carry(d)
	return c.content(loc.lv.within(d), loc, "", d)
}

// handler finds the directive of a name that handles the requests of a block: an if and a
// limit_except have that of the location around them.
func handler(lv *level, name string) *syntax.Directive {
	for ; lv != nil && lv.block != nil; lv = lv.up {
		if own := lv.own(name); len(own) > 0 {
			return own[0]
		}
		if lv.block.Name != "if" && lv.block.Name != "limit_except" {
			return nil
		}
	}
	return nil
}

// content makes the routes of requests that nothing has answered yet. path is the template
// of a rewrite; "" keeps the path.
func (sc *scope) content(lv *level, loc *location, path string, d *syntax.Directive) []*route {
	cv := sc.cv
	if pass := handler(lv, "proxy_pass"); pass != nil {
		return sc.pass(pass, lv, loc, path)
	}
	if rules := lv.allOf("allow", "deny"); len(rules) > 0 && cv.deniesAll(rules) {
		r := sc.route(d)
		r.Respond = &config.Respond{Status: 403}
		for _, rule := range rules {
			cv.carry(rule).in(r, "respond")
		}
		cv.skipAll(lv.list, "the location answers all requests with 403")
		return []*route{r}
	}
	if s := handler(lv, "stub_status"); s != nil {
		cv.differ(s, "holdfast's metrics are at the address of admin, see docs/metrics.md; here the answer is 404")
		cv.skipAll(lv.list, "the location has nothing to guard")
		return sc.nothing(d)
	}
	if try := handler(lv, "try_files"); try != nil {
		if named := sc.server.tried(try); named != nil {
			cv.refuse(try, "holdfast looks for no files: without this line, all requests go to @"+named.name)
			made, err := sc.body(named)
			if err != nil {
				cv.refuse(named.d, err.Error())
			}
			return made
		}
	}
	refused := d
	for _, name := range []string{"fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass", "grpc_pass", "content_by_lua_block", "content_by_lua", "content_by_lua_file", "js_content", "perl", "empty_gif"} {
		if h := handler(lv, name); h != nil {
			j, _ := judgedBy(name)
			if strings.Contains(name, "_by_lua") {
				j = judged["lua_"]
			}
			cv.refuse(refused, name+": "+j.text)
			return sc.nothing(d)
		}
	}
	cv.refuse(refused, files)
	return sc.nothing(d)
}

// target is what a proxy_pass names.
type target struct {
	tls  bool
	up   *upstream
	host string // $proxy_host
	port string
	path string // with variables; "" passes the path on
}

// pass makes the routes of a proxy_pass.
func (sc *scope) pass(d *syntax.Directive, lv *level, loc *location, path string) []*route {
	cv := sc.cv
	texts := append([]string{}, d.Args...)
	for _, h := range lv.all("proxy_set_header") {
		if len(h.Args) == 2 && !ownHeader(h.Args[0]) {
			texts = append(texts, h.Args[1])
		}
	}
	for _, h := range lv.all("add_header") {
		texts = append(texts, h.Args...)
	}
	scopes, err := sc.variants(texts)
	if err != nil {
		cv.refuse(d, err.Error())
		return sc.nothing(d)
	}
	var list []*route
	for _, in := range scopes {
		r := in.route(d)
		t, err := in.target(d)
		if err == nil {
			in.proxy = t
			err = in.passTo(r, d, lv, loc, path)
		}
		if err != nil {
			cv.refuse(d, err.Error())
			list = append(list, in.nothing(d)...)
			continue
		}
		list = append(list, r)
	}
	return list
}

// target reads the argument of a proxy_pass.
func (sc *scope) target(d *syntax.Directive) (*target, error) {
	if len(d.Args) != 1 {
		return nil, errors.New("the backend is missing: write for example proxy_pass http://127.0.0.1:3000")
	}
	url := sc.known(d.Args[0])
	t := new(target)
	switch {
	case strings.HasPrefix(url, "http://"):
		url = url[len("http://"):]
	case strings.HasPrefix(url, "https://"):
		url, t.tls = url[len("https://"):], true
	case strings.HasPrefix(url, "$scheme://"), strings.HasPrefix(url, "${scheme}://"):
		_, url, _ = strings.Cut(url, "://")
		t.tls = sc.socket.ssl
	default:
		return nil, fmt.Errorf("where the requests go must be known beforehand: write http:// or https://, and a name, an address, or a variable of a map or set")
	}
	t.port = "80"
	if t.tls {
		t.port = "443"
	}
	address := url
	if rest, ok := strings.CutPrefix(url, "unix:"); ok {
		file, after, _ := strings.Cut(rest, ":")
		address, t.path, t.host = "unix:"+file, after, "localhost"
	} else {
		end := strings.IndexAny(url, "/?")
		if i := strings.Index(url, "$"); i >= 0 && (end < 0 || i < end) {
			if i == 0 {
				return nil, fmt.Errorf("where the requests go must be known beforehand: %s is chosen by the client, who could have anything asked", hint.Quote(url))
			}
			end = i
		}
		if end >= 0 {
			address, t.path = url[:end], url[end:]
		}
		t.host = strings.ToLower(address)
		if port := hostPort(address); port != "" {
			t.host = strings.TrimSuffix(t.host, ":"+t.port)
			t.port = port
		}
	}
	if t.up = sc.cv.ups[address]; t.up == nil {
		key := address
		if hostPort(key) == "" && !strings.HasPrefix(key, "unix:") {
			key += ":" + t.port
		}
		if t.up = sc.cv.direct[key]; t.up == nil {
			t.up = &upstream{name: key, d: d, address: key}
			sc.cv.direct[key] = t.up
		}
	}
	return t, nil
}

// known replaces the variables of a text whose value is known here.
func (sc *scope) known(s string) string {
	var b strings.Builder
	for _, p := range split(s) {
		if b.Len() > maxValue {
			break
		}
		switch value, set := sc.env[p.variable]; {
		case p.variable == "":
			b.WriteString(p.text)
		case set && sc.depth < maxVariables:
			b.WriteString(sc.inner().known(value))
		default:
			if value, ok := sc.constant(p.variable); ok && p.variable != "proxy_host" {
				b.WriteString(value)
				continue
			}
			b.WriteString("$" + p.variable)
		}
	}
	return b.String()
}

// hostPort is the port of an address; "" if it has none.
func hostPort(address string) string {
	i := strings.LastIndexByte(address, ':')
	if i < 0 || strings.HasSuffix(address, "]") || strings.HasPrefix(address, "unix:") {
		return ""
	}
	return address[i+1:]
}

// passTo fills in a route to the target of sc.
func (sc *scope) passTo(r *route, d *syntax.Directive, lv *level, loc *location, path string) error {
	cv, t := sc.cv, sc.proxy
	s := settings{tls: sc.proxyTLS(lv)}
	pool := cv.pool(t.up, s)
	if pool == "" {
		r.Respond = &config.Respond{Status: 502}
		return nil
	}
	r.Pool = pool
	cv.carry(d).in(r, "pool")
	if path != "" {
		r.Rewrite.Path = path
	} else if err := sc.rewritePath(r, d, loc); err != nil {
		return err
	}
	sc.requestHeaders(d, lv, r)
	sc.responseHeaders(lv, r, true)
	sc.timeouts(lv, r)
	sc.retries(lv, pool)
	sc.healthCheck(lv, pool)
	sc.access(lv, r)
	sc.limits(lv, r)
	sc.authRequest(lv, r)
	cv.passes = append(cv.passes, r)
	return nil
}

const anyway = "the query is passed on, too"

// rewritePath does what the path in a proxy_pass does.
func (sc *scope) rewritePath(r *route, d *syntax.Directive, loc *location) error {
	to := sc.proxy.path
	plain := bare(to)
	switch plain {
	case "", "$request_uri", "$uri$is_args$args", "$uri$is_args$query_string", "$document_uri$is_args$args":
		return nil
	}
	if path, ok := strings.CutSuffix(plain, "$request_uri"); ok && !strings.Contains(path, "$") {
		r.Rewrite.Path = strings.TrimSuffix(path, "/") + "${path}"
		return sc.checkPath(r)
	}
	if strings.Contains(plain, "$") {
		return sc.templatePath(r, d, loc, plain)
	}
	if strings.Contains(plain, "?") {
		return errors.New("a query in a proxy_pass can't be carried over: let the client send it")
	}
	sc.cv.encodings = true
	switch {
	case loc == nil || loc.regex != "" || loc.name != "":
		return errors.New("nginx takes no path here: leave it out, or use a location that is a prefix")
	case loc.exact:
		r.Rewrite.Path = strings.ReplaceAll(plain, "$", "$$")
		return sc.checkPath(r)
	case loc.path == plain:
		return nil
	}
	from, to := loc.path, plain
	if strings.HasSuffix(from, "/") && strings.HasSuffix(to, "/") || !strings.HasSuffix(from, "/") && to == "/" {
		if to == "/" && !strings.HasSuffix(from, "/") {
			sc.cv.differ(d, fmt.Sprintf("%s/x becomes /x, and %sx stays as it is: nginx makes //x and /x of them", from, from)).in(r, "rewrite")
		}
		prefix := new(config.PathPrefix)
		var err1, err2 error
		prefix.From, err1 = pattern.ParsePath(encode(from))
		prefix.To, err2 = pattern.ParsePath(encode(to))
		r.Rewrite.PathPrefix = prefix
		return errors.Join(err1, err2)
	}
	if err := r.capture("(?s)^" + quotePath(from) + "(.*)$"); err != nil {
		return err
	}
	r.Rewrite.Path = strings.ReplaceAll(encode(to), "$", "$$") + "$1"
	return sc.checkPath(r)
}

func (sc *scope) checkPath(r *route) error {
	_, err := pattern.ParsePathTemplate(r.Rewrite.Path)
	return err
}

// templatePath is for a path with captures of the location.
func (sc *scope) templatePath(r *route, d *syntax.Directive, loc *location, to string) error {
	path := to
	for _, query := range []string{"$is_args$args", "$is_args$query_string", "?$args", "?$query_string"} {
		path = strings.TrimSuffix(path, query)
	}
	if path == to {
		sc.cv.differ(d, anyway).in(r, "rewrite")
	}
	if strings.ContainsAny(path, "?") {
		return errors.New("a query in a proxy_pass can't be carried over: let the client send it")
	}
	var b strings.Builder
	for _, p := range split(path) {
		switch group := loc.group(p.variable); {
		case p.variable == "":
			b.WriteString(strings.ReplaceAll(p.text, "$", "$$"))
		case p.variable == "uri" || p.variable == "document_uri":
			b.WriteString("${path}")
		case group > 0 && r.Match.PathRegex.String() == loc.regex:
			fmt.Fprintf(&b, "${%d}", group)
		default:
			return fmt.Errorf("the path has %s in it: it can be made of what the location's regular expression captures", hint.Quote("$"+p.variable))
		}
	}
	r.Rewrite.Path = strings.ReplaceAll(b.String(), "/${path}", "${path}")
	sc.cv.encodings = true
	return sc.checkPath(r)
}
