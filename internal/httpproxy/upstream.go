package httpproxy

import (
	"net/http"
	"net/netip"
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
}

// Error is an answer in place of a backend's.
type Error struct {
	Status int    // of HTTP
	Text   string // one line, told to the client
}

func (e *Error) Error() string { return e.Text }
