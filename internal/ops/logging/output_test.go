package logging

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func contents(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Lines go to a file, to another one after it was renamed, and back. None is lost.
func TestUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var std recorder
		l := New(&std, Text, slog.LevelInfo)
		file := filepath.Join(t.TempDir(), "log")
		use := func() {
			t.Helper()
			f, err := OpenFile(file)
			if err != nil {
				t.Fatal(err)
			}
			l.Use(f)
		}
		write := func(msg string) {
			l.Logger().Info(msg)
			time.Sleep(batchInterval)
			synctest.Wait()
		}
		write("one")
		use()
		write("two")
		if err := os.Rename(file, file+".1"); err != nil {
			t.Fatal(err)
		}
		use()
		use() // the one before was never written to
		write("three")
		l.Use(nil)
		write("four")
		use()
		l.Logger().Info("five")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got := []string{strings.Join(std.writes(), ""), contents(t, file+".1"), contents(t, file)}
		for i, words := range [][]string{{"one", "four"}, {"two"}, {"three", "five"}} {
			if n := strings.Count(got[i], "\n"); n != len(words) {
				t.Errorf("destination %d has %q", i, got[i])
			}
			for _, word := range words {
				if !strings.Contains(got[i], "msg="+word+"\n") {
					t.Errorf("destination %d lacks %q: %q", i, word, got[i])
				}
			}
		}
	})
}

func TestOpenFileFails(t *testing.T) {
	for _, file := range []string{t.TempDir(), filepath.Join(t.TempDir(), "no", "folder")} {
		if _, err := OpenFile(file); err == nil {
			t.Errorf("%s was opened", file)
		}
	}
}

// In the journal, each line begins with its priority, whoever writes it.
func TestPriorities(t *testing.T) {
	for _, format := range []string{Text, JSON} {
		var out bytes.Buffer
		l := New(&out, format, slog.LevelDebug)
		l.out.journal = true
		l.Use(nil)
		log := l.Logger().With("k", "v")
		log.Debug("m")
		log.Info("m")
		log.Warn("m")
		log.Error("m")
		l.SessionClosed(&sampleSum, sampleNames)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			got = append(got, line[:3])
			if first := line[3]; first != '{' && first != 't' {
				t.Errorf("a line is %q", line)
			}
		}
		if all := strings.Join(got, ""); all != "<7><6><4><3><6>" {
			t.Errorf("%s: the priorities are %s", format, all)
		}
	}
}

// Of a flood of sessions, lines are left out and counted, but not those with a rare cause.
func TestFloodOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out recorder
		l := New(&out, Text, slog.LevelInfo)
		rare := sampleSum
		rare.Cause++
		const flood = 12_000
		for i := range flood {
			l.SessionOpened(&sampleSum.Info, sampleNames, Opened{})
			l.SessionClosed(&sampleSum, sampleNames)
			if i%100 == 0 {
				synctest.Wait() // until it is written
			}
		}
		l.SessionClosed(&rare, sampleNames)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		all := strings.Join(out.writes(), "")
		for _, line := range []string{openLine, closedLine} {
			n := strings.Count(all, `msg="`+line+`"`)
			if line == closedLine {
				n--
			}
			if n < 10_000 || n >= flood {
				t.Errorf("%d lines %q", n, line)
			}
		}
		if !strings.Contains(all, "cause="+rare.Cause.String()+"\n") {
			t.Error("the one with a rare cause was left out")
		}
		for _, left := range []string{`line="session open" count=`, `line="session closed" cause=` + sampleSum.Cause.String() + ` count=`} {
			if !strings.Contains(all, left) {
				t.Errorf("what is left out is not reported: no %q", left)
			}
		}
	})
}
