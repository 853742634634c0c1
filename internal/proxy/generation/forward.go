package generation

import (
	"cmp"
	"time"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/wire/headeredit"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Forward is what a route changes in its requests and answers, and how long it waits
// for backends. It is immutable; nil changes nothing. A session may keep it longer
// than its generation lives.
type Forward struct {
	Label           string            // of the route
	Request, Answer *headeredit.Edits // nil is none
	Host            []byte            // instead of the requested one; nil is that
	AskedHost       bool              // before Host comes the name of the requested one
	Path            *pattern.Rewrite  // nil is none
	// PathTemplate makes another path of what PathRegex has matched; nil is none.
	PathTemplate *pattern.PathTemplate
	PathRegex    pattern.Regex

	// What is zero here is as in the Generation.
	Dial     *dial.Dialer
	Answered time.Duration // Generation.Handshake, for backends
	Response time.Duration // of plain HTTP
	Whole    time.Duration // of a request of plain HTTP; 0 is no bound
}

// RequestEdits are the edits of requests, and AnswerEdits those of answers.
func (f *Forward) RequestEdits() *headeredit.Edits {
	if f == nil {
		return nil
	}
	return f.Request
}

func (f *Forward) AnswerEdits() *headeredit.Edits {
	if f == nil {
		return nil
	}
	return f.Answer
}

// HostFor is the host to ask a backend for if a client has asked for one; nil is the same,
// also if that isn't valid.
func (f *Forward) HostFor(asked []byte) []byte {
	switch {
	case f == nil:
		return nil
	case !f.AskedHost:
		return f.Host
	}
	name := httphead.AppendHostname(nil, asked)
	if len(name) == 0 {
		return nil
	}
	return append(name, f.Host...)
}

// Uses reports whether an edit has a variable of kind k.
func (f *Forward) Uses(k headeredit.Kind) bool {
	return f != nil && (f.Request.Uses(k) || f.Answer.Uses(k))
}

// Dialer connects to backends for a route.
func (g *Generation) Dialer(f *Forward) *dial.Dialer {
	if f != nil && f.Dial != nil {
		return f.Dial
	}
	return &g.Dial
}

// AnswerTimeout is how long a backend may take to answer a handshake of a route.
func (g *Generation) AnswerTimeout(f *Forward) time.Duration {
	if f != nil && f.Answered > 0 {
		return f.Answered
	}
	return g.Handshake
}

// PlainTimeouts are those of plain HTTP on a route.
func (g *Generation) PlainTimeouts(f *Forward) httpproxy.Timeouts {
	t := g.HTTP
	t.Connect = g.Dialer(f).Timeout
	if f != nil {
		t.Response, t.Whole = cmp.Or(f.Response, t.Response), f.Whole
	}
	return t
}
