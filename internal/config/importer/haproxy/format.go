package haproxy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// part is a piece of a format: a text, or an expression.
type part struct {
	text string
	expr *sample
}

// aliases are short names of expressions in formats.
var aliases = map[string]string{
	"ci": "src", "cp": "src_port", "fp": "dst_port", "fi": "dst", "f": "fe_name", "ft": "fe_name", "b": "be_name", "s": "srv_name", "HU": "url", "HP": "path", "HQ": "query", "HM": "method",
	"ID": "unique-id", "sslv": "ssl_fc_protocol", "HPO": "path",
}

// parseFormat reads a text with %[expressions] and %aliases.
func parseFormat(s string) (parts []part, err error) {
	text := ""
	for s != "" {
		before, rest, found := strings.Cut(s, "%")
		if text, s = text+before, rest; !found {
			break
		}
		if after, ok := strings.CutPrefix(rest, "%"); ok {
			text, s = text+"%", after
			continue
		}
		if after, ok := strings.CutPrefix(rest, "{"); ok { // flags
			flags, behind, closed := strings.Cut(after, "}")
			if rest = behind; !closed {
				return nil, fmt.Errorf("a brace isn't closed")
			}
			if strings.Contains(flags, "+Q") || strings.Contains(flags, "+X") {
				return nil, fmt.Errorf("values can't be quoted: leave %s out", hint.Quote("{"+flags+"}"))
			}
		}
		var e sample
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			end := closing(inner)
			if end < 0 {
				return nil, fmt.Errorf("a bracket isn't closed")
			}
			if e, err = parseSample(strings.TrimSpace(inner[:end])); err != nil {
				return nil, err
			}
			s = inner[end+1:]
		} else {
			n := 0
			for n < len(rest) && isWord(rest[n]) && rest[n] != '_' {
				n++
			}
			name, ok := aliases[rest[:n]]
			if !ok {
				return nil, fmt.Errorf("the variable %s isn't known here", hint.Quote("%"+rest[:n]))
			}
			e, s = sample{call: call0(name), text: name}, rest[n:]
		}
		if text != "" {
			parts = append(parts, part{text: text})
		}
		text = ""
		parts = append(parts, part{expr: &e})
	}
	if text != "" {
		parts = append(parts, part{text: text})
	}
	return parts, nil
}

// closing is where the bracket that is open ends, -1 if it doesn't.
func closing(s string) int {
	depth, quote := 0, byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && depth > 0:
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ']' && depth <= 0:
			return i
		}
	}
	return -1
}

// template translates a format to one with holdfast's variables. err says why that isn't
// possible.
func (x *expander) template(p *proxy, format string) (out, err string) {
	parts, bad := parseFormat(format)
	if bad != nil {
		return "", bad.Error()
	}
	var b strings.Builder
	for _, part := range parts {
		if part.expr == nil {
			b.WriteString(strings.ReplaceAll(part.text, "$", "$$"))
			continue
		}
		v, err := x.variable(p, part.expr, 0)
		if err != "" {
			return "", err
		}
		b.WriteString(v)
	}
	return b.String(), ""
}

// variable translates an expression.
func (x *expander) variable(p *proxy, e *sample, depth int) (out, err string) {
	quote := func(s string) string { return strings.ReplaceAll(s, "$", "$$") }
	if x.state != nil && e.name == "req.hdr" {
		// What rules before have set is what it has.
		if strings.EqualFold(e.arg(0), "host") && x.state.host != "" && (len(e.conv) == 0 || e.isHost()) {
			return quote(x.state.host), ""
		}
		if own := x.state.request.changed(e.arg(0)); own != nil && len(e.conv) == 0 {
			if !own.drop {
				return "", "the field has been added to by a rule before"
			}
			return strings.Join(own.values, ", "), ""
		}
	}
	if x.state != nil && x.state.path != "" && depth < 8 {
		switch e.name {
		case "path":
			if !strings.Contains(x.state.path, "${") {
				return quote(x.state.path), ""
			}
			if x.inPath {
				break // it is replaced there
			}
			if x.inRedirect {
				return x.state.path, ""
			}
			return "", "the path has been changed by a rule before"
		case "url", "pathq":
			if x.inRedirect {
				return x.state.path + "${search}", ""
			}
			return "", "the path has been changed by a rule before"
		}
	}
	if e.isHost() {
		if len(e.conv) > 0 {
			return "${host}", "" // without a port, in lower case
		}
		return "${header.Host}", ""
	}
	if x.onlyHost != "" && e.name == "req.hdr" && strings.EqualFold(e.arg(0), "host") {
		if host, ok := substituted(e, x.onlyHost); ok {
			return quote(host), ""
		}
	}
	if e.name == "ssl_fc" && len(e.conv) == 1 && e.conv[0].name == "iif" {
		x.asked["tls"] = true
		return quote(e.conv[0].arg(1 - truth(x.at.tls))), ""
	}
	lower, plain := e.onlyCase()
	if e.name == "var" && plain && !lower && depth < 8 {
		for _, p := range []*proxy{p, x.fe} {
			if v, ok := p.vars[strings.ToLower(e.arg(0))]; ok && v.name != "var" {
				return x.variable(p, &v, depth+1)
			}
		}
		return "", fmt.Sprintf("what the variable %s has depends on more than one rule", hint.Quote(e.arg(0)))
	}
	if !plain || lower && e.name != "ssl_fc_sni" {
		return "", fmt.Sprintf("%s: converters aren't known here", hint.Quote(e.text))
	}
	switch e.name {
	case "src":
		return "${client_ip}", ""
	case "src_port":
		return "${client_port}", ""
	case "req.hdr":
		if n := e.arg(1); n != "" && n != "1" && n != "-1" {
			return "", "of several fields of a name, the first is taken"
		}
		if !strings.HasPrefix(e.text, "req.fhdr") {
			x.m.differ(x.line, "", "of several fields, and of one that is a list with commas, the first field is taken as a whole, and not the last part")
		}
		return "${header." + e.arg(0) + "}", ""
	case "req.cook":
		return "${cookie." + e.arg(0) + "}", ""
	case "url_param":
		return "${query." + e.arg(0) + "}", ""
	case "path":
		return "${path}", ""
	case "query":
		return "${query}", ""
	case "url", "pathq":
		return "${uri}", ""
	case "ssl_fc_sni":
		return "${sni}", ""
	case "ssl_fc_protocol":
		if x.asked["tls"] = true; !x.at.tls {
			return "", ""
		}
		return "TLSv${tls_version}", ""
	case "ssl_fc":
		x.asked["tls"] = true
		return strconv.Itoa(truth(x.at.tls)), ""
	case "dst_port":
		x.asked["port"] = true
		return strconv.Itoa(int(x.at.port)), ""
	case "dst":
		if x.asked["ip"] = true; x.at.ip.IsValid() && !x.at.ip.IsUnspecified() {
			return x.at.ip.String(), ""
		}
	case "fe_name":
		return quote(x.fe.name), ""
	case "be_name":
		return "${pool}", ""
	case "srv_name":
		return "${backend}", ""
	case "unique-id", "uuid":
		x.m.config.Forwarded.RequestID = true
		return "${request_id}", ""
	case "str":
		return quote(e.arg(0)), ""
	case "env":
		if x.m.Env != nil {
			v, _ := x.m.Env(e.arg(0))
			return quote(v), ""
		}
		return "", ""
	}
	if strings.HasPrefix(e.name, "ssl_c_") {
		return "", "fields about the certificate of a client are set by tls.client_headers of the listener"
	}
	return "", fmt.Sprintf("%s isn't known here", hint.Quote(e.text))
}

// substituted applies the converters of an expression to a host that is known.
func substituted(e *sample, host string) (string, bool) {
	for _, c := range e.conv {
		switch c.name {
		case "lower":
		case "regsub":
			pattern := c.arg(0)
			if strings.Contains(c.arg(2), "i") {
				pattern = "(?i)" + pattern
			}
			re, err := regexp.Compile(pattern)
			if err != nil || strings.Contains(c.arg(1), `\`) {
				return "", false
			}
			if at := re.FindStringIndex(host); at != nil {
				host = host[:at[0]] + c.arg(1) + host[at[1]:]
			}
		default:
			return "", false
		}
	}
	return host, true
}

// isInformation reports whether a format consists of what backends may want to know, and
// don't decide by.
func isInformation(format string) bool {
	parts, err := parseFormat(format)
	if err != nil {
		return strings.HasPrefix(format, "%T") || strings.HasPrefix(format, "%t") || strings.HasPrefix(format, "%H") || strings.HasPrefix(format, "%sslc")
	}
	some := false
	for _, part := range parts {
		if e := part.expr; e != nil {
			some = true
			if !strings.HasPrefix(e.name, "ssl_fc_") && !strings.HasPrefix(e.name, "fc_") && !slices.Contains([]string{"date", "date_us", "http_date", "hostname", "rand", "pid", "nbproc", "nbthread", "proc", "req.ver", "method", "src_country"}, e.name) {
				return false
			}
		}
	}
	return some
}

// facts are what HAProxy knows of a client's certificate, in holdfast's words.
var facts = map[string]string{
	"ssl_c_verify": "verified", "ssl_c_used": "verified", "ssl_fc_has_crt": "verified", "ssl_c_s_dn": "subject", "ssl_c_i_dn": "issuer", "ssl_c_serial": "serial", "ssl_c_sha1": "fingerprint", "ssl_c_notafter": "not_after", "ssl_c_der": "client_cert",
}

// certificateFact returns the fact that a format consists of; "" if it is another one.
func certificateFact(format string) string {
	parts, err := parseFormat(strings.ReplaceAll(strings.ReplaceAll(format, "%{+Q}", "%"), "%{+X}", "%"))
	if err != nil || len(parts) != 1 || parts[0].expr == nil {
		return ""
	}
	return facts[parts[0].expr.name]
}
