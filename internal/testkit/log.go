package testkit

import (
	"bytes"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Log is a destination for a log, or for the output of a process, that a test
// can read and search at any time. A position is a number of lines: a test that
// wants only what comes after some action takes the position before it.
//
// The zero value is empty and ready to use. Its methods may be called from
// several goroutines.
type Log struct {
	mu      sync.Mutex // guards the following
	lines   []string   // complete, without their line ends
	partial []byte     // of the line that isn't complete yet
	closed  bool
	changed chan struct{} // closed at the next change; nil if nobody waits
}

// Write appends to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := p
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		l.partial = append(l.partial, line...)
		if !ok {
			break
		}
		l.lines = append(l.lines, string(l.partial))
		l.partial, rest = l.partial[:0], after
	}
	l.notify()
	return len(p), nil
}

// ReadFrom appends all that r has, and then closes the log.
func (l *Log) ReadFrom(r io.Reader) (n int64, err error) {
	defer l.Close()
	return io.Copy(struct{ io.Writer }{l}, r)
}

// Close says that no more comes, so that those who wait for a line can give up.
// A line without its end counts as complete from now on. The error is nil.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.lines = append(l.lines, string(l.partial))
		l.partial = nil
	}
	l.closed = true
	l.notify()
	return nil
}

// notify wakes those who wait for a change. The caller holds mu.
func (l *Log) notify() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// String returns the whole log.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text()
}

// text is the whole log. The caller holds mu.
func (l *Log) text() string {
	var b strings.Builder
	for _, line := range l.lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	b.Write(l.partial)
	return b.String()
}

// Take returns the whole log and empties it.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text()
	l.lines, l.partial = nil, nil
	return text
}

// Position returns the number of complete lines.
func (l *Log) Position() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// Lines returns the complete lines from a position on.
func (l *Log) Lines(from int) []string {
	lines, _, _ := l.after(from)
	return lines
}

// Contains reports whether text occurs in the log.
func (l *Log) Contains(text string) bool { return strings.Contains(l.String(), text) }

// Count returns the number of complete lines that text occurs in.
func (l *Log) Count(text string) (n int) {
	for _, line := range l.Lines(0) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// after returns the complete lines from a position on, whether the log is
// closed, and a channel that is closed at the next change.
func (l *Log) after(from int) (lines []string, closed bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return slices.Clone(l.lines[min(from, len(l.lines)):]), l.closed, l.changed
}

// Find waits for a complete line, from a position on, for which ok returns
// true, and returns it. what names that line in the message of a failure: after
// Patience, or when the log is closed without such a line.
func (l *Log) Find(t testing.TB, what string, from int, ok func(line string) bool) string {
	t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	for {
		lines, closed, changed := l.after(from)
		if i := slices.IndexFunc(lines, ok); i >= 0 {
			return lines[i]
		}
		if closed {
			t.Fatalf("the output ended without %s", what)
		}
		from += len(lines)
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("no %s within %v", what, Patience)
		}
	}
}

// Logger returns a logger that writes to the log in slog's text format, with
// the attributes that have one of the keys, or all attributes if there are no
// keys. Tests that compare a log leave out the times this way.
func (l *Log) Logger(keys ...string) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelDebug}
	if len(keys) > 0 {
		o.Level = slog.LevelInfo
		o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if slices.Contains(keys, a.Key) {
				return a
			}
			return slog.Attr{}
		}
	}
	return slog.New(slog.NewTextHandler(l, o))
}
