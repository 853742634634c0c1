// Package logging writes the log: structured lines, as JSON or as text, in
// exactly the style of log/slog.
//
// The threads that log are event loops, which must never wait for a full pipe
// or a slow disk. So lines go into a bounded buffer in memory, and one
// goroutine writes them out in batches. When the buffer is full, lines are
// dropped and counted, the less important ones first.
package logging

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// The formats a log can have. Any other string means JSON.
const (
	JSON = "json"
	Text = "text"
)

// bufferSize bounds the lines that wait in memory, in bytes.
const bufferSize = 1 << 20

// closeWait bounds how long Close waits for a reader that doesn't read.
const closeWait = 5 * time.Second

// Log is one destination of log lines. All its methods can be called from any
// goroutine, and none but Close ever waits for the destination.
type Log struct {
	queue  *queue
	logger *slog.Logger
	level  slog.LevelVar
	text   atomic.Bool
}

// New starts a log that writes lines of the given level and above to w, which
// is not closed by it. The caller ends it with Close.
func New(w io.Writer, format string, level slog.Level) *Log {
	l := &Log{}
	l.SetFormatLevel(format, level)
	l.queue = newQueue(w, bufferSize, l.appendLoss)
	l.logger = slog.New(newHandler(l))
	go l.queue.run()
	return l
}

// Logger is the log as an ordinary slog.Logger. It follows SetFormatLevel.
func (l *Log) Logger() *slog.Logger { return l.logger }

// SetFormatLevel changes the format and the level of all later lines.
func (l *Log) SetFormatLevel(format string, level slog.Level) {
	l.text.Store(format == Text)
	l.level.Set(level)
}

// Dropped counts the lines that were lost since New, because the buffer was
// full, a write failed, or the log was closed.
func (l *Log) Dropped() uint64 { return l.queue.droppedLines() }

// Close writes out what is buffered and ends the log; lines that come later
// are dropped. It waits five seconds at most for a destination that is stuck,
// and returns context.DeadlineExceeded then.
func (l *Log) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	return l.queue.close(ctx)
}

// appendLoss appends the line that tells of lost lines.
func (l *Log) appendLoss(b []byte, lost, total uint64) []byte {
	return l.begin(b, time.Now(), slog.LevelWarn, "log lines lost: the log was not read fast enough").
		uint("lost", lost).
		uint("total", total).
		end()
}
