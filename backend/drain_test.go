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

// bench is a Backend with sessions that are no connections: each leaves some
// time after it was told to.
type bench struct {
	*Backend
	t     *testing.T
	h     http.Handler
	began time.Time

	mu     sync.Mutex
	closed []time.Duration // when, counted from began, in order
	leave  []func()
}

// answerTime is how long a session takes to leave.
const answerTime = 100 * time.Millisecond

func newBench(t *testing.T, o Options) *bench {
	o.Log = quiet
	s := &bench{Backend: New(o), t: t, began: time.Now()}
	s.h = s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var leave func()
		leave = s.Join(r, func(code int, reason string) {
			s.mu.Lock()
			s.closed = append(s.closed, time.Since(s.began))
			s.mu.Unlock()
			if code != 1001 || reason != "server is going away" {
				t.Errorf("closed with %d %q", code, reason)
			}
			if r.URL.Query().Has("deaf") {
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

// open returns the status of a handshake, 200 where it became a session.
func (s *bench) open(target string, header ...string) int {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, handshakeFor(target, header...))
	if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
		s.t.Error("refused without Retry-After")
	}
	return w.Code
}

func (s *bench) openMany(n int, target string) {
	s.t.Helper()
	for range n {
		if code := s.open(target); code != http.StatusOK {
			s.t.Fatalf("a handshake was answered with %d", code)
		}
	}
}

func (s *bench) health() int {
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health", nil))
	return w.Code
}

// drains runs a drain and returns its error and how long it took.
func (s *bench) drains(ctx context.Context) (err error, took time.Duration) {
	began := time.Now()
	err = s.Drain(ctx)
	return err, time.Since(began)
}

func (s *bench) wantOpen(what string, code int, header ...string) {
	s.t.Helper()
	if got := s.open("/", header...); got != code {
		s.t.Errorf("%s: a handshake is answered with %d, want %d", what, got, code)
	}
}

func (s *bench) wantHealth(what string, code int) {
	s.t.Helper()
	if got := s.health(); got != code {
		s.t.Errorf("%s: health is %d, want %d", what, got, code)
	}
}

// The whole order: 503, the notice, closes evenly spread, the end.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, Options{Notice: 10 * time.Second, DrainTimeout: 30 * time.Second})
		s.openMany(99, "/")
		s.wantHealth("serving", 200)
		go func() {
			time.Sleep(5 * time.Second)
			s.wantHealth("in the notice", 503)
			s.wantOpen("a new one in the notice", 200)
			s.wantOpen("a moved one in the notice", 503, "Holdfast-Session", "S", "Holdfast-Reattach", "drain")
			time.Sleep(6 * time.Second)
			s.wantHealth("while closing", 503)
			s.wantOpen("while closing", 503)
		}()
		err, took := s.drains(t.Context())
		if err != nil {
			t.Error(err)
		}
		// 100 sessions over 20 s but for the rest of 4 s: one each 160 ms.
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

// What decides when a drain is over.
func TestDrainEnd(t *testing.T) {
	never := errors.New("given up")
	for _, c := range []struct {
		name string
		o    Options
		do   func(s *bench) // before the drain
		with func(s *bench) // beside the drain
		stop time.Duration  // the context's end; 0 for never
		want time.Duration  // how long it takes
		err  error          // that is wrapped
	}{
		{name: "nobody is here, nobody asks"},
		{name: "nobody asks for health: no notice", do: func(s *bench) { s.openMany(1, "/") }, want: answerTime},
		{name: "nobody is here, but a balancer may send somebody", do: func(s *bench) { s.health() }, want: 15 * time.Second},
		{name: "nobody is here, and the balancer knows", do: func(s *bench) { s.health() },
			with: func(s *bench) { time.Sleep(7 * time.Second); s.health() }, want: 7 * time.Second},
		{name: "a check by a handshake is a check", do: func(s *bench) { s.open("/", "User-Agent", "holdfast-health"); s.leave[0]() },
			with: func(s *bench) {
				time.Sleep(7 * time.Second)
				s.wantOpen("a check in a drain", 503, "User-Agent", "holdfast-health")
			}, want: 7 * time.Second},
		{name: "all were moved away", do: func(s *bench) { s.health(); s.openMany(10, "/") },
			with: func(s *bench) {
				s.health()
				for _, leave := range s.leave {
					time.Sleep(time.Second)
					leave()
				}
			}, want: 10 * time.Second},
		{name: "one doesn't answer", do: func(s *bench) { s.openMany(1, "/?deaf") }, want: 25 * time.Second, err: ErrDrainTimeout},
		{name: "given up in the notice", do: func(s *bench) { s.health(); s.openMany(1, "/") }, stop: time.Second, want: time.Second, err: never},
		{name: "given up while closing", do: func(s *bench) { s.openMany(2, "/") }, stop: time.Second, want: time.Second, err: never},
		{name: "given up at the rest", do: func(s *bench) { s.openMany(1, "/?deaf") }, stop: time.Second, want: time.Second, err: never},
		{name: "no notice wanted", o: Options{Notice: -1}, do: func(s *bench) { s.health(); s.openMany(1, "/") },
			with: func(s *bench) { s.health() }, want: answerTime},
		{name: "the notice is at most three fifths", o: Options{Notice: time.Hour, DrainTimeout: 10 * time.Second}, do: func(s *bench) { s.health(); s.openMany(1, "/") },
			with: func(s *bench) { s.health() }, want: 6*time.Second + answerTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBench(t, c.o)
				if c.do != nil {
					c.do(s)
				}
				if c.with != nil {
					go c.with(s)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.stop > 0 {
					time.AfterFunc(c.stop, func() { cancel(never) })
				}
				err, took := s.drains(ctx)
				if took != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Errorf("took %v with %v, want %v with %v", took, err, c.want, c.err)
				}
				s.wantOpen("after the drain", 503)
				time.Sleep(time.Minute) // what closes are under way
			})
		})
	}
}

// A session that ends by itself isn't closed, and one that comes late is
// closed at once.
func TestJoinAndLeaveInDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, Options{Notice: -1, DrainTimeout: 10 * time.Second})
		s.openMany(4, "/?deaf")
		go s.Drain(t.Context())
		synctest.Wait()
		for _, leave := range s.leave[1:] {
			leave()
			leave()
		}
		if n := s.Sessions(); n != 1 {
			t.Errorf("%d sessions are left, want 1", n)
		}
		told := make(chan struct{})
		leave := s.Join(httptest.NewRequest(http.MethodGet, "/", nil), func(int, string) { close(told) })
		<-told
		leave()
		for _, leave := range s.leave {
			leave()
		}
		if err := s.Drain(t.Context()); err != nil { // the same drain
			t.Error(err)
		}
		if len(s.closed) != 1 { // the first of the four, before the others left
			t.Errorf("told at %v", s.closed)
		}
	})
}

// A second Drain may be given up while the first goes on.
func TestSecondDrainGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, Options{})
		s.openMany(1, "/?deaf")
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

func TestErrorsSayHowMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, Options{})
		s.openMany(3, "/?deaf")
		const want = "backend: the drain's time is over with sessions left: 3"
		if err := s.Drain(t.Context()); fmt.Sprint(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}
