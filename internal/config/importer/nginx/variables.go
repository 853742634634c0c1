package nginx

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// piece is a part of a text: a variable, or what is between two.
type piece struct{ text, variable string }

// split finds the variables in a text. A dollar sign that begins none is text.
func split(s string) (pieces []piece) {
	literal := ""
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			break
		}
		literal += s[:i]
		rest := s[i+1:]
		inner, braced := strings.CutPrefix(rest, "{")
		if braced {
			rest = inner
		}
		n := len(rest) - len(strings.TrimLeftFunc(rest, isNameChar))
		switch {
		case n > 0 && rest[0] >= '0' && rest[0] <= '9':
			n = 1 // $1 and a digit
		case n == 0:
			literal, s = literal+"$", s[i+1:]
			continue
		}
		name, after := rest[:n], rest[n:]
		if braced {
			var closed bool
			if after, closed = strings.CutPrefix(after, "}"); !closed {
				literal, s = literal+"$", s[i+1:]
				continue
			}
		}
		if literal != "" {
			pieces, literal = append(pieces, piece{text: literal}), ""
		}
		pieces, s = append(pieces, piece{variable: variableName(name)}), after
	}
	if literal += s; literal != "" {
		pieces = append(pieces, piece{text: literal})
	}
	return pieces
}

// bare is a text whose variables are written without braces.
func bare(s string) string { return withoutBraces.Replace(s) }

var withoutBraces = strings.NewReplacer("${", "$", "}", "")

// variableName is a name in the form in which it is compared. Those of cookies and
// parameters keep their case, which matters to holdfast.
func variableName(s string) string {
	low := strings.ToLower(s)
	for _, prefix := range []string{"cookie_", "arg_", "upstream_cookie_"} {
		if strings.HasPrefix(low, prefix) {
			return prefix + s[len(prefix):]
		}
	}
	return low
}

func isNameChar(c rune) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// mapping is a map or a geo: the value of a variable by that of others.
type mapping struct {
	d        *syntax.Directive
	name     string
	source   string // a text with variables
	geo      bool   // the keys are networks
	wild     bool   // the keys may be wildcards of hosts
	entries  []entry
	fallback string
}

type entry struct {
	d     *syntax.Directive
	key   string
	regex bool // key is a regular expression, with (?i) if case doesn't matter
	value string
}

// mappings finds the maps of http or stream. Their names are without the dollar sign.
func (cv *converter) mappings(l *level) map[string]*mapping {
	found := map[string]*mapping{}
	for _, d := range l.list {
		if d.Name != "map" && d.Name != "geo" || !d.HasBlock {
			continue
		}
		m := &mapping{d: d, geo: d.Name == "geo", source: "$remote_addr"}
		switch {
		case !m.geo && len(d.Args) == 2:
			m.source = d.Args[0]
		case m.geo && len(d.Args) == 2:
			m.source = d.Args[0]
		case !m.geo || len(d.Args) != 1:
			cv.refuse(d, "write it as map SOURCE $NAME { … }")
			continue
		}
		m.name = variableName(strings.TrimPrefix(d.Args[len(d.Args)-1], "$"))
		for _, e := range d.Block {
			cv.entry(m, e)
		}
		m.sort()
		found[m.name] = m
	}
	return found
}

func (cv *converter) entry(m *mapping, d *syntax.Directive) {
	switch {
	case d.Name == "hostnames" && len(d.Args) == 0:
		m.wild = true
		cv.carry(d)
	case (d.Name == "volatile" || d.Name == "ranges") && len(d.Args) == 0 || d.Name == "include":
		if d.Name == "ranges" {
			cv.refuse(d, "write networks such as 10.0.0.0/8 instead of ranges")
		} else {
			cv.carry(d)
		}
	case len(d.Args) != 1:
		cv.refuse(d, "an entry has a key and a value")
	case d.Name == "default":
		m.fallback = d.Args[0]
	case m.geo && (d.Name == "proxy" || d.Name == "proxy_recursive" || d.Name == "delete"):
		cv.refuse(d, "addresses are those of clients behind trusted proxies (set_real_ip_from)")
	default:
		e := entry{d: d, key: d.Name, value: d.Args[0]}
		if expression, ok := strings.CutPrefix(d.Name, "~"); ok && !m.geo {
			e.regex, e.key = true, expression
			if rest, ok := strings.CutPrefix(expression, "*"); ok {
				e.key = "(?i)" + rest
			}
		} else if !m.geo {
			e.key = strings.TrimPrefix(d.Name, `\`)
		}
		m.entries = append(m.entries, e)
	}
}

// sort brings the entries into the order in which nginx tries them: texts, then wildcards,
// the longest first, then regular expressions; of networks, the narrowest first.
func (m *mapping) sort() {
	rank := func(e entry) int {
		switch {
		case e.regex:
			return 3
		case m.wild && (strings.HasPrefix(e.key, "*.") || strings.HasPrefix(e.key, ".")):
			return 1
		case m.wild && strings.HasSuffix(e.key, ".*"):
			return 2
		}
		return 0
	}
	slices.SortStableFunc(m.entries, func(a, b entry) int {
		if m.geo {
			x, _ := parseNetwork(a.key)
			y, _ := parseNetwork(b.key)
			return y.Bits() - x.Bits()
		}
		if r := rank(a) - rank(b); r != 0 || a.regex {
			return r
		}
		if rank(a) > 0 {
			return len(b.key) - len(a.key)
		}
		return 0
	})
}

// segmentOf finds the segment of the path that a variable stands for: one that a group of
// a regular expression captures, in a map over the path, or in a location.
func (cv *converter) segmentOf(name string) (n int, ok bool) {
	if m := cv.maps[name]; m != nil && (m.source == "$uri" || m.source == "$request_uri") {
		for _, e := range m.entries {
			pieces := split(e.value)
			if !e.regex || len(pieces) != 1 || pieces[0].variable == "" {
				return 0, false
			}
			i, found := segmentIn(e.key, pieces[0].variable)
			if !found || n != 0 && n != i {
				return 0, false
			}
			n = i
		}
		if n > 0 {
			cv.carry(m.d)
		}
		return n, n > 0
	}
	for _, expression := range cv.expressions {
		if i, found := segmentIn(expression, name); found {
			if n != 0 && n != i {
				return 0, false
			}
			n = i
		}
	}
	return n, n > 0
}

var (
	wholeSegment = regexp.MustCompile(`^\((?:\?P?<(\w+)>)?(?:\[\^/[^\]]*\]|\[[\w.:~@!-]+\]|\\w|\\d|\.)[+*]\??\)(?:\(\?:)?`)
	oneSegment   = regexp.MustCompile(`^(?:[\w.~@!:-]|\\.|\[\^/\][+*]|\[[\w.-]+\][+*]?)+$`)
)

// segmentIn is the number of the segment that a group of an expression such as
// ^/rooms/(?<room>[^/]+) captures. The group has a name, or a number.
func segmentIn(expression, group string) (int, bool) {
	expression = strings.TrimPrefix(expression, "(?i)")
	rest, anchored := strings.CutPrefix(expression, "^/")
	if !anchored {
		return 0, false
	}
	number := 0
	for n := 1; ; n++ {
		if m := wholeSegment.FindStringSubmatch(rest); m != nil {
			number++
			after := rest[len(m[0]):]
			ends := after == "" || strings.ContainsRune("/$()?", rune(after[0]))
			if ends && (m[1] == group || strconv.Itoa(number) == group) {
				return n, true
			}
		}
		end := segmentEnd(rest)
		if end < 0 {
			return 0, false
		}
		if segment := rest[:end]; !oneSegment.MatchString(segment) && wholeSegment.FindString(segment) != segment {
			return 0, false
		}
		rest = rest[end+1:]
	}
}

// segmentEnd is where the next slash is that is in no brackets; -1 if there is none.
func segmentEnd(s string) int {
	brackets := false
	for i := range len(s) {
		switch s[i] {
		case '[':
			brackets = true
		case ']':
			brackets = false
		case '/':
			if !brackets {
				return i
			}
		}
	}
	return -1
}

// template is a text with nginx's variables as one with those of holdfast.
func (sc *scope) template(s string) (string, error) {
	var b strings.Builder
	for _, p := range split(s) {
		if p.variable == "" {
			b.WriteString(strings.ReplaceAll(p.text, "$", "$$"))
			continue
		}
		text, err := sc.variable(p.variable)
		if err != nil {
			return "", err
		}
		if b.WriteString(text); b.Len() > maxValue {
			return "", errValue
		}
	}
	return b.String(), nil
}

// templates are the variables that have a name of their own in holdfast.
var templates = map[string]string{
	"remote_addr": "${client_ip}", "remote_port": "${client_port}", "proxy_protocol_addr": "${client_ip}",
	"proxy_protocol_port": "${client_port}", "proxy_add_x_forwarded_for": "${forwarded_for}",
	"host": "${host}", "scheme": "${scheme}", "request_uri": "${uri}", "uri": "${path}", "document_uri": "${path}",
	"args": "${query}", "query_string": "${query}", "request_id": "${request_id}", "ssl_server_name": "${sni}",
	"upstream_addr": "${backend}", "http_host": "${header.Host}",
}

// variable is a variable in a template.
func (sc *scope) variable(name string) (string, error) {
	if value, ok := sc.env[name]; ok {
		return sc.inner().template(value)
	}
	if value, ok := sc.constant(name); ok {
		return strings.ReplaceAll(value, "$", "$$"), nil
	}
	if t, ok := templates[name]; ok {
		if name == "request_id" {
			sc.cv.c.Forwarded.RequestID = true
		}
		return t, nil
	}
	if arg, ok := strings.CutPrefix(name, "arg_"); ok {
		return "${query." + arg + "}", nil
	}
	if cookie, ok := strings.CutPrefix(name, "cookie_"); ok {
		return "${cookie." + cookie + "}", nil
	}
	if header, ok := strings.CutPrefix(name, "http_"); ok {
		return "${header." + headerName(header) + "}", nil
	}
	return "", fmt.Errorf("holdfast has no variable for %s", hint.Quote("$"+name))
}

// headerName is the usual spelling of a name such as x_forwarded_proto.
func headerName(s string) string {
	parts := strings.Split(s, "_")
	for i, p := range parts {
		if p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "-")
}

// literal is a text whose variables all have one value here.
func (sc *scope) literal(s string) (string, error) {
	var b strings.Builder
	for _, p := range split(s) {
		if p.variable == "" {
			b.WriteString(p.text)
			continue
		}
		if value, ok := sc.env[p.variable]; ok {
			value, err := sc.inner().literal(value)
			if err != nil {
				return "", err
			}
			if b.WriteString(value); b.Len() > maxValue {
				return "", errValue
			}
			continue
		}
		value, ok := sc.constant(p.variable)
		if !ok {
			return "", fmt.Errorf("the value of %s isn't known beforehand", hint.Quote("$"+p.variable))
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// constant is the value of a variable that is the same for all requests of the server on
// the socket.
func (sc *scope) constant(name string) (string, bool) {
	switch name {
	case "server_name":
		for _, n := range sc.server.names {
			return strings.TrimPrefix(n, "."), true // nginx takes the first
		}
		return "", true
	case "server_port":
		return strconv.Itoa(sc.socket.port()), sc.socket.port() != 0
	case "https":
		if sc.socket.ssl {
			return "on", true
		}
		return "", true
	case "proxy_port", "proxy_host":
		if sc.proxy == nil {
			return "", false
		}
		if name == "proxy_host" {
			return sc.proxy.host, true
		}
		return sc.proxy.port, true
	case "request_scheme":
		return sc.scheme(), true
	}
	return "", false
}

func (sc *scope) scheme() string {
	if sc.socket.ssl {
		return "https"
	}
	return "http"
}
