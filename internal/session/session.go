// Package session holds the words every part uses of a session: its id, its
// two sides, and the one typed cause it ends with. The same cause stands in
// the log, in the metrics and in the API.
package session

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/netip"
	"time"
)

// Side is one end of a session.
type Side uint8

const (
	Client Side = iota
	Backend
)

// Other is the side across from s.
func (s Side) Other() Side { return s ^ 1 }

func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "backend"
}

// ID names a session uniquely across processes and restarts.
type ID [12]byte

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// NewID draws an ID at random.
func NewID() (id ID) {
	rand.Read(id[:]) // never fails (crypto/rand, Go 1.24 on)
	return id
}

// String is 20 characters of 0-9 and A-V.
func (id ID) String() string { return idEncoding.EncodeToString(id[:]) }

// AppendTo appends what String returns.
func (id ID) AppendTo(b []byte) []byte { return idEncoding.AppendEncode(b, id[:]) }

// ParseID is the inverse of String.
func ParseID(s string) (id ID, err error) {
	b, err := idEncoding.DecodeString(s)
	// What decodes to an ID and is not its String has line breaks in it, or
	// bits set that the last character has no use for.
	if err != nil || len(b) != len(id) || ID(b).String() != s {
		return id, fmt.Errorf("session id %q is not 20 characters of 0-9 and A-V", s)
	}
	copy(id[:], b)
	return id, nil
}

// Cause says why a session ended. Every session has exactly one: the first
// thing that made its end inevitable, whatever followed from it.
type Cause uint8

const (
	// None is the cause of a session that goes on.
	None Cause = iota
	// ClientClosed and BackendClosed: that side sent the first Close frame.
	ClientClosed
	BackendClosed
	// ClientLost and BackendLost: that side's connection ended (EOF, reset)
	// without a Close frame before it.
	ClientLost
	BackendLost
	// ClientSilent and BackendSilent: nothing came from that side within
	// keepalive.interval + keepalive.timeout, not even a pong.
	ClientSilent
	BackendSilent
	// ClientProtocol and BackendProtocol: that side broke RFC 6455 framing.
	ClientProtocol
	BackendProtocol
	// IdleTimeout: no message either way for timeouts.idle.
	IdleTimeout
	// MaxLifetime: the session reached timeouts.max_lifetime.
	MaxLifetime
	// BackendRemoved: the backend left the configuration.
	BackendRemoved
	// BackendDrained: the backend is being emptied, and time was up.
	BackendDrained
	// Rebalanced: its backend had more than its part, another less.
	Rebalanced
	// ReattachFailed: it was being given another backend, which came to nothing
	// when the old one had closed, or been told to close.
	ReattachFailed
	// Shutdown: the balancer was told to stop.
	Shutdown
	causes
)

var causeNames = [causes]string{
	None:            "none",
	ClientClosed:    "client_closed",
	BackendClosed:   "backend_closed",
	ClientLost:      "client_lost",
	BackendLost:     "backend_lost",
	ClientSilent:    "client_silent",
	BackendSilent:   "backend_silent",
	ClientProtocol:  "client_protocol_error",
	BackendProtocol: "backend_protocol_error",
	IdleTimeout:     "idle_timeout",
	MaxLifetime:     "max_lifetime",
	BackendRemoved:  "backend_removed",
	BackendDrained:  "backend_drained",
	Rebalanced:      "rebalanced",
	ReattachFailed:  "reattach_failed",
	Shutdown:        "shutdown",
}

func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// Causes lists every cause a session can end with.
func Causes() []Cause {
	all := make([]Cause, 0, causes-1)
	for c := None + 1; c < causes; c++ {
		all = append(all, c)
	}
	return all
}

// Why says why a session is given another backend.
type Why uint8

const (
	// Drain: its backend is being emptied.
	Drain Why = iota
	// Loss: its backend has gone without a word.
	Loss
	// Rebalance: its backend has more than its part, another less.
	Rebalance
)

func (w Why) String() string { return [...]string{"drain", "loss", "rebalance"}[w] }

// Info is what is fixed about a session when it opens. Backend and Route are
// numbers, so that a record of it has no pointers; pool.Registry and
// session.Names turn them back into words.
type Info struct {
	ID      ID
	Client  netip.AddrPort // the client's, believed through forwarded.trust
	Backend uint32         // pool.Backend.ID
	Route   uint32         // session.Names
	Started time.Time
}

// Traffic counts what one side sent: whole messages, and bytes as they were on
// the wire, frame headers included, without what the balancer itself sent or
// swallowed.
type Traffic struct {
	Messages uint64
	Bytes    uint64
}

// Summary is an Info with what became of it.
type Summary struct {
	Info
	Cause    Cause
	Code     uint16 // of the first Close frame, ours or a peer's; 0 where there was none
	Duration time.Duration
	From     [2]Traffic // by Side: what that side sent
}
