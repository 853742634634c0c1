package nginx

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// condition is one that an if or an entry of a map has for requests. One of text, regex,
// some and networks is set; text "" is a value that is empty or missing.
type condition struct {
	of    string // the variable
	text  string
	fold  bool   // the case of text doesn't matter
	regex string // with (?i) if case doesn't matter
	re    pattern.Regex
	some  bool // any value but the empty one
	truth bool // any value but the empty one and 0
	nets  []netip.Prefix
	not   bool
}

// verdict is what is known of a condition beforehand.
type verdict uint8

const (
	depends verdict = iota // on the request
	always
	never
)

// holds evaluates a condition for a value.
func (c *condition) holds(value string) bool {
	var is bool
	switch {
	case c.truth:
		is = value != "" && value != "0"
	case c.some:
		is = value != ""
	case c.regex != "":
		re, err := regexp.Compile(c.regex)
		is = err == nil && re.MatchString(value)
	case c.fold:
		is = strings.EqualFold(value, c.text)
	default:
		is = value == c.text
	}
	return is != c.not
}

func known(is bool) verdict {
	if is {
		return always
	}
	return never
}

// add adds a condition to a match.
func (sc *scope) add(m *config.Match, c condition) (verdict, error) {
	if c.regex != "" {
		var err error
		if c.re, err = sc.cv.parseRegex(c.regex); err != nil {
			return depends, err
		}
	}
	if value, ok := sc.env[c.of]; ok {
		if text, err := sc.inner().literal(value); err == nil {
			return known(c.holds(text)), nil
		}
		pieces := split(value)
		if len(pieces) != 1 || pieces[0].variable == "" || sc.depth > maxVariables {
			return depends, fmt.Errorf("$%s is made of several variables, and routes look at one at a time", c.of)
		}
		c.of = pieces[0].variable
		return sc.inner().add(m, c)
	}
	if value, ok := sc.constant(c.of); ok {
		return known(c.holds(value)), nil
	}
	if c.of == "scheme" {
		return known(c.holds(sc.scheme())), nil
	}
	if c.of == "host" || c.of == "http_host" {
		if host := m.Host.String(); host != "" && !strings.HasPrefix(host, "*.") {
			return known(c.holds(host)), nil
		}
	}
	if c.not {
		return sc.exclude(m, c)
	}
	return sc.require(m, c)
}

// exclude adds a condition that must not be true.
func (sc *scope) exclude(m *config.Match, c condition) (verdict, error) {
	c.not = false
	if c.of == "http_upgrade" {
		isWebSocket := c.webSocket()
		return setWebSocket(m, !isWebSocket), nil
	}
	if c.of == "request_uri" && (c.text != "" || strings.HasSuffix(c.regex, "$")) {
		return depends, fmt.Errorf("$request_uri has the query, too, and routes look at the path without it: use $uri")
	}
	var inner config.Match
	switch v, err := sc.require(&inner, c); {
	case err != nil:
		return depends, err
	case v == always:
		return never, nil
	case v == never:
		return always, nil
	}
	if len(inner.Not) == 1 && isOnlyNot(&inner) { // not not
		return depends, merge(m, &inner.Not[0])
	}
	m.Not = append(m.Not, inner)
	return depends, nil
}

func isOnlyNot(m *config.Match) bool {
	rest := *m
	rest.Not = nil
	return matchText(&rest) == matchText(&config.Match{})
}

// merge adds the conditions of n to m, as one that must not be untrue.
func merge(m, n *config.Match) error {
	m.Not = append(m.Not, config.Match{Not: []config.Match{*n}})
	return nil
}

func setWebSocket(m *config.Match, is bool) verdict {
	if m.WebSocket != nil {
		return map[bool]verdict{true: depends, false: never}[*m.WebSocket == is]
	}
	m.WebSocket = &is
	return depends
}

// webSocket reports whether a condition on $http_upgrade is one for WebSockets, rather
// than for other requests.
func (c *condition) webSocket() bool { return c.holds("websocket") }

// require adds a condition that must be true.
func (sc *scope) require(m *config.Match, c condition) (verdict, error) {
	header, isHeader := strings.CutPrefix(c.of, "http_")
	arg, isArg := strings.CutPrefix(c.of, "arg_")
	cookie, isCookie := strings.CutPrefix(c.of, "cookie_")
	switch {
	case c.of == "http_upgrade":
		return setWebSocket(m, c.webSocket()), nil
	case c.of == "host" || c.of == "http_host":
		return requireHost(m, c)
	case c.of == "uri" || c.of == "document_uri" || c.of == "request_uri":
		return requirePath(m, c)
	case c.of == "request_method":
		return requireMethod(m, c)
	case c.of == "remote_addr" || c.of == "binary_remote_addr" || c.of == "proxy_protocol_addr":
		return requireClient(m, c)
	case c.of == "ssl_client_verify":
		return requireCertificate(m, c)
	case c.of == "http_connection":
		return depends, fmt.Errorf("routes don't look at Connection: use $http_upgrade")
	case isHeader:
		return requireField(m, &m.Header, headerName(header), c)
	case isArg:
		sc.cv.parameters = true
		return requireField(m, &m.Query, arg, c)
	case isCookie:
		return requireCookie(m, cookie, c)
	}
	return depends, fmt.Errorf("holdfast can't choose by %s: routes look at the host, the path, the method, header fields, cookies, the query and the client's address", hint.Quote("$"+c.of))
}

func requireHost(m *config.Match, c condition) (verdict, error) {
	switch {
	case c.some || c.truth:
		return always, nil // there always is one
	case c.text == "" && c.regex == "":
		return never, nil
	case c.regex != "":
		if !m.HostRegex.IsZero() || m.Host != (pattern.Host{}) {
			return depends, merge(m, &config.Match{HostRegex: c.re})
		}
		m.HostRegex = c.re
		return depends, nil
	}
	name, _, _ := strings.Cut(c.text, ":")
	host, err := pattern.ParseHost(name)
	if err != nil {
		return never, nil // no request has it
	}
	if m.Host != (pattern.Host{}) && !slices.Contains(host.Wider(), m.Host) {
		return never, nil
	}
	if !m.HostRegex.IsZero() {
		if !pattern.MatchRegex(m.HostRegex, strings.ToLower(name)) {
			return never, nil
		}
		m.HostRegex = pattern.Regex{}
	}
	m.Host = host
	return depends, nil
}

func requirePath(m *config.Match, c condition) (verdict, error) {
	switch {
	case c.some || c.truth:
		return always, nil
	case c.text == "" && c.regex == "":
		return never, nil
	case c.regex == "":
		if strings.Contains(c.text, "?") {
			return depends, fmt.Errorf("routes look at the path and at parameters of the query, not at both in one text")
		}
		if c.fold && strings.ToLower(c.text) != strings.ToUpper(c.text) { // a key of a map
			c.regex = "(?i)^" + regexp.QuoteMeta(c.text) + "$"
			var err error
			if c.re, err = pattern.ParseRegex(c.regex); err != nil {
				return depends, err
			}
			return requirePath(m, c)
		}
		if !strings.HasPrefix(c.text, m.PathBegins) || m.PathExact != (pattern.ExactPath{}) && m.PathExact.String() != c.text {
			return never, nil
		}
		exact, err := exactPath(c.text)
		if err != nil {
			return depends, err
		}
		m.PathBegins, m.PathExact = "", exact
		return depends, nil
	}
	if c.of == "request_uri" && importer.SeesQuery(c.regex) {
		return depends, fmt.Errorf("routes look at the path without the query: use $uri, and $arg_NAME for a parameter")
	}
	if !m.PathRegex.IsZero() {
		return depends, merge(m, &config.Match{PathRegex: c.re})
	}
	m.PathRegex = c.re
	return depends, nil
}

// methods are those that a regular expression may be meant for.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "PURGE"}

func requireMethod(m *config.Match, c condition) (verdict, error) {
	var list []string
	for _, method := range methods {
		if c.holds(method) {
			list = append(list, method)
		}
	}
	switch {
	case c.some || c.truth:
		return always, nil
	case c.regex == "" && len(list) == 0 && c.text != "":
		list = []string{c.text}
	case len(list) == 0:
		return never, nil
	}
	if m.Method != nil {
		list = slices.DeleteFunc(list, func(s string) bool { return !slices.Contains(m.Method, s) })
		if len(list) == 0 {
			return never, nil
		}
	}
	m.Method = list
	return depends, nil
}

func requireClient(m *config.Match, c condition) (verdict, error) {
	switch {
	case c.some || c.truth:
		return always, nil
	case c.regex != "":
		return depends, fmt.Errorf("routes compare addresses with networks, not with regular expressions: use geo")
	case c.nets == nil:
		p, err := parseNetwork(c.text)
		if err != nil {
			return never, nil
		}
		c.nets = []netip.Prefix{p}
	}
	if m.Client != nil {
		return depends, merge(m, &config.Match{Client: c.nets})
	}
	m.Client = c.nets
	return depends, nil
}

func requireCertificate(m *config.Match, c condition) (verdict, error) {
	verified := c.holds("SUCCESS")
	if verified == c.holds("NONE") {
		return depends, fmt.Errorf("compare $ssl_client_verify with SUCCESS: other certificates are refused before")
	}
	if m.ClientCert != nil {
		return map[bool]verdict{true: depends, false: never}[*m.ClientCert.Verified == verified], nil
	}
	m.ClientCert = &config.ClientCert{Verified: &verified}
	return depends, nil
}

// requireField adds a condition for a header field or a parameter.
func requireField(m *config.Match, list *config.Headers, name string, c condition) (verdict, error) {
	value := ""
	switch {
	case c.truth:
		value = "~[^0]|.{2}"
	case c.some:
		value = "~."
	case c.regex != "":
		value = "~" + c.regex
	case c.text == "":
		var n config.Match
		field := &n.Header
		if list == &m.Query {
			field = &n.Query
		}
		*field = config.Headers{{name, "~."}}
		m.Not = append(m.Not, n)
		return depends, nil
	case c.fold && strings.ToLower(c.text) != strings.ToUpper(c.text):
		value = "~(?i)^" + regexp.QuoteMeta(c.text) + "$"
	case strings.ContainsAny(c.text, "*") || strings.HasPrefix(c.text, "~"):
		value = "~^" + regexp.QuoteMeta(c.text) + "$"
	default:
		value = c.text
	}
	for _, other := range *list {
		if !strings.EqualFold(other[0], name) {
			continue
		}
		if other[1] == value {
			return depends, nil
		}
		var n config.Match
		if list == &m.Query {
			n.Query = config.Headers{{name, value}}
		} else {
			n.Header = config.Headers{{name, value}}
		}
		return depends, merge(m, &n)
	}
	*list = append(slices.Clone(*list), [2]string{name, value})
	return depends, nil
}

// requireCookie looks for a cookie in the field Cookie.
func requireCookie(m *config.Match, name string, c condition) (verdict, error) {
	// As nginx reads cookies: names ignore case, and spaces may be around what it looks for.
	begin := `(?:^|[;,] *)(?i:` + regexp.QuoteMeta(name) + `) *= *`
	expression := ""
	switch {
	case c.truth, c.some:
		expression = begin + `[^;]`
	case c.regex != "":
		inner := strings.TrimPrefix(c.regex, "(?i)")
		fold := strings.TrimSuffix(c.regex, inner)
		from, anchored := strings.CutPrefix(inner, "^")
		to, ended := strings.CutSuffix(from, "$")
		if !anchored {
			to = "[^;]*(?:" + to + ")"
		} else {
			to = "(?:" + to + ")"
		}
		if ended {
			to += "(?:;|$)"
		}
		expression = fold + begin + to
	case c.text == "":
		m.Not = append(m.Not, config.Match{Header: config.Headers{{"Cookie", "~" + begin + "[^;]"}}})
		return depends, nil
	default:
		expression = begin + regexp.QuoteMeta(c.text) + `(?:;|$)`
		if c.fold && strings.ToLower(c.text) != strings.ToUpper(c.text) {
			expression = "(?i)" + expression
		}
	}
	return requireField(m, &m.Header, "Cookie", condition{regex: expression})
}
