package haproxy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// host evaluates a test of the host that a client asks for.
func (x *expander) host(t *test) (all matches, err string) {
	if x.state != nil && x.state.host != "" && t.name != "ssl_fc_sni" {
		of := *t
		of.fold = true
		return x.literal(&of, x.state.host)
	}
	if t.name == "ssl_fc_sni" {
		x.asked["tls"] = true
		if !x.at.tls {
			return nothing, ""
		}
		if x.fe.tcp() {
			return nil, "with mode tcp, holdfast looks at the name only if it passes TLS through: use req.ssl_sni"
		}
		x.m.differ(t.line, "", "requests go by their Host, and not by the name asked for in TLS")
	}
	if t.method == "found" {
		return everything, ""
	}
	for _, p := range t.patterns {
		name := p
		if host, port, ok := strings.Cut(p, ":"); ok && t.method != "reg" && !strings.Contains(port, ":") {
			if name = host; name == "" && t.method != "end" {
				return nil, "hosts are compared without their port: use dst_port"
			}
			x.m.differ(t.line, "", "hosts are compared without their port")
		}
		if m, ok := hostMatch(t.method, name); ok {
			all = append(all, m)
			continue
		}
		of := *t
		of.fold = false // a host is compared without case anyway
		re, err := expression(&of, name)
		if err != "" {
			return nil, err
		}
		all = append(all, config.Match{HostRegex: re})
	}
	return all, ""
}

// hostMatch is a pattern for hosts, if there is one.
func hostMatch(method, p string) (config.Match, bool) {
	name := ""
	switch {
	case method == "" || method == "str":
		name = p
	case method == "end" && strings.HasPrefix(p, "."):
		name = "*" + p
	default:
		return config.Match{}, false
	}
	if strings.HasPrefix(name, "*") != (method == "end") {
		return config.Match{}, false
	}
	h, err := pattern.ParseHost(name)
	return config.Match{Host: h}, err == nil
}

// path evaluates a test of the path.
func (x *expander) path(t *test) (all matches, err string) {
	if x.state != nil && x.state.path != "" {
		return x.changedPath(t)
	}
	if n, ok := t.segment(); ok && (t.method == "" || t.method == "str") {
		for _, p := range t.patterns {
			before := ""
			if n > 1 {
				before = fmt.Sprintf("(/[^/]*){%d}", n-1)
			}
			re, err := pattern.ParseRegex("^" + before + "/" + regexp.QuoteMeta(p) + "(/|$)")
			if err != nil {
				return nil, err.Error()
			}
			all = append(all, config.Match{PathRegex: re})
		}
		return all, ""
	}
	lower, ok := t.onlyCase()
	if !ok {
		return nil, "converters other than lower aren't known here"
	}
	if t.method == "found" {
		return everything, ""
	}
	of := *t
	of.fold = t.fold || lower
	for _, p := range t.patterns {
		if t.name != "path" {
			// What isn't sought at the beginning could be in the query.
			inQuery := strings.Contains(p, "?") || !slices.Contains([]string{"", "str", "beg"}, t.method)
			if t.method == "reg" {
				inQuery = importer.SeesQuery(p)
			}
			if inQuery {
				return nil, "the query is compared by parameter: use url_param"
			}
			x.m.differ(t.line, "", "only the path is compared, without the query")
		}
		m, err := pathMatch(&of, p)
		if err != "" {
			return nil, err
		}
		all = append(all, m)
	}
	return all, ""
}

// pathMatch is a pattern of a test as one for paths.
func pathMatch(t *test, p string) (config.Match, string) {
	if !t.fold || strings.ToUpper(p) == strings.ToLower(p) {
		switch t.method {
		case "", "str":
			if path, err := pattern.ParseExactPath(p); err == nil {
				return config.Match{PathExact: path}, ""
			}
		case "beg":
			if p == "/" {
				return config.Match{}, ""
			}
			if begin, err := pattern.ParseBeginPath(p); err == nil {
				return config.Match{PathBegins: begin.String()}, ""
			}
		}
	}
	re, err := expression(t, p)
	return config.Match{PathRegex: re}, err
}

// base evaluates a test of the host followed by the path.
func (x *expander) base(t *test) (all matches, err string) {
	if _, ok := t.onlyCase(); !ok || t.method != "" && t.method != "str" && t.method != "beg" {
		return nil, "host and path are compared separately: use hdr(host) and path"
	}
	for _, p := range t.patterns {
		host, path, ok := strings.Cut(p, "/")
		if !ok {
			return nil, "host and path are compared separately: use hdr(host) and path"
		}
		of := *t
		of.method = ""
		if of.patterns = []string{host}; host == "" {
			return nil, "the host is missing"
		}
		hosts, err := x.host(&of)
		if err != "" {
			return nil, err
		}
		m, err := pathMatch(t, "/"+path)
		if err != "" {
			return nil, err
		}
		both, _ := hosts.and(matches{m})
		all = append(all, both...)
	}
	return all, ""
}

// field evaluates a test of a header field. Of a list with commas, one item must match.
func (x *expander) field(t *test) (matches, string) {
	name := t.arg(0)
	switch strings.ToLower(name) {
	case "":
		return nil, "the name of the field is missing"
	case "host":
		return nil, "hosts are compared as they are, without their port"
	}
	if x.state != nil {
		if e := x.state.request.changed(name); e != nil {
			value := strings.Join(e.values, ", ")
			if strings.Contains(value, "$") || !e.drop {
				return nil, "the field has been changed by a rule before"
			}
			return x.literal(t, value)
		}
	}
	switch strings.ToLower(name) {
	case "upgrade", "connection":
		return upgrade(t, strings.ToLower(name))
	case "transfer-encoding", "content-length", "trailer", "te", "keep-alive", "proxy-connection":
		return nil, "routes don't look at the fields of a connection"
	}
	if t.method == "reg" {
		var all matches
		for _, p := range t.patterns {
			if t.fold {
				p = "(?i)" + p
			}
			if _, err := pattern.ParseRegex(p); err != nil {
				return nil, err.Error()
			}
			x.m.differ(t.line, "", "the expression is about the whole field, and not about each part of a list with commas")
			all = append(all, config.Match{Header: config.Headers{{name, "~" + p}}})
		}
		return all, ""
	}
	if t.method == "found" {
		return matches{{Header: config.Headers{{name, "*"}}}}, ""
	}
	return values(t, func(value string) (matches, string) {
		if part := strings.TrimPrefix(value[1:], anyPart); t.method == "sub" && !strings.Contains(part, ",") {
			return matches{{Header: config.Headers{{name, "~" + part}}}}, ""
		}
		if value == "~" {
			return matches{{Header: config.Headers{{name, "*"}}}}, ""
		}
		return matches{{Header: config.Headers{{name, `~(^|,)[ \t]*` + value[1:]}}}}, ""
	}, anyPart, `[ \t]*(,|$)`)
}

// anyPart matches the rest of a part of a list.
const anyPart = `[^,]*`

// upgrade evaluates the tests by which files find WebSocket handshakes.
func upgrade(t *test, name string) (matches, string) {
	want := map[string]string{"upgrade": "websocket", "connection": "upgrade"}[name]
	if t.method == "found" {
		if name == "upgrade" {
			return matches{{WebSocket: boolean(true)}}, ""
		}
		return everything, ""
	}
	for _, p := range t.patterns {
		if t.method == "reg" {
			if re, err := regexp.Compile("(?i)" + p); err != nil || !re.MatchString(want) {
				return nil, fmt.Sprintf("of the field %s, only %s is looked at", name, hint.Quote(want))
			}
		} else if !strings.Contains(want, strings.ToLower(p)) || p == "" {
			return nil, fmt.Sprintf("of the field %s, only %s is looked at", name, hint.Quote(want))
		}
	}
	return matches{{WebSocket: boolean(true)}}, ""
}

// counted evaluates how often a field is there.
func (x *expander) counted(t *test) (matches, string) {
	var counts [3]bool // of 0, 1 and 2 fields
	for n := range counts {
		v, err := numbers(n, t.patterns)
		if err != nil {
			return nil, err.Error()
		}
		counts[n] = v || len(t.patterns) == 0 && n > 0
	}
	of := *t
	of.method = "found"
	switch counts {
	case [3]bool{false, true, true}:
		return x.field(&of)
	case [3]bool{true, false, false}:
		ms, err := x.field(&of)
		return ms.not(), err
	case [3]bool{}, [3]bool{false, false, true}:
		if strings.EqualFold(t.arg(0), "host") {
			return nothing, "" // a request with two has no route anyway
		}
	case [3]bool{true, true, true}:
		return everything, ""
	}
	return nil, "fields aren't counted: use -m found"
}

// parameter evaluates a test of a parameter of the query.
func (x *expander) parameter(t *test) (all matches, err string) {
	name := t.arg(0)
	lower, ok := t.onlyCase()
	switch {
	case name == "":
		return nil, "the name of the parameter is missing"
	case !ok:
		return nil, "converters other than lower aren't known here"
	}
	one := func(value string) config.Match { return config.Match{Query: config.Headers{{name, value}}} }
	if t.method == "found" || len(t.patterns) == 0 {
		return matches{one("*")}, ""
	}
	of := *t
	of.fold = t.fold || lower
	for _, p := range t.patterns {
		plain := p
		switch t.method {
		case "beg":
			plain = p + "*"
		case "end":
			plain = "*" + p
		case "sub":
			plain = "*" + p + "*"
		}
		if t.method == "reg" || of.fold || strings.Contains(p, "*") || strings.HasPrefix(plain, "~") || t.method == "dir" || t.method == "dom" || t.method == "len" {
			re, err := expression(&of, p)
			if err != "" {
				return nil, err
			}
			plain = "~" + re.String()
		}
		if _, err := pattern.ParseValue(plain); err != nil {
			return nil, err.Error()
		}
		all = append(all, one(plain))
	}
	return all, ""
}

func methodsOf(t *test) (matches, string) {
	var list []string
	for _, p := range t.patterns {
		if p = strings.ToUpper(p); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return everything, ""
	}
	return matches{{Method: list}}, ""
}

// networks are the patterns of a test as networks.
func (x *expander) networks(t *test) (list []netip.Prefix, err string) {
	for _, p := range t.patterns {
		n, ok := parseNetwork(p)
		if !ok {
			return nil, fmt.Sprintf("%s isn't an address or a network", hint.Quote(p))
		}
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list, ""
}

func parseNetwork(s string) (netip.Prefix, bool) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), true
	}
	host, mask, _ := strings.Cut(s, "/")
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" || ip.Is4In6() {
		return netip.Prefix{}, false
	}
	bits, err := strconv.Atoi(mask)
	if m, isMask := netip.ParseAddr(mask); err != nil && isMask == nil && m.Is4() && ip.Is4() {
		bits = 0 // "10.0.0.0/255.0.0.0"
		for b := m.As4(); bits < 32 && b[bits/8]&(0x80>>(bits%8)) != 0; bits++ {
		}
	} else if err != nil {
		return netip.Prefix{}, false
	}
	p, err := ip.Prefix(bits)
	return p, err == nil
}

func (x *expander) clients(t *test) (matches, string) {
	if t.method == "found" {
		return everything, ""
	}
	if len(t.conv) > 0 {
		return nil, "converters of addresses aren't known here"
	}
	list, err := x.networks(t)
	if err != "" || len(list) == 0 {
		return nothing, err
	}
	return matches{{Client: list}}, ""
}
