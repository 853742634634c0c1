// Package session has what all parts say about a session: its ID, its two sides,
// and the typed cause of its end. The log, the metrics and the API have the same
// cause.
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

// Other is the other side.
func (s Side) Other() Side { return s ^ 1 }

func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "backend"
}

// ID identifies a session across processes and restarts.
type ID [12]byte

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// NewID returns a random ID.
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
	// A text that decodes to an ID and isn't its String has line breaks in it, or
	// unused bits set in its last character.
	if err != nil || len(b) != len(id) || ID(b).String() != s {
		return id, fmt.Errorf("session id %q is not 20 characters of 0-9 and A-V", s)
	}
	copy(id[:], b)
	return id, nil
}

// Cause says why a session ended. Every session has exactly one: the first thing
// that made its end inevitable, whatever happened after it.
type Cause uint8

const (
	// None is the cause of a session that hasn't ended.
	None Cause = iota
	// ClientClosed and BackendClosed: that side sent the first Close frame.
	ClientClosed
	BackendClosed
	// ClientLost and BackendLost: that side's connection ended (EOF, reset)
	// without a Close frame before it.
	ClientLost
	BackendLost
	// ClientSilent and BackendSilent: that side sent nothing, not even a pong,
	// within keepalive.interval + keepalive.timeout.
	ClientSilent
	BackendSilent
	// ClientProtocol and BackendProtocol: that side violated RFC 6455 framing.
	ClientProtocol
	BackendProtocol
	// IdleTimeout: neither side sent anything, or no message, for timeouts.idle.
	IdleTimeout
	// MaxLifetime: the session reached timeouts.max_lifetime.
	MaxLifetime
	// TokenExpired: the token with which the client opened it has expired.
	TokenExpired
	// AdminClosed: an operator closed it through the admin API.
	AdminClosed
	// BackendRemoved: the backend left the configuration.
	BackendRemoved
	// BackendDrained: the backend drains, and its time was over.
	BackendDrained
	// BackendDown: a check found the backend down, and its pool has on_down: close.
	BackendDown
	// Rebalanced: its backend had more than its fair share, another less.
	Rebalanced
	// ReattachFailed: it should have been moved to another backend. That failed
	// when the old backend had closed, or had been told to close.
	ReattachFailed
	// MessageTooBig: the client began a message larger than limits.max_message.
	MessageTooBig
	// RateLimited: the client sent more messages or bytes a second than it may.
	RateLimited
	// SlowConsumer: a side left for too long what was kept for it, or there was no
	// memory to wait longer.
	SlowConsumer
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
	TokenExpired:    "token_expired",
	AdminClosed:     "admin_closed",
	BackendRemoved:  "backend_removed",
	BackendDrained:  "backend_drained",
	BackendDown:     "backend_down",
	Rebalanced:      "rebalanced",
	ReattachFailed:  "reattach_failed",
	MessageTooBig:   "message_too_big",
	RateLimited:     "rate_limited",
	SlowConsumer:    "slow_consumer",
	Shutdown:        "shutdown",
}

func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// Causes lists all causes of an end.
func Causes() []Cause {
	all := make([]Cause, 0, causes-1)
	for c := None + 1; c < causes; c++ {
		all = append(all, c)
	}
	return all
}

// Limit is a key of limits for which sessions end.
type Limit uint8

const (
	NoLimit Limit = iota
	MaxMessage
	MessagesPerSecond
	BytesPerSecond
	SlowConsumerTimeout
	BacklogMemory
)

// String is the name of the key; "" for NoLimit.
func (l Limit) String() string {
	return [...]string{"", "max_message", "messages_per_second", "bytes_per_second", "slow_consumer_timeout", "backlog_memory"}[l]
}

// Why says why a session is given another backend.
type Why uint8

const (
	// Drain: its backend drains.
	Drain Why = iota
	// Loss: the connection to its backend was lost.
	Loss
	// Rebalance: its backend has more than its fair share, another less.
	Rebalance
)

func (w Why) String() string { return [...]string{"drain", "loss", "rebalance"}[w] }

// Info is what is known about a session when it opens. Backend and Route are
// numbers, so that a session's record has no pointers; pool.Registry and Names
// turn them back into words.
type Info struct {
	ID      ID
	Client  netip.AddrPort // through the proxies of forwarded.trust
	Backend uint32         // pool.Backend.ID
	Route   uint32         // session.Names
	Started time.Time
}

// Traffic counts what one side sent: whole messages, and bytes on the wire with
// frame headers, without those that the balancer itself sent or removed.
type Traffic struct {
	Messages uint64
	Bytes    uint64
}

// Summary describes a session that has ended, or one that is listed.
type Summary struct {
	Info
	Cause    Cause
	Code     uint16 // of the first Close frame, the balancer's or a peer's; 0 if there was none
	Duration time.Duration
	Idle     time.Duration // since a side sent a message, at layer 4 any byte
	From     [2]Traffic    // by Side: what that side sent

	// Reason is the text of the first Close frame, if a peer sent it: at most 123
	// bytes of UTF-8. The peer chose it freely, so it isn't to be trusted.
	Reason string
	// Fault is the rule of RFC 6455 that a side violated, for the causes
	// ClientProtocol and BackendProtocol. FaultAt is where its frame begins: the
	// number of bytes that the side had sent before.
	Fault   string
	FaultAt uint64
	// TLSError is with which side the session was lost by its TLS, and why; "" if that
	// wasn't so. It has nothing that a peer has chosen but numbers.
	TLSError string
	// Limit is what LimitSide exceeded, for the causes MessageTooBig, RateLimited and
	// SlowConsumer.
	Limit     Limit
	LimitSide Side
}
