package route

import (
	"crypto/x509"

	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
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
}

// Conditions are what a rule asks beyond host and path. A field that is left zero
// matches every request; of the others, all must match.
type Conditions struct {
	Listener string
	Methods  []string // one of them
	// Headers and Query match if the field or parameter is there and matches.
	Headers, Query []Named
	// ClientCert is asked of the client's certificate; nil asks nothing.
	ClientCert *clientcert.Condition
}

// Named is a pattern for the value of a field, whose name is in lower case, or of a
// parameter of the query.
type Named struct {
	Name  string
	Value pattern.Text
}

// verdict is whether a rule matches.
type verdict uint8

const (
	no verdict = iota
	yes
	ambiguous // depends on which of several values a server takes
)

// of is the verdict of c, which may be nil.
func (c *Conditions) of(r Request) verdict {
	switch {
	case c == nil:
		return yes
	case c.Listener != "" && c.Listener != r.ListenerName(),
		c.Methods != nil && !c.hasMethod(r),
		c.ClientCert != nil && !c.ClientCert.Matches(r.Certificate()):
		return no
	}
	result := yes
	for i := range c.Headers {
		result = result.and(c.Headers[i].ofHeader(r))
	}
	for i := range c.Query {
		result = result.and(c.Query[i].ofQuery(r))
	}
	return result
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

func (n *Named) ofHeader(r Request) verdict {
	var s seen
	for i := 0; ; i++ {
		value, ok := r.Header(n.Name, i)
		if !ok {
			return s.verdict()
		}
		s.add(pattern.MatchText(n.Value, value))
	}
}

func (n *Named) ofQuery(r Request) verdict {
	var s seen
	var room [128]byte
	for query := r.Query(); ; {
		value, rest, ok := requestkey.Parameter(room[:], query, n.Name)
		if !ok {
			return s.verdict()
		}
		s.add(pattern.MatchText(n.Value, value))
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
