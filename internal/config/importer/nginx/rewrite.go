package nginx

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// rewritten is what the directives of nginx's rewrite module make of a block.
type rewritten struct {
	answers  []*route  // in their order
	contents []content // in the order of the file; the last that matches counts
}

// content is an if whose block says where requests go, or a rewrite of the path.
type content struct {
	d    *syntax.Directive
	in   *scope
	lv   *level
	path string // the template of the path; "" keeps it
}

// rewrites goes through set, if, return, rewrite and break of a block. done says that all
// requests are answered. in is the scope of those that aren't. loc is nil in a server.
func (sc *scope) rewrites(lv *level, loc *location) (out rewritten, in *scope, done bool) {
	cv := sc.cv
	in = sc
	for i, d := range lv.list {
		switch d.Name {
		case "set":
			if len(d.Args) == 2 {
				in = in.with(variableName(strings.TrimPrefix(d.Args[0], "$")), d.Args[1])
				cv.carry(d)
			}
		case "break":
			cv.skip(d, "there is nothing to break off")
		case "return":
			out.answers = append(out.answers, in.answers(d, lv)...)
			if cv.notes[d] != nil {
				for _, rest := range lv.list[i+1:] {
					if rest.Name == "set" || rest.Name == "return" || rest.Name == "rewrite" || rest.Name == "if" {
						cv.skip(rest, "it comes after the return on line "+lineOf(d))
					}
				}
			}
			return out, in, true
		case "if":
			in.ifBlock(d, lv, &out)
		case "rewrite":
			if in.rewrite(d, lv, loc, &out) {
				return out, in, true
			}
		}
	}
	return out, in, false
}

// ifBlock makes the routes of an if.
func (sc *scope) ifBlock(d *syntax.Directive, lv *level, out *rewritten) {
	cv := sc.cv
	c, err := parseIf(d)
	if err != nil {
		cv.refuse(d, err.Error())
		return
	}
	inner := lv.within(d)
	texts := []string{"$" + c.of}
	scopes, err := sc.variants(texts)
	if err != nil {
		cv.refuse(d, err.Error())
		return
	}
	if inner.has("set") {
		cv.refuse(d, "a variable can't have another value for some requests: use a map, or a return in the if")
		return
	}
	cv.carry(d)
	var before []config.Match // of values of a map for which the block isn't run, or not the same
	for _, s := range scopes {
		whole := cloneMatch(&s.match)
		s.match = cloneMatch(&s.match)
		s.match.Not = append(s.match.Not, before...)
		in, _, err := s.matching(c)
		if err != nil {
			cv.refuse(d, err.Error())
			return
		}
		if in == nil {
			before = append(before, beyond(&whole, &sc.match))
			continue
		}
		answers, rest, done := in.rewrites(inner, nil)
		out.answers = append(out.answers, answers.answers...)
		if len(answers.contents) > 0 {
			cv.refuse(d, "a rewrite in an if can only answer (permanent or redirect)")
			return
		}
		if !done {
			out.contents = append(out.contents, content{d: d, in: rest, lv: inner})
			before = append(before, beyond(&whole, &sc.match))
		}
	}
}

// answers makes the routes of a return.
func (sc *scope) answers(d *syntax.Directive, lv *level) []*route {
	scopes, err := sc.variants(d.Args)
	if err != nil {
		sc.cv.refuse(d, err.Error())
		return sc.nothing(d)
	}
	var list []*route
	for _, in := range scopes {
		list = append(list, in.answer(d, lv))
	}
	return list
}

// nothing answers 404 where something was refused, so that no other route gets the
// requests.
func (sc *scope) nothing(d *syntax.Directive) []*route {
	r := sc.route(d)
	r.Respond = &config.Respond{Status: 404}
	return []*route{r}
}

func (sc *scope) answer(d *syntax.Directive, lv *level) *route {
	cv, r := sc.cv, sc.route(d)
	code, text := 302, ""
	switch len(d.Args) {
	case 1:
		n, err := strconv.Atoi(d.Args[0])
		if code, text = n, ""; err != nil {
			code, text = 302, d.Args[0]
		}
	case 2:
		code, _ = strconv.Atoi(d.Args[0])
		text = d.Args[1]
	}
	if slices.Contains([]int{301, 302, 303, 307, 308}, code) && text != "" {
		to, err := sc.location(d, lv, text)
		if err != nil {
			cv.refuse(d, err.Error())
			return sc.nothing(d)[0]
		}
		r.Redirect = &config.Redirect{To: to, Status: code}
		cv.carry(d).in(r, "redirect")
		if plain := bare(text); strings.Contains(plain, "$uri") || strings.Contains(plain, "$document_uri") {
			cv.differ(d, "the path is as the client sent it: nginx decodes it")
		}
		sc.responseHeaders(lv, r, false)
		return r
	}
	if (code == 444 || code >= 400 && code < 500) && asksParameter(&sc.match) {
		cv.refuse(d, "it guards access by $arg_NAME, whose case nginx ignores, and holdfast doesn't: use a header field, or have the backends check the query")
		return sc.nothing(d)[0]
	}
	switch {
	case code == 444:
		cv.differ(d, "the answer is 404: nginx closes the connection without one").in(r, "respond")
		code = 404
	case code < 200 || code > 599:
		cv.refuse(d, "write a status from 200 to 599, or a URL")
		return sc.nothing(d)[0]
	}
	r.Respond = &config.Respond{Status: code}
	if text != "" && code != 204 && code != 304 && code != 205 {
		body, err := sc.literal(text)
		if err != nil {
			cv.differ(d, "the text is sent without its variables")
			body = withoutVariables(text)
		}
		r.Respond.Body, r.Respond.ContentType = body, "text/plain"
		if t := lv.one("default_type"); t != nil && strings.Contains(t.Args[0], "/") {
			r.Respond.ContentType = t.Args[0]
			cv.carry(t)
		}
	}
	cv.carry(d).in(r, "respond")
	sc.responseHeaders(lv, r, false)
	return r
}

// asksParameter reports whether requests need a parameter to match.
func asksParameter(m *config.Match) bool {
	if len(m.Query) > 0 {
		return true
	}
	for i := range m.Not {
		for j := range m.Not[i].Not { // not not
			if asksParameter(&m.Not[i].Not[j]) {
				return true
			}
		}
	}
	return false
}

func withoutVariables(s string) string {
	var b strings.Builder
	for _, p := range split(s) {
		b.WriteString(p.text)
	}
	return b.String()
}

// urlVariables are several variables of nginx that are one of holdfast, and others that
// are written in another way there.
var urlVariables = strings.NewReplacer("$is_args$args", "${search}", "$is_args$query_string", "${search}", "$scheme", "${scheme}", "$http_host", "$host")

// location is the URL that clients are sent to.
func (sc *scope) location(d *syntax.Directive, lv *level, url string) (string, error) {
	// What nginx makes of several variables is one of holdfast's.
	url = urlVariables.Replace(url)
	t, err := sc.template(markSearch(sc.markCaptures(url)))
	if err != nil {
		return "", err
	}
	t = returnCaptures(t)
	t = strings.ReplaceAll(t, searchMark, "${search}")
	t = strings.ReplaceAll(t, "${path}${search}", "${uri}")
	if strings.HasPrefix(t, "/") {
		return sc.absolute(lv, t), nil
	}
	return t, nil
}

// searchMark stands for ${search} while variables of nginx are resolved.
const searchMark = "\x00search\x00"

func markSearch(s string) string { return strings.ReplaceAll(s, "${search}", searchMark) }

// absolute is the URL for a path of the same host, as nginx makes it.
func (sc *scope) absolute(lv *level, path string) string {
	if lv.is("absolute_redirect", "off") {
		return path
	}
	host := "${host}"
	if port := sc.socket.port(); port != 0 && !lv.is("port_in_redirect", "off") && port != map[bool]int{true: 443, false: 80}[sc.socket.ssl] {
		host += ":" + strconv.Itoa(port)
	}
	return "${scheme}://" + host + path
}

// rewrite reads a rewrite, and reports whether it answers all requests.
func (sc *scope) rewrite(d *syntax.Directive, lv *level, loc *location, out *rewritten) (done bool) {
	cv := sc.cv
	const programs = "holdfast doesn't rewrite paths in several steps: use a proxy_pass with a path, or rewrite with break, permanent or redirect"
	if len(d.Args) < 2 {
		cv.refuse(d, programs)
		return false
	}
	expression, to, flag := d.Args[0], d.Args[1], ""
	if len(d.Args) > 2 {
		flag = d.Args[2]
	}
	absolute := strings.HasPrefix(to, "http://") || strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "$scheme")
	in, rest, err := sc.matching(condition{of: "uri", regex: expression})
	if err == nil && in != nil && in.match.PathRegex.String() != expression {
		err = errTwo
	}
	switch {
	case err != nil:
		cv.refuse(d, err.Error())
		return false
	case absolute || flag == "permanent" || flag == "redirect":
		code := 302
		if flag == "permanent" {
			code = 301
		}
		url, query := strings.CutSuffix(to, "?")
		if !query {
			url += "$is_args$args"
		}
		if isWhole(expression) && strings.Contains(to, "$1") && !query {
			url = strings.NewReplacer("/$1", "$request_uri", "$1", "$request_uri").Replace(to)
			if in.match.PathRegex, err = (pattern.Regex{}), nil; sc.match.PathRegex.String() != "" {
				in.match.PathRegex = sc.match.PathRegex
			}
		}
		if expression == "^" || expression == "^/" || expression == "^.*$" || expression == ".*" {
			in.match.PathRegex, rest = sc.match.PathRegex, false
		}
		url, err = in.location(d, lv, url)
		if err != nil {
			cv.refuse(d, err.Error())
			return false
		}
		r := in.route(d)
		r.Redirect = &config.Redirect{To: url, Status: code}
		cv.carry(d).in(r, "redirect")
		in.responseHeaders(lv, r, false)
		out.answers = append(out.answers, r)
		return !rest || isWhole(expression)
	case flag == "break" && loc != nil && !strings.Contains(to, "?") && lv.has("proxy_pass"):
		path, err := in.template(in.markCaptures(to))
		if path = returnCaptures(path); err == nil {
			_, err = pattern.ParsePathTemplate(path)
		}
		if err != nil {
			cv.refuse(d, err.Error())
			return false
		}
		out.contents = append(out.contents, content{d: d, in: in, lv: lv, path: path})
		cv.carry(d)
		return false
	}
	cv.refuse(d, programs)
	return false
}

var errTwo = errors.New("two regular expressions for one path: only one can have captures")

// isWhole reports whether an expression captures the whole path.
func isWhole(expression string) bool {
	return slices.Contains([]string{"^(.*)$", "^(.*)", "(.*)", "^/(.*)$", "^/(.*)", "^/(.+)$", "^(.+)$"}, expression)
}

// Captures such as $1 are no variables of nginx's in a template.
const captureMark = "\x01"

// markCaptures replaces variables for what a group of the path's expression has matched.
func (sc *scope) markCaptures(s string) string {
	if sc.captures == "" {
		return s
	}
	loc := &location{regex: sc.captures}
	var b strings.Builder
	for _, p := range split(s) {
		if n := loc.group(p.variable); n > 0 {
			b.WriteString(captureMark + strconv.Itoa(n))
		} else if p.variable != "" {
			b.WriteString("${" + p.variable + "}")
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

func returnCaptures(s string) string { return strings.ReplaceAll(s, captureMark, "$") }
