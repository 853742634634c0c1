package haproxy

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

func boolean(v bool) *bool { return &v }

// test evaluates one test. err says why it can't be.
func (x *expander) test(p *proxy, t *test) (ms matches, err string) {
	if t.err != "" {
		return nil, t.err
	}
	e := &t.sample
	if e.name == "var" {
		v, ok := p.vars[strings.ToLower(e.arg(0))]
		if !ok && p != x.fe {
			v, ok = x.fe.vars[strings.ToLower(e.arg(0))]
		}
		if !ok || v.name == "var" {
			return nil, fmt.Sprintf("what the variable %s has depends on more than one rule", hint.Quote(e.arg(0)))
		}
		of := *t
		of.sample = v
		of.conv = slices.Concat(v.conv, e.conv)
		t, e = &of, &of.sample
	}
	switch {
	case e.isHost() || e.name == "ssl_fc_sni":
		return x.host(t)
	case e.name == "path" || e.name == "url" || e.name == "pathq":
		return x.path(t)
	case e.name == "base":
		return x.base(t)
	case e.name == "req.hdr":
		return x.field(t)
	case e.name == "req.hdr_cnt":
		return x.counted(t)
	case e.name == "req.cook":
		return values(t, func(value string) (matches, string) {
			inner := strings.TrimPrefix(value, "~")
			if inner == "" { // an empty cookie isn't found
				inner = `[^;, ]`
			}
			re := `~(^|[;,][ ]*)` + regexp.QuoteMeta(t.arg(0)) + `[ ]*=[ ]*` + inner
			return matches{{Header: config.Headers{{"Cookie", re}}}}, ""
		}, `[^;,]*`, `[ ]*([;,]|$)`)
	case e.name == "url_param":
		return x.parameter(t)
	case e.name == "method":
		return methodsOf(t)
	case e.name == "src":
		return x.clients(t)
	}
	return x.other(t)
}

// numbers evaluates a test of a number that is known here.
func numbers(n int, patterns []string) (bool, error) {
	op := "eq"
	for _, word := range patterns {
		if slices.Contains([]string{"eq", "ge", "gt", "le", "lt"}, word) {
			op = word
			continue
		}
		low, high, ranged := strings.Cut(word, ":")
		if ranged {
			from, err1 := strconv.Atoi("0" + low)
			to, err2 := strconv.Atoi(high)
			if high == "" {
				to, err2 = n, nil
			}
			if err1 != nil || err2 != nil {
				return false, fmt.Errorf("%s isn't a range of numbers", hint.Quote(word))
			}
			if from <= n && n <= to {
				return true, nil
			}
			continue
		}
		v, err := strconv.Atoi(word)
		if err != nil {
			return false, fmt.Errorf("%s isn't a number", hint.Quote(word))
		}
		if op == "eq" && n == v || op == "ge" && n >= v || op == "gt" && n > v || op == "le" && n <= v || op == "lt" && n < v {
			return true, nil
		}
	}
	return false, nil
}

// known evaluates a test of a number.
func known(t *test, n int) (matches, string) {
	if len(t.patterns) == 0 || t.method == "found" || t.method == "bool" {
		return constant(n != 0 || t.method == "found"), ""
	}
	v, err := numbers(n, t.patterns)
	if err != nil {
		return nil, err.Error()
	}
	return constant(v), ""
}

func truth(v bool) int {
	if v {
		return 1
	}
	return 0
}

// other evaluates what is known of the listener, and what isn't about requests.
func (x *expander) other(t *test) (matches, string) {
	switch t.name {
	case "always_true", "wait_end", "req.proto_http", "ssl_fc_has_sni":
		return constant(true), ""
	case "always_false", "ssl_fc_has_early":
		return constant(false), ""
	case "bool":
		return constant(t.arg(0) == "1" || t.arg(0) == "true"), ""
	case "int":
		n, _ := strconv.Atoi(t.arg(0))
		return known(t, n)
	case "str", "env":
		value := t.arg(0)
		if t.name == "env" {
			value = ""
			if x.m.Env != nil {
				value, _ = x.m.Env(t.arg(0))
			}
		}
		return x.literal(t, value)
	case "ssl_fc":
		x.asked["tls"] = true
		return known(t, truth(x.at.tls))
	case "dst_port":
		x.asked["port"] = true
		return known(t, int(x.at.port))
	case "dst":
		x.asked["ip"] = true
		if !x.at.ip.IsValid() || x.at.ip.IsUnspecified() {
			return nil, "the listener has no address of its own: give each bind one"
		}
		networks, err := x.networks(t)
		if err != "" {
			return nil, err
		}
		return constant(slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(x.at.ip) })), ""
	case "fe_name":
		return x.literal(t, x.fe.name)
	case "ssl_c_used", "ssl_fc_has_crt", "ssl_c_verify":
		return x.certificate(t)
	case "ssl_c_s_dn":
		return x.certificateName(t)
	case "req.ssl_sni", "req.ssl_alpn", "req.ssl_hello_type", "req.ssl_ver", "req.len":
		return x.hello(t)
	case "nbsrv", "srv_is_up", "connslots", "be_conn", "queue", "avg_queue", "be_sess_rate", "be_conn_free":
		return x.servers(t)
	case "http_auth", "http_auth_group", "http_auth_user", "http_auth_type":
		return nil, "holdfast knows no passwords: verify tokens (auth.jwt), or ask an HTTP endpoint (auth.request)"
	case "req.hdr_ip":
		return nil, "say whose X-Forwarded-For to believe by forwarded.trust, and then src is the client"
	}
	if _, is := rateFetch(t.name); is {
		return nil, "a counter is only compared in rules that deny, as in http-request deny if { sc_http_req_rate(0) gt 20 }"
	}
	return nil, fmt.Sprintf("the fetch %s isn't known here%s", hint.Quote(t.name), hint.DidYouMean(t.name, fetches))
}

var fetches = []string{
	"path", "path_beg", "path_end", "path_reg", "path_sub", "path_dir", "hdr", "hdr_beg", "hdr_end", "hdr_sub", "hdr_dom", "hdr_reg", "req.hdr", "method", "src", "dst_port",
	"ssl_fc", "ssl_fc_sni", "req.ssl_sni", "url_param", "req.cook", "always_true", "always_false", "url_beg", "base",
}

// literal compares a text that is known here.
func (x *expander) literal(t *test, value string) (matches, string) {
	if t.method == "found" {
		return constant(value != ""), ""
	}
	for _, p := range t.patterns {
		re, err := expression(t, p)
		if err != "" {
			return nil, err
		}
		if pattern.MatchRegex(re, value) {
			return everything, ""
		}
	}
	return nothing, ""
}

// expression is a pattern as a regular expression, by the method of its test.
func expression(t *test, p string) (pattern.Regex, string) {
	quoted := regexp.QuoteMeta(p)
	switch t.method {
	case "", "str":
		quoted = "^" + quoted + "$"
	case "beg":
		quoted = "^" + quoted
	case "end":
		quoted += "$"
	case "sub":
	case "dir":
		quoted = `(^|[/?])` + regexp.QuoteMeta(strings.Trim(p, "/")) + `([/?]|$)`
	case "dom":
		quoted = `(^|[/?.:])` + regexp.QuoteMeta(strings.Trim(p, "/.:?")) + `([/?.:]|$)`
	case "reg":
		quoted = p
	default:
		return pattern.Regex{}, fmt.Sprintf("texts aren't compared by -m %s", t.method)
	}
	if t.fold {
		quoted = "(?i)" + quoted
	}
	re, err := pattern.ParseRegex(quoted)
	if err != nil {
		return re, err.Error()
	}
	return re, ""
}

// values evaluates a test of a text in which each value may stand: within the texts
// before and after, and made of any.
func values(t *test, make func(pattern string) (matches, string), any, after string) (all matches, err string) {
	lower, ok := t.onlyCase()
	if !ok {
		return nil, "converters other than lower aren't known here"
	}
	fold := ""
	if t.fold || lower {
		fold = "(?i)"
	}
	if t.method == "found" || len(t.patterns) == 0 {
		return make("~")
	}
	for _, p := range t.patterns {
		q := regexp.QuoteMeta(p)
		switch t.method {
		case "", "str":
			q += after
		case "beg":
		case "end":
			q = any + q + after
		case "sub":
			q = any + q
		default:
			return nil, fmt.Sprintf("this isn't compared by -m %s", t.method)
		}
		if fold != "" && t.method == "sub" {
			q = any + "(?i:" + regexp.QuoteMeta(p) + ")"
		} else if fold != "" {
			q = "(?i:" + q + ")"
		}
		ms, err := make("~" + q)
		if err != "" {
			return nil, err
		}
		if _, bad := pattern.ParseValue(ms[0].Header[0][1]); bad != nil {
			return nil, bad.Error()
		}
		all = append(all, ms...)
	}
	return all, ""
}
