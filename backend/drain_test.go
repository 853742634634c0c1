package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

// fixture is a Backend with simulated sessions: each leaves answerTime after it
// was closed, unless its URL has the query parameter silent.
type fixture struct {
	*Backend
	t     *testing.T
	h     http.Handler
	began time.Time

	mu     sync.Mutex
	closed []time.Duration // when sessions were closed, since began
	leave  []func()
}

// answerTime is how long a session takes to leave after it was closed.
const answerTime = 100 * time.Millisecond

func newFixture(t *testing.T, o Options) *fixture {
	o.Log = quiet
	s := &fixture{Backend: New(o), t: t, began: time.Now()}
	s.h = s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var leave func()
		leave = s.Join(r, func(code int, reason string) {
			s.mu.Lock()
			s.closed = append(s.closed, time.Since(s.began))
			s.mu.Unlock()
			if code != 1001 || reason != "server is going away" {
				t.Errorf("closed with %d %q", code, reason)
			}
			if r.URL.Query().Has("silent") {
				return
			}
			time.Sleep(answerTime)
			leave()
		})
		s.mu.Lock()
		s.leave = append(s.leave, leave)
		s.mu.Unlock()
	}))
	return s
}

func handshakeFor(target string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Connection", "keep-alive, Upgrade")
	r.Header.Set("Upgrade", "WebSocket")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// open returns the status of a handshake: 200 if it became a session.
func (s *fixture) open(target string, header ...string) int {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, handshakeFor(target, header...))
	if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		s.t.Error("refused without Retry-After")
	}
	return w.Code
}

func (s *fixture) openMany(n int, target string) {
	s.t.Helper()
	for range n {
		if code := s.open(target); code != http.StatusOK {
			s.t.Fatalf("a handshake was answered with %d", code)
		}
	}
}

func (s *fixture) health() int {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health", nil))
	return w.Code
}

// timedDrain runs a drain and returns its error and how long it took.
func (s *fixture) timedDrain(ctx context.Context) (err error, took time.Duration) {
	began := time.Now()
	err = s.Drain(ctx)
	return err, time.Since(began)
}

func (s *fixture) wantOpen(what string, code int, header ...string) {
	s.t.Helper()
	if got := s.open("/", header...); got != code {
		s.t.Errorf("%s: a handshake is answered with %d, want %d", what, got, code)
	}
}

func (s *fixture) wantHealth(what string, code int) {
	s.t.Helper()
	if got := s.health(); got != code {
		s.t.Errorf("%s: health is %d, want %d", what, got, code)
	}
}

// All phases in order: 503, the notice, evenly spread closes, the end.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, Options{Notice: 10 * time.Second, DrainTimeout: 30 * time.Second})
		s.openMany(99, "/")
		s.wantHealth("serving", 200)
		go func() {
			time.Sleep(5 * time.Second)
			s.wantHealth("in the notice", 503)
			s.wantOpen("a new session in the notice", 200)
			s.wantOpen("a moved session in the notice", 503, "Holdfast-Session", "S", "Holdfast-Reattach", "drain")
			time.Sleep(6 * time.Second)
			s.wantHealth("while closing", 503)
			s.wantOpen("while closing", 503)
		}()
		err, took := s.timedDrain(t.Context())
		if err != nil {
			t.Error(err)
		}
		// 100 sessions over 20 s minus 4 s for the answers: one every 160 ms.
		if want := 10*time.Second + 99*160*time.Millisecond + answerTime; took != want {
			t.Errorf("the drain took %v, want %v", took, want)
		}
		for i, at := range s.closed {
			if want := 10*time.Second + time.Duration(i)*160*time.Millisecond; at != want {
				t.Fatalf("session %d was closed after %v, want %v", i, at, want)
			}
		}
		if len(s.closed) != 100 || s.Sessions() != 0 || !s.Draining() {
			t.Errorf("%d closed, %d left, draining %v", len(s.closed), s.Sessions(), s.Draining())
		}
		s.wantHealth("drained", 503)
		s.wantOpen("drained", 503)
	})
}

// When a drain ends.
func TestDrainEnd(t *testing.T) {
	canceled := errors.New("canceled")
	for _, c := range []struct {
		name string
		o    Options
		do   func(s *fixture) // before the drain
		with func(s *fixture) // during the drain
		stop time.Duration    // when to cancel the context; 0 for never
		want time.Duration    // how long the drain takes
		err  error            // wrapped by the error
	}{
		{name: "no sessions and no health checks"},
		{name: "no health checks: no notice", do: func(s *fixture) { s.openMany(1, "/") }, want: answerTime},
		{name: "no sessions, but the balancer hasn't noticed", do: func(s *fixture) { s.health() }, want: 15 * time.Second},
		{name: "no sessions, and the balancer has noticed", do: func(s *fixture) { s.health() },
			with: func(s *fixture) { time.Sleep(7 * time.Second); s.health() }, want: 7 * time.Second},
		{name: "a check by a handshake counts as a health check", do: func(s *fixture) { s.open("/", "User-Agent", "holdfast-health"); s.leave[0]() },
			with: func(s *fixture) {
				time.Sleep(7 * time.Second)
				s.wantOpen("a check during the drain", 503, "User-Agent", "holdfast-health")
			}, want: 7 * time.Second},
		{name: "all sessions move away", do: func(s *fixture) { s.health(); s.openMany(10, "/") },
			with: func(s *fixture) {
				s.health()
				for _, leave := range s.leave {
					time.Sleep(time.Second)
					leave()
				}
			}, want: 10 * time.Second},
		{name: "a session doesn't answer", do: func(s *fixture) { s.openMany(1, "/?silent") }, want: 25 * time.Second, err: ErrDrainTimeout},
		{name: "canceled in the notice", do: func(s *fixture) { s.health(); s.openMany(1, "/") }, stop: time.Second, want: time.Second, err: canceled},
		{name: "canceled while closing", do: func(s *fixture) { s.openMany(2, "/") }, stop: time.Second, want: time.Second, err: canceled},
		{name: "canceled while waiting for answers", do: func(s *fixture) { s.openMany(1, "/?silent") }, stop: time.Second, want: time.Second, err: canceled},
		{name: "negative notice", o: Options{Notice: -1}, do: func(s *fixture) { s.health(); s.openMany(1, "/") },
			with: func(s *fixture) { s.health() }, want: answerTime},
		{name: "the notice is at most 3/5 of the timeout", o: Options{Notice: time.Hour, DrainTimeout: 10 * time.Second}, do: func(s *fixture) { s.health(); s.openMany(1, "/") },
			with: func(s *fixture) { s.health() }, want: 6*time.Second + answerTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFixture(t, c.o)
				if c.do != nil {
					c.do(s)
				}
				if c.with != nil {
					go func() {
						synctest.Wait() // the drain has begun
						c.with(s)
					}()
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.stop > 0 {
					time.AfterFunc(c.stop, func() { cancel(canceled) })
				}
				err, took := s.timedDrain(ctx)
				if took != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Errorf("took %v with %v, want %v with %v", took, err, c.want, c.err)
				}
				s.wantOpen("after the drain", 503)
				time.Sleep(time.Minute) // for the closes in progress
			})
		})
	}
}

// A session that ends by itself isn't closed, and one that joins late is closed at
// once.
func TestJoinAndLeaveInDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, Options{Notice: -1, DrainTimeout: 10 * time.Second})
		s.openMany(4, "/?silent")
		go s.Drain(t.Context())
		synctest.Wait()
		for _, leave := range s.leave[1:] {
			leave()
			leave()
		}
		if n := s.Sessions(); n != 1 {
			t.Errorf("%d sessions are left, want 1", n)
		}
		closed := make(chan struct{})
		leave := s.Join(httptest.NewRequest(http.MethodGet, "/", nil), func(int, string) { close(closed) })
		<-closed
		leave()
		for _, leave := range s.leave {
			leave()
		}
		if err := s.Drain(t.Context()); err != nil { // the same drain
			t.Error(err)
		}
		if len(s.closed) != 1 { // the first of the four, before the others left
			t.Errorf("closed at %v", s.closed)
		}
	})
}

// Canceling a second Drain doesn't affect the first.
func TestSecondDrainIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, Options{})
		s.openMany(1, "/?silent")
		go s.Drain(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		s.leave[0]()
		if err := s.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorHasNumberOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, Options{})
		s.openMany(3, "/?silent")
		const want = "backend: drain timeout exceeded with sessions left: 3"
		if err := s.Drain(t.Context()); fmt.Sprint(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}
