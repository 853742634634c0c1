package testkit

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a test that can fail without failing the real one.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

// failure returns the message that f fails with, or "".
func failure(t *testing.T, f func(t testing.TB)) (message string) {
	ft := &failing{TB: t}
	defer func() {
		if r := recover(); r != nil && r != any(ft) {
			panic(r)
		}
		message = ft.message
	}()
	f(ft)
	return ""
}

func TestEventually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		if m := failure(t, func(t testing.TB) {
			Eventually(t, "three calls", func() bool { calls++; return calls == 3 })
		}); m != "" || calls != 3 {
			t.Errorf("%d calls, failure %q", calls, m)
		}
		began := time.Now()
		m := failure(t, func(t testing.TB) { Eventually(t, "pigs fly", func() bool { return false }) })
		if took := time.Since(began); !strings.Contains(m, "pigs fly") || took < Patience || took > Patience+time.Second {
			t.Errorf("failed with %q after %v", m, took)
		}
		// A condition that holds only at the end isn't missed.
		began = time.Now()
		EventuallyWithin(t, time.Second, "the end", func() bool { return time.Since(began) >= time.Second })
	})
}

func TestReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := make(chan int, 1)
		c <- 7
		if got := Receive(t, "a number", c); got != 7 {
			t.Errorf("got %d", got)
		}
		if m := failure(t, func(t testing.TB) { Receive(t, "a number", c) }); !strings.Contains(m, "a number") {
			t.Errorf("failed with %q", m)
		}
	})
}

func TestLog(t *testing.T) {
	var l Log
	io.WriteString(&l, "one\ntwo\nthr")
	if got := l.Lines(0); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("lines are %q", got)
	}
	if got := l.String(); got != "one\ntwo\nthr" || !l.Contains("thr") || l.Position() != 2 {
		t.Errorf("the log is %q, position %d", got, l.Position())
	}
	io.WriteString(&l, "ee\n\nfour")
	l.Close()
	if got := l.Lines(2); !slices.Equal(got, []string{"three", "", "four"}) {
		t.Errorf("lines are %q", got)
	}
	if n := l.Count("o"); n != 3 {
		t.Errorf("%d lines have an o, want 3", n)
	}
	if got := l.Take(); got != "one\ntwo\nthree\n\nfour\n" || l.String() != "" || l.Position() != 0 {
		t.Errorf("took %q, and %q is left", got, l.String())
	}
}

func TestLogFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Log
		is := func(want string) func(string) bool { return func(line string) bool { return line == want } }
		r, w := io.Pipe()
		var reading sync.WaitGroup
		reading.Go(func() { l.ReadFrom(r) })
		reading.Go(func() {
			for _, line := range []string{"a", "b", "a"} {
				time.Sleep(time.Minute)
				fmt.Fprintln(w, line)
			}
		})
		began := time.Now()
		for _, want := range []struct {
			line  string
			from  int
			after time.Duration
		}{{"b", 0, 2 * time.Minute}, {"a", 0, 2 * time.Minute}, {"a", 1, 3 * time.Minute}} {
			l.Find(t, want.line, want.from, is(want.line))
			if took := time.Since(began); took != want.after {
				t.Errorf("found %q from %d on after %v, want %v", want.line, want.from, took, want.after)
			}
		}
		if m := failure(t, func(t testing.TB) { l.Find(t, "a c", 0, is("c")) }); m != "no a c within "+Patience.String() {
			t.Errorf("failed with %q", m)
		}
		w.Close()
		reading.Wait()
		if m := failure(t, func(t testing.TB) { l.Find(t, "a c", 9, is("c")) }); m != "the output ended without a c" {
			t.Errorf("failed with %q", m)
		}
	})
}

func TestLogOfManyWriters(t *testing.T) {
	var l Log
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for j := range 100 {
				fmt.Fprintf(&l, "%d %d\n", i, j)
			}
		})
	}
	for i := range 8 {
		l.Find(t, "the last line of a writer", 0, func(line string) bool { return line == fmt.Sprint(i, " 99") })
	}
	writers.Wait()
	if n := l.Position(); n != 800 {
		t.Errorf("%d lines, want 800", n)
	}
}

func TestLogger(t *testing.T) {
	var l Log
	l.Logger("level", "msg").Warn("on fire", "where", "here")
	l.Logger("level", "msg").Debug("not of interest")
	l.Logger("where").Error("on fire", "where", "here")
	if got := l.Take(); got != "level=WARN msg=\"on fire\"\nwhere=here\n" {
		t.Errorf("logged %q", got)
	}
	l.Logger().Debug("all", "where", "here")
	if !l.Contains(`level=DEBUG msg=all where=here`) || !l.Contains("time=") {
		t.Errorf("logged %q", l.String())
	}
}

func TestEachEngine(t *testing.T) {
	var ran []string
	EachEngine(t, func(t *testing.T, engine string) { ran = append(ran, engine) })
	if !slices.Equal(ran, Engines()) || !slices.Contains(ran, "portable") {
		t.Errorf("ran %q of %q", ran, Engines())
	}
}
