// Package route finds the pool for a request: that of the first rule that
// matches its host, its path and whether it is a WebSocket handshake, and what
// else a rule may ask. For a connection whose bytes are passed on as they are
// (opaque.go), it goes by the listener and the client's first message in TLS. The
// spine asks it once for each request or connection; it doesn't look at backends.
package route

import (
	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Rule is one line of the routing table. A field that is left zero matches
// every request.
type Rule struct {
	Host pattern.Host
	Path pattern.Path
	// WebSocket true matches only handshakes, false only plain HTTP; nil
	// matches both.
	WebSocket *bool
	// When has further conditions; nil means none.
	When *Conditions

	// Opaque means that the rule is for connections without requests, which
	// MatchConnection chooses by Connection. Match doesn't look at it.
	Opaque     bool
	Connection Connection

	Pool  string
	Label string // names the rule in logs

	Index int // among all that New was given; set by New
}

// Errors of Match.
var (
	// ErrNoRoute: no rule matches. The answer is 404.
	ErrNoRoute = failure.New(failure.NoRoute, "no route matches the request")
	// ErrBadPath: the path is malformed, or can be read in ways that lead
	// to different rules, see Match. The answer is 400.
	ErrBadPath = failure.New(failure.BadPath, "the request's path is malformed or ambiguous")
	// ErrAmbiguous: a field or parameter that a rule asks for is there several
	// times, and not all values match. The answer is 400.
	ErrAmbiguous = failure.New(failure.Ambiguous, "a header field or a parameter that routes look at is there several times, with values that lead to different routes")
)

// Table is an immutable list of rules.
type Table struct {
	rules  []Rule
	opaque []Rule // those with Opaque
	paths  bool   // some rule looks at the path
	regex  bool   // by a regular expression
}

// New makes a Table of rules, which are tried in their order. A table with one
// empty rule sends everything to that rule's pool.
func New(rules []Rule) *Table {
	t := &Table{}
	for i, r := range rules {
		if r.Index = i; r.Opaque {
			t.opaque = append(t.opaque, r)
			continue
		}
		t.rules = append(t.rules, r)
		looks, regex := r.When.looksAtPath()
		t.paths, t.regex = t.paths || looks || r.Path != pattern.Path{}, t.regex || regex
	}
	return t
}

// Match finds the rule for a request. host is its Host field, with or without a
// port; path is its target as received ("/a%20b?c"), of which the query is
// ignored. r is asked for the rest, if a rule has When. Match doesn't allocate, except for
// regular expressions.
//
// The path goes to the backend unchanged, and backends differ in how they read
// unusual ones. So that a request can't be routed by one reading and served by
// another, Match refuses with ErrBadPath, if any rule looks at paths:
//   - whatever RFC 9112 section 3.2 doesn't allow: controls, blanks, '#', '\',
//     an incomplete percent-encoding, a path that doesn't begin with a slash
//     (the empty one and "*" match rules without a path); also an encoded NUL;
//   - dot segments ("/a/../b", "%2e%2e", "..;x"), which clients resolve
//     themselves (RFC 3986 section 5.2.4);
//   - empty segments ("//"), encoded slashes and backslashes, and parameters
//     (";x"), where reading them as plain text or as some servers do (merged,
//     as slashes, cut off) would choose different rules. If a rule has a regular
//     expression for paths, such a path is also refused if it is very long, since it is
//     matched under up to 32 readings. So is any path with an encoded newline then: in
//     other servers, $ may match before one at the end.
//
// All other percent-encodings are compared decoded. Likewise, it refuses with
// ErrAmbiguous if a header field or a parameter of the query would match or not,
// depending on which of several values a server takes.
func (t *Table) Match(host, path string, websocket bool, r Request) (*Rule, error) {
	return match(t, host, path, websocket, r)
}

// MatchBytes is Match for a head that isn't made of strings. It retains
// nothing.
func (t *Table) MatchBytes(host, path []byte, websocket bool, r Request) (*Rule, error) {
	return match(t, host, path, websocket, r)
}

func match[S ~string | ~[]byte](t *Table, host, path S, websocket bool, req Request) (*Rule, error) {
	var peculiar pattern.Reading
	if t.paths {
		path = pattern.WithoutQuery(path)
		var ok bool
		if peculiar, ok = pattern.Peculiarities(path); !ok {
			return nil, ErrBadPath
		}
		if t.regex && (peculiar != 0 && len(path) > pattern.MaxPath || pattern.HasNewline(path)) {
			return nil, ErrBadPath
		}
	}
	r := request[S]{host: pattern.BareHost(host), path: path, websocket: websocket, Request: req}
	found, result := first(t, &r)
	// Every combination of what is peculiar about the path is one reading:
	// the subsets of the set of bits.
	for r.as = peculiar; r.as != 0 && result != ambiguous; r.as = (r.as - 1) & peculiar {
		rule, again := first(t, &r)
		if again == ambiguous {
			result = again
		} else if rule != found {
			return nil, ErrBadPath
		}
	}
	switch {
	case result == ambiguous:
		return nil, ErrAmbiguous
	case found == nil:
		return nil, ErrNoRoute
	}
	return found, nil
}

// first is the first rule that matches the path under one reading of it. The
// result is ambiguous if it depends on the reading of something else.
func first[S ~string | ~[]byte](t *Table, r *request[S]) (*Rule, verdict) {
	for i := range t.rules {
		rule := &t.rules[i]
		if rule.WebSocket != nil && *rule.WebSocket != r.websocket ||
			!pattern.MatchHost(rule.Host, r.host) || !pattern.MatchPath(rule.Path, r.path, r.as) {
			continue
		}
		if rule.When == nil {
			return rule, yes
		}
		if result := r.has(rule.When); result != no {
			return rule, result
		}
	}
	return nil, no
}
