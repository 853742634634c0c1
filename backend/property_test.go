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

// In whatever order handlers return and sessions join and leave, Sessions counts
// the running handshakes and sessions, never exceeds the limit, and returns to 0.
func TestSessionCountProperty(t *testing.T) {
	type handshake struct {
		r       *http.Request
		slot    *slot
		running bool
		joined  []func()
	}
	rapid.Check(t, func(t *rapid.T) {
		b := New(Options{MaxSessions: rapid.IntRange(1, 4).Draw(t, "limit"), Log: quiet})
		var all []*handshake
		// with calls do with a random handshake for which ok is true, if there is one.
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
		end := func(h *handshake) { h.running = false; b.releaseSlot(h.slot) }
		leave := func(h *handshake) { h.joined[0](); h.joined[0](); h.joined = h.joined[1:] }
		t.Repeat(map[string]func(*rapid.T){
			"handshake": func(t *rapid.T) {
				full := b.Sessions() == b.maxSessions
				p, refusal := b.acquireSlot(handshakeFor("/"))
				if full != (p == nil) || full != (refusal != "") {
					t.Fatalf("with %d of %d sessions, the refusal of a handshake is %q", b.Sessions(), b.maxSessions, refusal)
				}
				if p != nil {
					all = append(all, &handshake{r: b.withSlot(handshakeFor("/"), p), slot: p, running: true})
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
					t.Fatalf("%d are counted, there are %d, the limit is %d", got, n, b.maxSessions)
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
			t.Fatalf("%d are counted and %d joined after all have left", b.Sessions(), len(b.sessions))
		}
	})
}

// A drain while clients come and go. Each session is closed at most once, and none
// is left in the end.
func TestDrainWithConcurrentClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Options{Notice: time.Second, DrainTimeout: 10 * time.Second, Log: quiet})
		var closes atomic.Int32
		h := b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			closed := make(chan struct{})
			leave := b.Join(r, func(int, string) {
				closes.Add(1)
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
		b.recordCheck() // there is a balancer
		if err := b.Drain(t.Context()); err != nil {
			t.Error(err)
		}
		clients.Wait()
		if closes.Load() == 0 || b.Sessions() != 0 {
			t.Errorf("%d were closed, %d are left", closes.Load(), b.Sessions())
		}
	})
}
