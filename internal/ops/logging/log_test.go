package logging

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorder keeps the data of each Write.
type recorder struct {
	stuck chan struct{} // unless nil, Write waits until it is closed
	mu    sync.Mutex
	got   []string
	err   error
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.stuck != nil {
		<-r.stuck
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	r.got = append(r.got, string(p))
	return len(p), nil
}

func (r *recorder) writes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

func (r *recorder) setError(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func TestLinesAreWrittenAtOnceAndThenInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out recorder
		l := New(&out, Text, slog.LevelInfo)
		defer l.Close()
		expect := func(when string, writes int) {
			t.Helper()
			synctest.Wait()
			if got := out.writes(); len(got) != writes {
				t.Fatalf("%s: %d writes, want %d: %q", when, len(got), writes, got)
			}
		}
		l.Logger().Info("one")
		expect("after a pause", 1)
		l.Logger().Info("two")
		l.Logger().Info("three")
		expect("right after the first", 1)
		time.Sleep(batchInterval - time.Millisecond)
		expect("shortly before the interval is over", 1)
		time.Sleep(time.Millisecond)
		expect("after the interval", 2)
		if batch := out.writes()[1]; strings.Count(batch, "\n") != 2 {
			t.Errorf("the second batch is %q, want two lines", batch)
		}
		time.Sleep(time.Hour)
		expect("idle", 2)
		l.Logger().Info("four")
		expect("after an hour", 3)
		l.Logger().Info(strings.Repeat("x", batchSize))
		expect("a full batch", 4)
	})
}

// TestNothingWaitsForTheReader deadlocks or times out if logging
// waits for a pipe that nobody reads.
func TestNothingWaitsForTheReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l := New(w, JSON, slog.LevelInfo)
	const lines = 9_000 // fewer than are left out
	for range lines {
		l.SessionClosed(&sampleSum, sampleNames)
	}
	dropped := l.Dropped()
	if dropped == 0 || dropped >= lines {
		t.Errorf("%d of %d lines dropped, want some", dropped, lines)
	}
	all := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		all <- b
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got := <-all
	r.Close()
	// Usually one line says how many, but the writer may begin after the first loss.
	sum := 0
	for _, m := range regexp.MustCompile(`"lost":(\d+),"total":(\d+)}`).FindAllSubmatch(got, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		sum += n
		if total := string(m[2]); total != strconv.Itoa(sum) {
			t.Errorf("%d lines were reported as lost, and the total is %s", sum, total)
		}
	}
	if sum != int(dropped) {
		t.Errorf("%d lines are reported as lost, and %d are", sum, dropped)
	}
	if kept := bytes.Count(got, []byte("session closed")); kept+int(dropped) != lines {
		t.Errorf("%d lines kept and %d dropped are not %d", kept, dropped, lines)
	}
}

func TestWarningsAreDroppedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := recorder{stuck: make(chan struct{})}
		l := New(&out, JSON, slog.LevelInfo)
		l.Logger().Info("the one that is stuck")
		synctest.Wait()
		// Info lines fill their part of the queue, then warnings fill all of it.
		for range 10_000 {
			l.SessionClosed(&sampleSum, sampleNames)
		}
		infos := l.Dropped()
		pad := strings.Repeat("w", 900)
		warnings := 0
		for ; l.Dropped() < 10_000; warnings++ {
			l.Logger().Warn("warning", "pad", pad)
		}
		// All info lines were dropped, and the warning that needed their space was kept.
		if size := len(l.queue.pending); infos == 10_000 || size > bufferSize || size < bufferSize/4 {
			t.Errorf("%d info lines were dropped, and %d bytes are buffered", infos, size)
		}
		for l.Dropped() == 10_000 {
			l.Logger().Warn("warning", "pad", pad)
			warnings++
		}
		warnings-- // the last was dropped
		if len(l.queue.pending) < bufferSize*99/100 {
			t.Errorf("a warning was dropped with %d of %d bytes in use", len(l.queue.pending), bufferSize)
		}
		close(out.stuck)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(out.writes(), "")
		if n := strings.Count(got, `"msg":"warning"`); n != warnings {
			t.Errorf("%d warnings written, want %d", n, warnings)
		}
		if !strings.Contains(got, `"level":"WARN","msg":"log lines lost: the log was not read fast enough","lost":10001,"total":10001}`) {
			t.Error("no line reports the 10,001 dropped lines")
		}
	})
}

func TestFailedWritesAreCountedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out recorder
		out.setError(errors.New("disk full"))
		l := New(&out, JSON, slog.LevelInfo)
		l.Logger().Info("one")
		synctest.Wait()
		if n := l.Dropped(); n != 1 {
			t.Fatalf("%d lines dropped, want 1", n)
		}
		l.Logger().Info("two")
		time.Sleep(batchInterval)
		synctest.Wait()
		out.setError(nil)
		l.Logger().Info("three")
		l.Close()
		got := strings.Join(out.writes(), "")
		if !strings.Contains(got, `"msg":"three"`) || !strings.Contains(got, `"lost":2,"total":2}`) {
			t.Errorf("got %s, want the third line and a report of two dropped lines", got)
		}
		l.Logger().Info("four")
		if n := l.Dropped(); n != 3 {
			t.Errorf("%d lines dropped after Close, want 3", n)
		}
	})
}

func TestCloseDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := recorder{stuck: make(chan struct{})}
		l := New(&out, JSON, slog.LevelInfo)
		l.Logger().Info("stuck")
		began := time.Now()
		if err := l.Close(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != closeWait {
			t.Errorf("Close returned %v after %v", err, time.Since(began))
		}
		close(out.stuck)
		if err := l.Close(); err != nil {
			t.Errorf("a second Close returned %v", err)
		}
	})
}

func TestLoggersFollowFormatAndLevel(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, JSON, slog.LevelInfo)
	derived := l.Logger().With("part", "dial").WithGroup("at")
	derived.Debug("no")
	derived.Info("one", "x", 1)
	l.SetFormatLevel(Text, slog.LevelDebug)
	derived.Debug("two", "x", 2)
	derived.Error("three", "x", 3)
	l.SetFormatLevel(JSON, slog.LevelError)
	derived.Warn("no")
	l.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`"level":"INFO","msg":"one","part":"dial","at":{"x":1}}`,
		` level=DEBUG msg=two part=dial at.x=2`,
		` level=ERROR msg=three part=dial at.x=3`,
	}
	if len(lines) != len(want) {
		t.Fatalf("got %q, want %d lines", lines, len(want))
	}
	for i := range want {
		if !strings.HasSuffix(lines[i], want[i]) {
			t.Errorf("line %d is %s, want ...%s", i, lines[i], want[i])
		}
	}
}
