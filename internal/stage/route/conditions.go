package route

import (
	"crypto/x509"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Request is a request as Conditions see it. What its methods return isn't retained.
type Request interface {
	// ListenerName is the name of the listener that the request came on.
	ListenerName() string
	// HasMethod reports whether the request has that method, whose case matters.
	HasMethod(method string) bool
	// Header returns the value of the i-th field of that name, counted from 0. The
	// name is given in lower case. ok is false if there is none.
	Header(name string, i int) (value []byte, ok bool)
	// Query is the query as received, without its question mark.
	Query() []byte
	// Certificate is the client's, verified; nil if it has shown none.
	Certificate() *x509.Certificate
	// ClientIP is the client's address, through proxies that are trusted.
	ClientIP() netip.Addr
}

// Conditions are what a rule asks beyond a host and a prefix of the path. A field that is
// left zero matches every request; of the others, all must match.
type Conditions struct {
	HostRegex  pattern.Regex // of FoldCase
	PathExact  pattern.ExactPath
	PathBegins pattern.BeginPath
	PathRegex  pattern.Regex

	Listener string
	Client   []netip.Prefix // nil is every client
	Methods  []string       // one of them
	// Headers and Query match if the field or parameter is there and matches.
	Headers, Query []Named
	// ClientCert is asked of the client's certificate; nil asks nothing.
	ClientCert *clientcert.Condition
	// Not has requests that don't match, though they have all else.
	Not []Exception
}

// Exception is what a request must not be. A field that is left zero matches every
// request.
type Exception struct {
	Host      pattern.Host
	Path      pattern.Path
	WebSocket *bool
	When      *Conditions
}

// looksAtPath reports whether c depends on the path, and byRegex whether it has a regular
// expression for it.
func (c *Conditions) looksAtPath() (looks, byRegex bool) {
	if c == nil {
		return false, false
	}
	byRegex = !c.PathRegex.IsZero()
	looks = byRegex || c.PathExact != pattern.ExactPath{} || c.PathBegins != pattern.BeginPath{}
	for i := range c.Not {
		within, regex := c.Not[i].When.looksAtPath()
		looks, byRegex = looks || within || c.Not[i].Path != pattern.Path{}, byRegex || regex
	}
	return looks, byRegex
}

// Named is a pattern for the value of a field, whose name is in lower case, or of a
// parameter of the query.
type Named struct {
	Name  string
	Value pattern.Value
}

// verdict is whether a rule matches.
type verdict uint8

const (
	no verdict = iota
	yes
	ambiguous // depends on which of several values a server takes
)

// request is a request, under one reading of its path.
type request[S ~string | ~[]byte] struct {
	host, path S
	websocket  bool
	as         pattern.Reading
	Request
}

// is is whether the request is one that e excludes.
func (r *request[S]) is(e *Exception) verdict {
	switch {
	case e.WebSocket != nil && *e.WebSocket != r.websocket, !pattern.MatchHost(e.Host, r.host), !pattern.MatchPath(e.Path, r.path, r.as):
		return no
	case e.When == nil:
		return yes
	}
	return r.has(e.When)
}

// has is whether the request has all that c asks.
func (r *request[S]) has(c *Conditions) verdict {
	switch {
	case c.Listener != "" && c.Listener != r.ListenerName(),
		c.Methods != nil && !c.hasMethod(r.Request),
		!pattern.MatchExactPath(c.PathExact, r.path, r.as),
		!pattern.MatchBeginPath(c.PathBegins, r.path, r.as),
		c.Client != nil && !c.hasClient(r.Request),
		c.ClientCert != nil && !c.ClientCert.Matches(r.Certificate()),
		!c.HostRegex.IsZero() && !pattern.MatchRegex(c.HostRegex, r.host),
		!c.PathRegex.IsZero() && !pattern.MatchPathRegex(c.PathRegex, r.path, r.as):
		return no
	}
	result := yes
	for i := range c.Headers {
		result = result.and(c.Headers[i].ofHeader(r.Request))
	}
	for i := range c.Query {
		result = result.and(c.Query[i].ofQuery(r.Request))
	}
	for i := range c.Not {
		result = result.and(r.is(&c.Not[i]).not())
	}
	return result
}

func (c *Conditions) hasClient(r Request) bool {
	_, ok := clientprefix.Find(c.Client, r.ClientIP())
	return ok
}

func (c *Conditions) hasMethod(r Request) bool {
	for _, method := range c.Methods {
		if r.HasMethod(method) {
			return true
		}
	}
	return false
}

func (v verdict) and(w verdict) verdict {
	if v == no || w == no {
		return no
	}
	return max(v, w)
}

// not is the verdict of a rule that matches if another one doesn't.
func (v verdict) not() verdict {
	switch v {
	case no:
		return yes
	case yes:
		return no
	}
	return ambiguous
}

func (n *Named) ofHeader(r Request) verdict {
	var s seen
	for i := 0; ; i++ {
		value, ok := r.Header(n.Name, i)
		if !ok {
			return s.verdict()
		}
		s.add(n.Value.Matches(value))
	}
}

func (n *Named) ofQuery(r Request) verdict {
	if !n.Value.Regex.IsZero() {
		return n.ofQueryByRegex(r)
	}
	var s seen
	var room [128]byte
	for query := r.Query(); ; {
		value, rest, ok := requestkey.Parameter(room[:], query, n.Name)
		if !ok {
			return s.verdict()
		}
		s.add(pattern.MatchText(n.Value.Text, value))
		query = rest
	}
}

// ofQueryByRegex is ofQuery for a regular expression, for which values can't be decoded
// on the stack.
func (n *Named) ofQueryByRegex(r Request) verdict {
	var s seen
	for query := r.Query(); ; {
		value, rest, ok := requestkey.Parameter(nil, query, n.Name)
		if !ok {
			return s.verdict()
		}
		s.add(pattern.MatchRegex(n.Value.Regex, value))
		query = rest
	}
}

// seen is whether values match that have the same name.
type seen struct{ matching, other bool }

func (s *seen) add(matches bool) {
	s.matching = s.matching || matches
	s.other = s.other || !matches
}

func (s *seen) verdict() verdict {
	switch {
	case s.matching && s.other:
		return ambiguous
	case s.matching:
		return yes
	}
	return no
}
