// Package logging writes the log: structured lines, as JSON or as text, in the
// format of log/slog. internal/app creates a Log. Other packages get its
// slog.Logger and don't import this package. Session lines have methods of their
// own (session.go), which don't allocate. docs/monitoring.md lists the lines.
//
// Event loops log, and must never wait for a full pipe or a slow disk. So lines
// go to a bounded buffer in memory, and one goroutine writes them in batches. If
// the buffer is full, lines are dropped and counted, warnings and errors last. Lines
// that clients could fill a disk with are thinned out before that (thin.go).
package logging

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// The formats of a log. Any other string means JSON.
const (
	JSON = "json"
	Text = "text"
)

// bufferSize bounds the buffered lines, in bytes.
const bufferSize = 1 << 20

// closeWait bounds how long Close waits for the destination.
const closeWait = 5 * time.Second

// Log is one destination of log lines. Its methods are safe for concurrent use.
// Only Close waits for the destination.
type Log struct {
	queue    *queue
	out      *output
	thin     *thinner
	logger   *slog.Logger
	level    slog.LevelVar
	text     atomic.Bool
	priority atomic.Bool // lines begin with it
}

// New starts a log that writes lines of the given level and above to w. If that is the
// journal of systemd, each line begins with its priority. The caller must call Close,
// which doesn't close w.
func New(w io.Writer, format string, level slog.Level) *Log {
	l := &Log{out: &output{std: w, journal: isJournal(w)}}
	l.priority.Store(l.out.journal)
	l.SetFormatLevel(format, level)
	l.queue = newQueue(l.out, bufferSize, l.appendDropReport)
	l.thin = &thinner{report: l.reportLeftOut, groups: map[alike]*group{}}
	l.logger = slog.New(newHandler(l))
	go l.queue.run()
	return l
}

// Logger returns a slog.Logger that writes to the log. It follows
// SetFormatLevel.
func (l *Log) Logger() *slog.Logger { return l.logger }

// SetFormatLevel sets the format and the level of later lines.
func (l *Log) SetFormatLevel(format string, level slog.Level) {
	l.text.Store(format == Text)
	l.level.Set(level)
}

// Use makes f the destination of the lines that were not written yet and of all later ones,
// and closes the file before it; nil is what New was given. If there are no lines, the file
// before stays open.
func (l *Log) Use(f *File) {
	l.priority.Store(f == nil && l.out.journal)
	l.out.use(f)
}

// Level returns the lowest level that is written.
func (l *Log) Level() slog.Level { return l.level.Level() }

// SetLevel sets the level of later lines.
func (l *Log) SetLevel(level slog.Level) { l.level.Set(level) }

// Dropped returns the number of lines dropped since New, because the buffer was
// full, a write failed, or the log was closed.
func (l *Log) Dropped() uint64 { return l.queue.droppedLines() }

// Close writes the buffered lines and ends the log. Later lines are dropped. If
// the destination blocks for five seconds, Close returns
// context.DeadlineExceeded.
func (l *Log) Close() error {
	l.thin.close()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	err := l.queue.close(ctx)
	if err == nil {
		l.out.end()
	}
	return err
}

// appendDropReport appends the line that reports dropped lines: lost since the
// last such line, and total since the start.
func (l *Log) appendDropReport(b []byte, lost, total uint64) []byte {
	return l.begin(b, time.Now(), slog.LevelWarn, "log lines lost: the log was not read fast enough").
		uint("lost", lost).
		uint("total", total).
		end()
}

// reportLeftOut writes the line about n lines that were left out.
func (l *Log) reportLeftOut(a alike, level slog.Level, n int) {
	e := l.begin(nil, time.Now(), level, "log lines left out: too many are alike").string("line", a.msg)
	if a.attr != "" {
		e = e.string(a.attr, a.value)
	}
	l.queue.add(e.uint("count", uint64(n)).end(), isImportant(level))
}
