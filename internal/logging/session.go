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
	e := l.begin(b, now, slog.LevelInfo, "session open")
	e.session(info, words)
	return e.end()
}

func (l *Log) appendClose(b []byte, now time.Time, sum *session.Summary, words *Words) []byte {
	e := l.begin(b, now, slog.LevelInfo, "session closed")
	e.session(&sum.Info, words)
	e.seconds("duration", sum.Duration)
	e.uint("messages_from_client", sum.From[session.Client].Messages)
	e.uint("messages_from_backend", sum.From[session.Backend].Messages)
	e.uint("bytes_from_client", sum.From[session.Client].Bytes)
	e.uint("bytes_from_backend", sum.From[session.Backend].Bytes)
	e.uint("close_code", uint64(sum.Code))
	e.string("cause", sum.Cause.String())
	return e.end()
}

func (e *entry) session(info *session.Info, words *Words) {
	// An address can hold any character: netip takes everything after a "%"
	// for an IPv6 zone, and the address may come out of a header.
	var space [128]byte
	e.key("id")
	e.b = appendString(e.b, appendID(space[:0], info.ID), e.text)
	e.key("client")
	e.b = appendString(e.b, info.Client.AppendTo(space[:0]), e.text)
	if words.Listener != "" {
		e.string("listener", words.Listener)
	}
	e.string("route", words.Route)
	e.string("pool", words.Pool)
	e.string("backend", words.Backend)
}

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// appendID is session.ID's String without its allocation.
func appendID(b []byte, id session.ID) []byte { return idEncoding.AppendEncode(b, id[:]) }
