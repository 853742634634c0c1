package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// moody is a backend that declines everything with a status while that isn't 0, and
// otherwise answers and accepts.
type moody struct {
	name, address   string
	status          atomic.Int32
	asked, accepted atomic.Int32
}

func newMoody(t *testing.T, name string) *moody {
	m := &moody{name: name}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked.Add(1)
		if status := m.status.Load(); status != 0 {
			w.WriteHeader(int(status))
			fmt.Fprintf(w, "%s declines", name)
			return
		}
		m.accepted.Add(1)
		if r.Header.Get("Upgrade") == "" {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s accepts %s", name, body)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err == nil {
			c.Read(r.Context())
			c.CloseNow()
		}
	}))
	t.Cleanup(s.Close)
	m.address = strings.TrimPrefix(s.URL, "http://")
	return m
}

// TestRetryOn: answers with a listed status are passed over as long as there is another
// backend, for requests that may be repeated.
func TestRetryOn(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, b, c, d := newMoody(t, "a"), newMoody(t, "b"), newMoody(t, "c"), newMoody(t, "d")
		nobody := "unix:" + filepath.Join(t.TempDir(), "nobody.sock")
		r := start(t, pools(engine, fmt.Sprintf(`
routes:
  - {match: {path: /two}, pool: two}
  - {match: {path: /four}, pool: four}
  - {match: {path: /gone}, pool: gone}
pools:
  two: {balance: round_robin, retry_on: [429, 502-504], health: {max_fails: 0}, backends: [{address: "%[1]s"}, {address: "%[2]s"}]}
  four: {balance: round_robin, retry_on: 503, backends: [{address: "%[1]s"}, {address: "%[2]s"}, {address: "%[3]s"}, {address: "%[4]s"}]}
  gone: {balance: first, retry_on: 503, health: {max_fails: 0}, backends: [{address: "%[1]s"}, {address: "%[5]s"}]}
`, a.address, b.address, c.address, d.address, nobody)))
		address := r.Addresses()[0]
		answer := func(what string, status int, body string, line string, fields ...string) {
			t.Helper()
			resp, got := ask(t, address, line, fields...)
			if resp.StatusCode != status || body != "*" && got != body {
				t.Errorf("%s: %d %q, want %d %q", what, resp.StatusCode, got, status, body)
			}
		}
		askedOf := func(what string, f func(), of ...*moody) {
			t.Helper()
			n := int32(0)
			for _, m := range of {
				n -= m.asked.Load()
			}
			f()
			for _, m := range of {
				n += m.asked.Load()
			}
			if want := min(int32(len(of)), 3); n != want {
				t.Errorf("%s: %d backends were asked, want %d", what, n, want)
			}
		}

		a.status.Store(503)
		for range 4 { // both are the first in turn
			answer("one declines", 200, "b accepts ", "GET h/two")
			answer("one declines a handshake", 101, "", "GET h/two", upgrading...)
		}
		if n := a.asked.Load(); n != 4 {
			t.Errorf("the backend that declines was asked %d times, want 4", n)
		}
		b.status.Store(504)
		askedOf("all decline", func() {
			resp, body := ask(t, address, "GET h/two")
			if !(resp.StatusCode == 503 && body == "a declines") && !(resp.StatusCode == 504 && body == "b declines") {
				t.Errorf("all decline: %d %q", resp.StatusCode, body)
			}
		}, a, b)
		askedOf("all decline a handshake", func() {
			resp, body := ask(t, address, "GET h/two", upgrading...)
			if !(resp.StatusCode == 503 && body == "a declines") && !(resp.StatusCode == 504 && body == "b declines") {
				t.Errorf("all decline a handshake: %d %q", resp.StatusCode, body)
			}
		}, a, b)
		for _, m := range []*moody{a, b, c, d} {
			m.status.Store(503)
		}
		askedOf("three at most", func() { answer("three at most", 503, "*", "GET h/four") }, a, b, c, d)
		askedOf("three at most for a handshake", func() { answer("three at most", 503, "*", "GET h/four", upgrading...) }, a, b, c, d)

		a.status.Store(500)
		b.status.Store(500)
		before := a.asked.Load() + b.asked.Load()
		answer("a status that isn't listed", 500, "*", "GET h/two")
		answer("a status that isn't listed, to a handshake", 500, "*", "GET h/two", upgrading...)
		a.status.Store(503)
		b.status.Store(503)
		answer("a POST", 503, "*", "POST h/two", "Content-Length: 0")
		answer("a DELETE", 503, "*", "DELETE h/two")
		if n := a.asked.Load() + b.asked.Load() - before; n != 4 {
			t.Errorf("4 requests that may not be repeated were asked %d times", n)
		}
		answer("the other one is gone", 502, "*", "GET h/gone")
		answer("the other one is gone, to a handshake", 502, "*", "GET h/gone", upgrading...)

		a.status.Store(0)
		b.status.Store(0)
		answer("a body", 200, "*", "POST h/two", "Content-Length: 0")
		testkit.Eventually(t, "no lease is left", func() bool {
			for _, p := range r.status().Pools {
				for _, backend := range p.Backends {
					if backend.Sessions+backend.Requests != 0 {
						return false
					}
				}
			}
			return true
		})
		testkit.Eventually(t, "the log tells it", func() bool {
			return strings.Contains(r.log.String(), "a backend's answer to a handshake is passed over")
		})
	})
}
