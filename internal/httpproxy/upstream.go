package httpproxy

import (
	"net/http"
	"net/netip"
	"time"
)

// Upstream chooses where a request goes.
type Upstream interface {
	// Pick chooses a backend for r that is not in tried, the Keys of the
	// choices that could not be connected to. It doesn't block. An error that
	// is an *Error is told to the client as it stands; any other one is told
	// as 503.
	Pick(r *http.Request, tried []uint32) (Target, error)
}

// Target is one choice of Upstream.
type Target struct {
	Key  uint32 // what tells this choice from others in Pick's tried
	Name string // for the log
	Addr netip.AddrPort
	// Release is called once, when the answer was read to its end or there
	// will be none. It may be nil.
	Release func()
	// Reached is called once a connection was made and answered, with nil, or
	// could not be made. It may be nil.
	Reached func(err error)
	// SetCookie is the value of a Set-Cookie field to be added to the answer;
	// empty adds none.
	SetCookie string
}

// Error is an answer in place of a backend's.
type Error struct {
	Status int    // of HTTP
	Text   string // one line, told to the client
	// RetryAfter is when to come again, in whole seconds; 0 doesn't say.
	RetryAfter time.Duration
	// Final has it told also where a backend was tried in vain before.
	Final bool
}

func (e *Error) Error() string { return e.Text }
