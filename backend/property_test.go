package backend

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// However handlers return, sessions join and leave: the count is that of the
// handshakes and sessions there are, it never passes the bound, and comes back
// to nothing.
func TestCountProperty(t *testing.T) {
	type handshake struct {
		r       *http.Request
		place   *place
		running bool
		joined  []func()
	}
	rapid.Check(t, func(t *rapid.T) {
		b := New(Options{MaxSessions: rapid.IntRange(1, 4).Draw(t, "bound"), Log: quiet})
		var all []*handshake
		// with does something with one of those for which ok holds, if any.
		with := func(t *rapid.T, ok func(*handshake) bool, do func(*handshake)) {
			var some []*handshake
			for _, h := range all {
				if ok(h) {
					some = append(some, h)
				}
			}
			if len(some) > 0 {
				do(rapid.SampledFrom(some).Draw(t, "which"))
			}
		}
		isRunning := func(h *handshake) bool { return h.running }
		hasJoined := func(h *handshake) bool { return len(h.joined) > 0 }
		end := func(h *handshake) { h.running = false; b.leavePlace(h.place) }
		leave := func(h *handshake) { h.joined[0](); h.joined[0](); h.joined = h.joined[1:] }
		t.Repeat(map[string]func(*rapid.T){
			"handshake": func(t *rapid.T) {
				full := b.Sessions() == b.maxSessions
				p, refusal := b.enter(handshakeFor("/"))
				if full != (p == nil) || full != (refusal != "") {
					t.Fatalf("with %d of %d sessions, a handshake is told %q", b.Sessions(), b.maxSessions, refusal)
				}
				if p != nil {
					all = append(all, &handshake{r: b.withPlace(handshakeFor("/"), p), place: p, running: true})
				}
			},
			"join": func(t *rapid.T) {
				with(t, isRunning, func(h *handshake) { h.joined = append(h.joined, b.Join(h.r, func(int, string) {})) })
			},
			"return": func(t *rapid.T) { with(t, isRunning, end) },
			"leave":  func(t *rapid.T) { with(t, hasJoined, leave) },
			"": func(t *rapid.T) {
				n := 0
				for _, h := range all {
					if h.running || len(h.joined) > 0 {
						n++
					}
				}
				if got := b.Sessions(); got != n || got > b.maxSessions {
					t.Fatalf("%d are counted, %d are there, of %d", got, n, b.maxSessions)
				}
			},
		})
		for _, h := range all {
			if h.running {
				end(h)
			}
			for len(h.joined) > 0 {
				leave(h)
			}
		}
		if b.Sessions() != 0 || len(b.sessions) != 0 {
			t.Fatalf("%d are counted and %d joined when all have gone", b.Sessions(), len(b.sessions))
		}
	})
}

// A drain beside clients that come and go: each session is told once at most,
// and in the end nobody is left.
func TestDrainBesideComingAndGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Notice: time.Second, DrainTimeout: 10 * time.Second, Log: quiet})
		var told atomic.Int32
		h := b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			closed := make(chan struct{})
			leave := b.Join(r, func(int, string) {
				told.Add(1)
				close(closed) // panics the second time
			})
			defer leave()
			select {
			case <-closed:
			case <-time.After(rand.N(3 * time.Second)):
			}
		}))
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				for code := http.StatusOK; code == http.StatusOK; {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, handshakeFor("/"))
					code = w.Code
				}
			})
		}
		time.Sleep(time.Second)
		b.checked() // there is a balancer
		if err := b.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		clients.Wait()
		if told.Load() == 0 || b.Sessions() != 0 {
			t.Errorf("%d were told, %d are left", told.Load(), b.Sessions())
		}
	})
}
