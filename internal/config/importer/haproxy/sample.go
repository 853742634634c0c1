package haproxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// call is the name of a fetch or a converter with its arguments.
type call struct {
	name string
	args []string
}

func (c call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

// sample is an expression such as "req.hdr(host),lower".
type sample struct {
	call
	conv []call
	text string
}

// parseSample reads an expression. rest is what follows it.
func parseSample(s string) (sample, error) {
	e := sample{text: s}
	for first := true; ; first = false {
		c, rest, err := parseCall(s)
		if err != nil {
			return e, err
		}
		if first {
			e.call = c
			e.name = canonical(c.name)
		} else {
			e.conv = append(e.conv, c)
		}
		if rest == "" {
			return e, nil
		}
		if rest[0] != ',' {
			return e, fmt.Errorf("there is something after %s: %s", hint.Quote(c.name), hint.Quote(rest))
		}
		s = rest[1:]
	}
}

// parseCall reads "name" or "name(arg,arg)".
func parseCall(s string) (c call, rest string, err error) {
	end := 0
	for end < len(s) && (isWord(s[end]) || s[end] == '.' || s[end] == '-') {
		end++
	}
	c.name, rest = s[:end], s[end:]
	if c.name == "" {
		return c, rest, fmt.Errorf("the name of a fetch or converter is missing in %s", hint.Quote(s))
	}
	if !strings.HasPrefix(rest, "(") {
		return c, rest, nil
	}
	var arg []byte
	var quote byte
	for i := 1; i < len(rest); i++ {
		switch b := rest[i]; {
		case quote != 0 && b == quote:
			quote = 0
		case quote == 0 && (b == '"' || b == '\''):
			quote = b
		case b == '\\' && quote != '\'' && i+1 < len(rest) && strings.IndexByte(`\"'(), `, rest[i+1]) >= 0:
			i++
			arg = append(arg, rest[i])
		case quote == 0 && b == ')':
			if c.args != nil || len(arg) > 0 {
				c.args = append(c.args, string(arg))
			}
			return c, rest[i+1:], nil
		case quote == 0 && b == ',':
			c.args, arg = append(c.args, string(arg)), nil
		default:
			arg = append(arg, b)
		}
	}
	return c, rest, fmt.Errorf("a parenthesis isn't closed after %s", hint.Quote(c.name))
}

func isWord(b byte) bool {
	return b == '_' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

// canonical gives fetches that mean the same one name.
func canonical(name string) string {
	switch name {
	case "hdr", "req.fhdr", "reqhdr", "req.hdrs":
		return "req.hdr"
	case "hdr_ip", "req.hdr_ip":
		return "req.hdr_ip"
	case "hdr_cnt", "req.fhdr_cnt":
		return "req.hdr_cnt"
	case "hdr_val":
		return "req.hdr_val"
	case "cook", "cookie", "req.cookie":
		return "req.cook"
	case "urlp":
		return "url_param"
	case "req_ssl_sni", "req.ssl_sni":
		return "req.ssl_sni"
	case "req_ssl_hello_type":
		return "req.ssl_hello_type"
	case "req_ssl_ver":
		return "req.ssl_ver"
	case "req_len":
		return "req.len"
	case "req_proto_http", "req.proto_http":
		return "req.proto_http"
	case "req_ver":
		return "req.ver"
	case "capture.req.uri", "url":
		return "url"
	case "capture.req.method":
		return "method"
	case "ssl_c_s_dn", "ssl_fc_s_dn":
		return "ssl_c_s_dn"
	}
	return name
}

// isHost reports whether e is the host that a client asks for.
func (e *sample) isHost() bool {
	if e.name != "req.hdr" || !strings.EqualFold(e.arg(0), "host") {
		return false
	}
	for _, c := range e.conv {
		switch {
		case c.name == "lower" || c.name == "host_only":
		case (c.name == "field" || c.name == "word") && c.arg(0) == "1" && (c.arg(1) == ":" || c.arg(1) == "colon"):
		case c.name == "regsub" && strings.HasPrefix(c.arg(0), ":") && c.arg(1) == "": // cuts a port off
		default:
			return false
		}
	}
	return true
}

// onlyCase reports whether the converters of e do nothing but change the case.
func (e *sample) onlyCase() (lower, ok bool) {
	for _, c := range e.conv {
		switch c.name {
		case "lower":
			lower = true
		case "url_dec": // paths and parameters are compared decoded
		default:
			return false, false
		}
	}
	return lower, true
}

// segment reports whether e is a segment of the path, and which one, from 1.
func (e *sample) segment() (n int, ok bool) {
	if e.name != "path" || len(e.conv) == 0 {
		return 0, false
	}
	for i, c := range e.conv {
		switch {
		case i == 0 && c.name == "field" && c.arg(1) == "/" && len(c.args) == 2:
			n, _ = strconv.Atoi(c.arg(0))
			n-- // before the first slash is nothing
		case i == 0 && c.name == "word" && c.arg(1) == "/" && len(c.args) == 2:
			n, _ = strconv.Atoi(c.arg(0))
		case c.name == "lower" && i > 0:
			return 0, false
		default:
			return 0, false
		}
	}
	return n, n > 0
}

// suffixes of fetches that stand for a method of comparing.
var suffixes = []string{"beg", "end", "sub", "dir", "dom", "reg", "len"}

// splitMethod takes "path_beg" apart.
func splitMethod(name string) (fetch, method string) {
	i := strings.LastIndexByte(name, '_')
	if i < 0 || !slices.Contains(suffixes, name[i+1:]) {
		return name, ""
	}
	switch fetch = name[:i]; canonical(fetch) {
	case "req.hdr", "path", "pathq", "url", "base", "req.cook", "url_param", "req.ssl_sni", "ssl_fc_sni", "res.hdr", "shdr", "scook", "urlp", "hdr":
		return fetch, name[i+1:]
	}
	return name, ""
}
