// Package route finds the pool for a request: the first rule that matches its
// host, its path and whether it is a WebSocket handshake.
package route

import (
	"fmt"
	"strings"
)

// Rule is one line of the routing table. What is left empty matches all.
type Rule struct {
	// Host is a name ("ws.example.com"), or "*.example.com" for all names
	// below example.com at any depth, not example.com itself. It has no
	// port; the request's is ignored. Case doesn't matter.
	Host string
	// Path is a prefix on segment borders: /ws matches /ws and /ws/x, not
	// /wsx. Case matters. It may be percent-encoded.
	Path string
	// WebSocket tells handshakes (true) from plain HTTP (false); nil
	// matches both.
	WebSocket *bool

	Pool  string
	Label string // names the rule in logs
}

// Errors of Match.
const (
	// ErrNoRoute: no rule matches. The answer is 404.
	ErrNoRoute = routeError("no route matches the request")
	// ErrBadPath: the path is malformed, or can be read in ways that lead
	// to different rules, see Match. The answer is 400.
	ErrBadPath = routeError("the request's path is malformed or ambiguous")
)

type routeError string

func (e routeError) Error() string { return string(e) }

// Table is an immutable list of rules.
type Table struct {
	rules []compiled
	paths bool // some rule has a path
}

type compiled struct {
	Rule
	host     string // lower case, without "*." and a final dot; "" matches all
	wildcard bool
	path     string // decoded, without a final slash; "" matches all
}

// New makes a Table of rules, tried in their order. A table with one empty
// rule sends everything to that rule's pool. The error names the rule by its
// position from 1.
func New(rules []Rule) (*Table, error) {
	t := &Table{rules: make([]compiled, len(rules))}
	for i, r := range rules {
		if err := CheckHost(r.Host); err != nil {
			return nil, fmt.Errorf("route %d: host %q: %w", i+1, r.Host, err)
		}
		if err := CheckPath(r.Path); err != nil {
			return nil, fmt.Errorf("route %d: path %q: %w", i+1, r.Path, err)
		}
		host, wildcard := strings.CutPrefix(r.Host, "*.")
		t.rules[i] = compiled{
			Rule:     r,
			host:     strings.ToLower(strings.TrimSuffix(host, ".")),
			wildcard: wildcard,
			path:     strings.TrimSuffix(decode(r.Path), "/"),
		}
		t.paths = t.paths || t.rules[i].path != ""
	}
	return t, nil
}

// Match finds the rule for a request. host is its Host field, a port and all;
// path is its target as it came ("/a%20b?c"), of which the query is ignored.
// It doesn't allocate.
//
// The path goes to the backend unchanged, and backends differ in how they read
// unusual ones. So that a request can't be routed by one reading and served by
// another, Match refuses with ErrBadPath, if any rule has a path:
//   - what RFC 9112 section 3.2 doesn't allow: controls, blanks, '#', '\',
//     an incomplete percent-encoding, a path that doesn't begin with a slash
//     (the empty one and "*" match rules without a path); also an encoded NUL;
//   - dot segments ("/a/../b", "%2e%2e", "..;x"), which clients resolve
//     themselves (RFC 3986 section 5.2.4);
//   - empty segments ("//"), encoded slashes and backslashes, and parameters
//     (";x"), where reading them as plain text or as some servers do (merged,
//     as slashes, cut off) would choose different rules.
//
// All other percent-encodings are compared decoded.
func (t *Table) Match(host, path string, websocket bool) (*Rule, error) {
	return match(t, host, path, websocket)
}

// MatchBytes is Match for a head that isn't made of strings. It retains
// nothing.
func (t *Table) MatchBytes(host, path []byte, websocket bool) (*Rule, error) {
	return match(t, host, path, websocket)
}

func match[S ~string | ~[]byte](t *Table, host, path S, websocket bool) (*Rule, error) {
	var peculiar reading
	if t.paths {
		path = withoutQuery(path)
		var ok bool
		if peculiar, ok = survey(path); !ok {
			return nil, ErrBadPath
		}
	}
	host = bareHost(host)
	found := first(t, host, path, websocket, 0)
	// Every combination of what is peculiar about the path is one reading:
	// the subsets of the set of bits.
	for r := peculiar; r != 0; r = (r - 1) & peculiar {
		if first(t, host, path, websocket, r) != found {
			return nil, ErrBadPath
		}
	}
	if found == nil {
		return nil, ErrNoRoute
	}
	return &found.Rule, nil
}

// first is the first rule that matches the path under one reading of it.
func first[S ~string | ~[]byte](t *Table, host, path S, websocket bool, as reading) *compiled {
	for i := range t.rules {
		r := &t.rules[i]
		if (r.WebSocket == nil || *r.WebSocket == websocket) &&
			matchHost(r, host) && matchPath(r.path, path, as) {
			return r
		}
	}
	return nil
}
