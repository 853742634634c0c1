package haproxy

import (
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// certificate evaluates whether a client has shown a certificate.
func (x *expander) certificate(t *test) (matches, string) {
	x.asked["tls"] = true
	if !x.at.tls || x.at.config.TLS.ClientCA == "" {
		if t.name == "ssl_c_verify" { // 0 is no error
			return known(t, 0)
		}
		return known(t, 0)
	}
	if t.name == "ssl_c_verify" {
		yes, err := known(t, 0)
		if err != "" || len(yes) > 0 {
			return yes, err
		}
		x.m.differ(t.line, "", "clients whose certificate isn't valid are refused before")
		return nothing, ""
	}
	return matches{{ClientCert: &config.ClientCert{Verified: boolean(true)}}}, ""
}

// certificateName evaluates a test of the name in a client's certificate.
func (x *expander) certificateName(t *test) (matches, string) {
	x.asked["tls"] = true
	if !strings.EqualFold(t.arg(0), "cn") || t.method != "" && t.method != "str" || len(t.conv) > 0 {
		return nil, "of the name in a certificate, the CN is compared as a whole: see client_cert"
	}
	if !x.at.tls || x.at.config.TLS.ClientCA == "" {
		return nothing, ""
	}
	cert := &config.ClientCert{}
	for _, p := range t.patterns {
		text, err := pattern.ParseText(strings.ReplaceAll(p, "*", ""))
		if err != nil || strings.Contains(p, "*") || t.fold {
			return nil, "of the name in a certificate, the CN is compared as a whole: see client_cert"
		}
		cert.CN = append(cert.CN, text)
	}
	return matches{{ClientCert: cert}}, ""
}

// hello evaluates tests of a ClientHello that is passed on.
func (x *expander) hello(t *test) (all matches, err string) {
	if !x.fe.tcp() || x.at.tls {
		switch t.name {
		case "req.len":
			return everything, ""
		case "req.ssl_sni":
			return nil, "it needs mode tcp and a bind without ssl; use ssl_fc_sni or hdr(host)"
		}
		return nil, "it needs mode tcp and a bind without ssl"
	}
	switch t.name {
	case "req.ssl_hello_type":
		return known(t, 1)
	case "req.len", "req.ssl_ver":
		return everything, ""
	}
	lower, ok := t.onlyCase()
	_ = lower // names are compared without case
	if !ok {
		return nil, "converters other than lower aren't known here"
	}
	if t.name == "req.ssl_alpn" {
		for _, p := range t.patterns {
			if t.method != "" && t.method != "str" && t.method != "sub" {
				return nil, "a protocol is compared as a whole"
			}
			all = append(all, config.Match{ALPN: p})
		}
		return all, ""
	}
	if t.method == "found" {
		x.m.differ(t.line, "", "it holds for clients without a name, too")
		return everything, ""
	}
	for _, p := range t.patterns {
		m, ok := hostMatch(t.method, p)
		if !ok {
			return nil, "a name asked for in TLS is compared as a whole, or by its end as in -m end .example.com"
		}
		all = append(all, config.Match{SNI: m.Host})
	}
	return all, ""
}

// servers evaluates tests of the state of backends as if all were up.
func (x *expander) servers(t *test) (matches, string) {
	n := 0
	if t.name == "nbsrv" || t.name == "srv_is_up" || t.name == "connslots" || t.name == "be_conn_free" {
		name, _, _ := strings.Cut(t.arg(0), "/")
		if n = 1; name != "" && t.name == "nbsrv" {
			if be := x.m.backends[name]; be != nil {
				n = len(be.serverLines)
			}
		}
		if t.name == "connslots" || t.name == "be_conn_free" {
			n = 1 << 30
		}
	}
	ms, err := known(t, n)
	if err == "" {
		x.m.differ(t.line, "", "routes don't look at the state of servers: it is taken as if all were up; put spare servers into the same backend, with backup")
	}
	return ms, err
}

// quota is a limit by address.
type quota struct {
	current bool    // at the same time, rather than by time
	n       int     // how many
	period  float64 // in seconds
	table   string  // whose counters they are
}

// rateFetch takes apart the names of fetches of counters, such as sc0_http_req_rate.
func rateFetch(name string) (what string, ok bool) {
	for _, prefix := range []string{"sc_", "sc0_", "sc1_", "sc2_", "src_"} {
		if rest, found := strings.CutPrefix(name, prefix); found {
			what = rest
		}
	}
	switch what {
	case "http_req_rate", "conn_rate", "sess_rate", "conn_cur", "http_err_rate", "http_fail_rate", "bytes_in_rate", "bytes_out_rate", "gpc0_rate", "gpc1_rate", "get_gpc0", "inc_gpc0", "get_gpc1", "inc_gpc1",
		"get_gpt0", "clr_gpc0", "http_req_cnt", "conn_cnt", "sess_cnt", "http_err_cnt", "kbytes_in", "kbytes_out", "updt_conn_cnt", "get_gpc", "gpc_rate", "inc_gpc", "get_gpt", "trackers", "glitch_rate":
		return what, true
	}
	return "", strings.HasPrefix(name, "table_")
}

// quotaOf recognises the usual rules that limit clients by their address, which deny
// if a counter is above a number. rest is what else the condition asks.
func (m *imp) quotaOf(p *proxy, r *rule) (q *quota, rest *cond) {
	if r.cond == nil || r.cond.unless || len(r.cond.any) != 1 {
		return nil, nil
	}
	left := &cond{line: r.cond.line, any: [][]literal{nil}}
	for _, lit := range r.cond.any[0] {
		if len(lit.tests) == 1 && q == nil && !lit.not {
			if q = m.counter(p, lit.tests[0]); q != nil {
				m.differ(r.line, "", "%s", q.text())
				if l := lit.tests[0].line; l != r.line {
					m.carry(l, "")
				}
				continue
			}
		}
		left.any[0] = append(left.any[0], lit)
	}
	if q == nil {
		return nil, nil
	}
	if len(left.any[0]) == 0 {
		left = nil
	}
	return q, left
}

func (q *quota) text() string {
	if q.current {
		return "requests under way and sessions of an address count, on each route by itself; above it they get 429"
	}
	return fmt.Sprintf("on each route, an address may make %d requests at once, and then as many as fit the rate; above it they get 429 with Retry-After", q.n)
}

// counter reads a test such as { sc_http_req_rate(0) gt 20 }.
func (m *imp) counter(p *proxy, t *test) *quota {
	what, ok := rateFetch(t.name)
	if !ok || len(t.patterns) != 2 || len(t.conv) > 0 {
		return nil
	}
	n := 0
	if _, err := fmt.Sscanf(t.patterns[1], "%d", &n); err != nil || n < 0 {
		return nil
	}
	switch t.patterns[0] {
	case "gt":
	case "ge":
		n--
	default:
		return nil
	}
	q := &quota{n: max(n, 1), table: p.name}
	counter := "0"
	switch {
	case strings.HasPrefix(t.name, "src_"):
		if counter = ""; t.arg(0) != "" {
			q.table = t.arg(0)
		}
	case strings.HasPrefix(t.name, "sc_"):
		counter = t.arg(0)
		if t.arg(1) != "" {
			q.table = t.arg(1)
		}
	default:
		counter = t.name[2:3]
	}
	if counter != "" {
		table, tracked := m.tracked(p, counter)
		if !tracked {
			return nil
		}
		if table != "" {
			q.table = table
		}
	}
	if q.current = what == "conn_cur"; q.current {
		m.usesTable(q.table)
		return q
	}
	q.period = m.period(q.table, what)
	if q.period == 0 {
		return nil
	}
	return q
}
