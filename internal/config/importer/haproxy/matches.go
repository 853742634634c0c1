package haproxy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// matches are alternatives: a request matches if it matches one of them. None matches
// nothing, and the zero Match everything.
type matches []config.Match

var (
	everything = matches{{}}
	nothing    = matches{}
)

func constant(v bool) matches {
	if v {
		return everything
	}
	return nothing
}

// isAll reports whether everything matches.
func (ms matches) isAll() bool {
	return slices.ContainsFunc(ms, func(m config.Match) bool { return isZero(&m) })
}

func isZero(m *config.Match) bool { return reflect.ValueOf(m).Elem().IsZero() }

// keyOf is a text that two matches share if they are the same.
func keyOf(m *config.Match) string {
	websocket := "-"
	if m.WebSocket != nil {
		websocket = fmt.Sprint(*m.WebSocket)
	}
	not := ""
	for i := range m.Not {
		not += "!" + keyOf(&m.Not[i])
	}
	cert := ""
	if c := m.ClientCert; c != nil {
		cert = fmt.Sprint(c.Verified != nil, c.CN)
	}
	return fmt.Sprintf("%s|%s|%s|%s|%s|%s|%q|%q|%q|%s|%s|%s|%s|%s", m.Host, m.HostRegex, m.PathExact, m.PathBegins, m.PathRegex, websocket, m.Method, m.Header, m.Query, m.Client, cert, m.SNI, m.ALPN, not)
}

// maxMatches bounds the combinations of one condition.
const maxMatches = 20000

// and is what matches both; ok is false if there are too many combinations.
func (ms matches) and(others matches) (all matches, ok bool) {
	switch {
	case others.isAll():
		return ms, true
	case ms.isAll():
		return others, true
	case len(ms)*len(others) > maxMatches:
		return nil, false
	}
	all = nothing
	for i := range ms {
		for j := range others {
			if m, possible := merge(ms[i], others[j]); possible {
				all = append(all, m)
			}
		}
	}
	return all, true
}

// not is what ms doesn't match.
func (ms matches) not() matches {
	switch {
	case ms.isAll():
		return nothing
	case len(ms) == 0:
		return everything
	}
	if len(ms) == 1 {
		m := ms[0]
		if m.WebSocket != nil {
			only := !*m.WebSocket
			if m.WebSocket = nil; isZero(&m) {
				return matches{{WebSocket: &only}}
			}
			m = ms[0]
		}
		// What is only excluded is what is asked for.
		if m.Not != nil {
			inner := m.Not
			if m.Not = nil; isZero(&m) {
				return inner
			}
		}
	}
	return matches{{Not: ms}}
}

// merge is what matches both a and b; ok is false if nothing can.
func merge(a, b config.Match) (m config.Match, ok bool) {
	m = a
	m.Not = slices.Concat(a.Not, b.Not)
	also := func(one config.Match) { m.Not = append(m.Not, config.Match{Not: []config.Match{one}}) }
	if m.Host, ok = bothHosts(a.Host, b.Host); !ok {
		return m, false
	}
	if m.SNI, ok = bothHosts(a.SNI, b.SNI); !ok {
		return m, false
	}
	if a.ALPN != "" && b.ALPN != "" && a.ALPN != b.ALPN {
		return m, false
	}
	m.ALPN = a.ALPN + strings.TrimPrefix(b.ALPN, a.ALPN)
	if !b.HostRegex.IsZero() {
		if a.HostRegex.IsZero() {
			m.HostRegex = b.HostRegex
		} else if a.HostRegex.String() != b.HostRegex.String() {
			also(config.Match{HostRegex: b.HostRegex})
		}
	}
	if !b.PathRegex.IsZero() {
		if a.PathRegex.IsZero() {
			m.PathRegex = b.PathRegex
		} else if a.PathRegex.String() != b.PathRegex.String() {
			also(config.Match{PathRegex: b.PathRegex})
		}
	}
	if !mergePaths(&m, &a, &b, also) {
		return m, false
	}
	if b.WebSocket != nil {
		if a.WebSocket != nil && *a.WebSocket != *b.WebSocket {
			return m, false
		}
		m.WebSocket = b.WebSocket
	}
	if b.Method != nil {
		if m.Method = b.Method; a.Method != nil {
			m.Method = nil
			for _, method := range a.Method {
				if slices.Contains(b.Method, method) {
					m.Method = append(m.Method, method)
				}
			}
			if m.Method == nil {
				return m, false
			}
		}
	}
	if m.WebSocket != nil && *m.WebSocket && m.Method != nil && !slices.Contains(m.Method, "GET") {
		return m, false // a WebSocket is opened with GET
	}
	m.Header, m.Query = slices.Clone(a.Header), slices.Clone(a.Query)
	for _, h := range b.Header {
		if same := func(o [2]string) bool { return strings.EqualFold(o[0], h[0]) }; !slices.ContainsFunc(m.Header, same) {
			m.Header = append(m.Header, h)
		} else if !slices.Contains(m.Header, h) {
			also(config.Match{Header: config.Headers{h}})
		}
	}
	for _, q := range b.Query {
		if same := func(o [2]string) bool { return o[0] == q[0] }; !slices.ContainsFunc(m.Query, same) {
			m.Query = append(m.Query, q)
		} else if !slices.Contains(m.Query, q) {
			also(config.Match{Query: config.Headers{q}})
		}
	}
	if b.Client != nil {
		if a.Client == nil {
			m.Client = b.Client
		} else if !slices.Equal(a.Client, b.Client) {
			also(config.Match{Client: b.Client})
		}
	}
	if b.ClientCert != nil {
		switch {
		case a.ClientCert == nil, a.ClientCert.CN == nil && *a.ClientCert.Verified:
			m.ClientCert = b.ClientCert
		case b.ClientCert.CN != nil && !reflect.DeepEqual(a.ClientCert, b.ClientCert):
			also(config.Match{ClientCert: b.ClientCert})
		}
	}
	return m, true
}

// mergePaths merges the keys of which a match has at most one.
func mergePaths(m, a, b *config.Match, also func(config.Match)) (possible bool) {
	words := func(n *config.Match) string { return n.PathExact.String() + n.PathBegins }
	if words(b) == "" {
		return true
	}
	switch {
	case words(a) == "":
		m.PathExact, m.PathBegins = b.PathExact, b.PathBegins
	case a.PathExact != (pattern.ExactPath{}) && b.PathExact != (pattern.ExactPath{}):
		return a.PathExact == b.PathExact
	case strings.Contains(words(a)+words(b), "%"): // what is encoded isn't compared here
		also(config.Match{PathExact: b.PathExact, PathBegins: b.PathBegins})
	case a.PathExact != (pattern.ExactPath{}):
		return strings.HasPrefix(words(a), b.PathBegins)
	case b.PathExact != (pattern.ExactPath{}):
		m.PathExact, m.PathBegins = b.PathExact, ""
		return strings.HasPrefix(words(b), a.PathBegins)
	case strings.HasPrefix(b.PathBegins, a.PathBegins):
		m.PathBegins = b.PathBegins
	default:
		return strings.HasPrefix(a.PathBegins, b.PathBegins)
	}
	return true
}

// bothHosts is the narrower one of two patterns, if some host matches both.
func bothHosts(a, b pattern.Host) (pattern.Host, bool) {
	switch {
	case a == b || b == pattern.Host{}:
		return a, true
	case a == pattern.Host{}, slices.Contains(b.Wider(), a):
		return b, true
	case slices.Contains(a.Wider(), b):
		return a, true
	}
	return a, false
}

// expander evaluates conditions on one listener.
type expander struct {
	m    *imp
	fe   *proxy
	at   *listener
	seen map[*cond]*verdict
	// asked are the facts about the listener that something depends on.
	asked map[string]bool

	line     *syntax.Line // the one whose format is translated
	onlyHost string       // that of the requests of a redirect, if there is only one
	// state is set while a condition looks at a field that a rule has changed.
	state  *state
	routes []*route
	// joined is the expression of two rules that change the path, one after the other.
	joined string
	// inPath is set while the template of a path is made.
	inPath bool
	// inRedirect is set while that of a redirect is, which may have groups of a path's
	// expression.
	inRedirect bool
	// branches is how many ways through the rules there are.
	branches int
	added    map[string]bool // the matches of routes
	failed   bool            // there are too many
}

// verdict is what a condition was evaluated to.
type verdict struct {
	matches
	err string
}

// holds evaluates a condition of a proxy; nil always holds. err says why it can't be.
func (x *expander) holds(p *proxy, c *cond) (matches, string) {
	if c == nil {
		return everything, ""
	}
	if v, ok := x.seen[c]; ok {
		return v.matches, v.err
	}
	v := &verdict{}
	v.matches, v.err = x.evaluate(p, c)
	x.seen[c] = v
	return v.matches, v.err
}

const tooMany = "there are too many combinations of conditions"

func (x *expander) evaluate(p *proxy, c *cond) (matches, string) {
	some := nothing
	for _, all := range c.any {
		these := everything
		for _, lit := range all {
			this := nothing
			for _, t := range lit.tests {
				ms, err := x.test(p, t)
				if err != "" {
					return nil, err
				}
				if some := &this; !some.isAll() {
					*some = append(slices.Clone(*some), ms...)
				}
			}
			if lit.not {
				this = this.not()
			}
			var ok bool
			if these, ok = these.and(this); !ok || len(this) > maxMatches {
				return nil, tooMany
			}
		}
		if these.isAll() {
			some = everything
			break
		}
		some = append(slices.Clone(some), these...)
	}
	if c.unless {
		some = some.not()
	}
	return some, ""
}

// lines are those of the ACLs that a condition is made of.
func (c *cond) acls(visit func(t *test)) {
	if c == nil {
		return
	}
	for _, all := range c.any {
		for _, lit := range all {
			for _, t := range lit.tests {
				visit(t)
			}
		}
	}
}
