package logging

import (
	"log/slog"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
)

// Names are the names of what session.Info has as numbers.
type Names struct {
	Route    string // "" if the configuration has no routes
	Pool     string
	Backend  string
	Listener string // left out of the line if ""
	// Claims are those of the client that are shown with its session.
	Claims claims.Claims
}

// TLS is what a TLS handshake has agreed on.
type TLS struct {
	Version, Suite, ServerName string // ServerName is escaped; Version is "" if the backend makes the handshake
	Resumed                    bool
}

// Opened is what is known about a session when it opens, beyond its session.Info.
type Opened struct {
	TLS *TLS // nil if the client doesn't speak TLS
	// RequestID and TraceID are left out of the line if they are nil. They have no
	// character that needs escaping.
	RequestID, TraceID []byte
}

// typicalLine is the size of the buffer on the caller's stack, in bytes. A
// longer line costs an allocation.
const typicalLine = 1024

// SessionOpened logs that a session has opened, at level info.
func (l *Log) SessionOpened(info *session.Info, names Names, o Opened) {
	if l.level.Level() > slog.LevelInfo {
		return
	}
	now := time.Now()
	if !l.thin.keepsAlike(alike{msg: openLine}, slog.LevelInfo, now) {
		return
	}
	var space [typicalLine]byte
	l.queue.add(l.appendOpened(space[:0], now, info, &names, &o), false)
}

// SessionClosed logs that a session has ended, and how, at level info.
func (l *Log) SessionClosed(sum *session.Summary, names Names) {
	if l.level.Level() > slog.LevelInfo {
		return
	}
	now := time.Now()
	if !l.thin.keepsAlike(alike{closedLine, "cause", sum.Cause.String()}, slog.LevelInfo, now) {
		return
	}
	var space [typicalLine]byte
	l.queue.add(l.appendClosed(space[:0], now, sum, &names), false)
}

// SessionGoesOn logs how far a session is that hasn't ended, at level info.
func (l *Log) SessionGoesOn(sum *session.Summary, names Names) {
	if l.level.Level() > slog.LevelInfo {
		return
	}
	var space [typicalLine]byte
	e := l.begin(space[:0], time.Now(), slog.LevelInfo, "session goes on").session(&sum.Info, &names).traffic(sum)
	l.queue.add(e.seconds("idle", sum.Idle).end(), false)
}

func (l *Log) appendOpened(b []byte, now time.Time, info *session.Info, names *Names, o *Opened) []byte {
	e := l.begin(b, now, slog.LevelInfo, openLine).session(info, names)
	if o.RequestID != nil {
		e = e.bytes("request_id", o.RequestID)
	}
	if o.TraceID != nil {
		e = e.bytes("trace_id", o.TraceID)
	}
	switch tls := o.TLS; {
	case tls != nil && tls.Version == "":
		e = e.string("server_name", tls.ServerName)
	case tls != nil:
		e = e.string("tls", tls.Version).string("cipher", tls.Suite).string("server_name", tls.ServerName).bool("resumed", tls.Resumed)
	}
	return e.end()
}

func (l *Log) appendClosed(b []byte, now time.Time, sum *session.Summary, names *Names) []byte {
	e := l.begin(b, now, slog.LevelInfo, closedLine).session(&sum.Info, names).traffic(sum)
	if sum.Code != 0 { // there was a Close frame
		e = e.uint("close_code", uint64(sum.Code))
	}
	if sum.Reason != "" {
		e = e.string("close_reason", sum.Reason)
	}
	if sum.Fault != "" {
		e = e.string("protocol_error", sum.Fault).uint("at_byte", sum.FaultAt)
	}
	if sum.TLSError != "" {
		e = e.string("tls_error", sum.TLSError)
	}
	if sum.Limit != session.NoLimit {
		e = e.string("limit", sum.Limit.String()).string("exceeded_by", sum.LimitSide.String())
	}
	return e.string("cause", sum.Cause.String()).end()
}

func (e entry) traffic(sum *session.Summary) entry {
	return e.seconds("duration", sum.Duration).
		uint("messages_from_client", sum.From[session.Client].Messages).
		uint("messages_from_backend", sum.From[session.Backend].Messages).
		uint("bytes_from_client", sum.From[session.Client].Bytes).
		uint("bytes_from_backend", sum.From[session.Backend].Bytes)
}

func (e entry) session(info *session.Info, names *Names) entry {
	// The address is escaped, since it may come from a header, and netip accepts
	// any character in an IPv6 zone.
	var space [128]byte
	e = e.bytes("id", info.ID.AppendTo(space[:0]))
	e = e.bytes("client", info.Client.AppendTo(space[:0]))
	if names.Listener != "" {
		e = e.string("listener", names.Listener)
	}
	e = e.string("route", names.Route).string("pool", names.Pool).string("backend", names.Backend)
	for name, value := range names.Claims.All() {
		e = e.claim(name, value)
	}
	return e
}
