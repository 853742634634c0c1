// Package env is what every command of the command line gets: where to read and write,
// and how to say what went wrong.
package env

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Env is the environment of a command.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Ctx      context.Context // ends with the process
}

// Warn writes one line to Err.
func (e *Env) Warn(what any) { fmt.Fprintf(e.Err, "%v (warning)\n", what) }

// Interactive reports whether somebody reads questions and can answer them.
func (e *Env) Interactive() bool { return IsTerminal(e.In) && IsTerminal(e.Err) }

// Width is that of the terminal that Out is, in columns; 0 if it is none.
func (e *Env) Width() int {
	f, ok := e.Out.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// IsTerminal reports whether rw, a reader or a writer, is a terminal.
func IsTerminal(rw any) bool {
	f, ok := rw.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// UsageError is an error in the arguments: the exit status is 2.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// Usage returns a UsageError.
func Usage(format string, args ...any) error { return UsageError(fmt.Sprintf(format, args...)) }

// Count is a number of things in words, such as "1 session" or "5 sessions".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
