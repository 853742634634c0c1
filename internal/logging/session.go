package logging

import (
	"encoding/base32"
	"log/slog"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Words are the names that session.Info has as numbers.
type Words struct {
	Route   string // "" where there are no routes
	Pool    string
	Backend string
	// Listener is left out of the line where it is "": a session's record
	// doesn't keep it.
	Listener string
}

// typicalLine is the space for a line on the caller's stack, in bytes. A
// longer one costs an allocation.
const typicalLine = 1024

// SessionOpen logs that a session has opened, at level info.
func (l *Log) SessionOpen(info *session.Info, words Words) {
	if l.level.Level() > slog.LevelInfo {
		return
	}
	var space [typicalLine]byte
	l.queue.add(l.appendOpen(space[:0], time.Now(), info, &words), false)
}

// SessionClose logs that a session has ended, and how, at level info.
func (l *Log) SessionClose(sum *session.Summary, words Words) {
	if l.level.Level() > slog.LevelInfo {
		return
	}
	var space [typicalLine]byte
	l.queue.add(l.appendClose(space[:0], time.Now(), sum, &words), false)
}

func (l *Log) appendOpen(b []byte, now time.Time, info *session.Info, words *Words) []byte {
	return l.begin(b, now, slog.LevelInfo, "session open").session(info, words).end()
}

func (l *Log) appendClose(b []byte, now time.Time, sum *session.Summary, words *Words) []byte {
	return l.begin(b, now, slog.LevelInfo, "session closed").
		session(&sum.Info, words).
		seconds("duration", sum.Duration).
		uint("messages_from_client", sum.From[session.Client].Messages).
		uint("messages_from_backend", sum.From[session.Backend].Messages).
		uint("bytes_from_client", sum.From[session.Client].Bytes).
		uint("bytes_from_backend", sum.From[session.Backend].Bytes).
		uint("close_code", uint64(sum.Code)).
		string("cause", sum.Cause.String()).
		end()
}

func (e entry) session(info *session.Info, words *Words) entry {
	// An address can hold any character: netip takes everything after a "%"
	// for an IPv6 zone, and the address may come out of a header.
	var space [128]byte
	e = e.bytes("id", appendID(space[:0], info.ID))
	e = e.bytes("client", info.Client.AppendTo(space[:0]))
	if words.Listener != "" {
		e = e.string("listener", words.Listener)
	}
	return e.string("route", words.Route).string("pool", words.Pool).string("backend", words.Backend)
}

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// appendID is session.ID's String without its allocation.
func appendID(b []byte, id session.ID) []byte { return idEncoding.AppendEncode(b, id[:]) }
