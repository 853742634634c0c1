package backend

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

func TestSessionsAreBounded(t *testing.T) {
	s := newBench(t, Options{MaxSessions: 3})
	var wg sync.WaitGroup
	codes := make([]int, 20)
	for i := range codes {
		wg.Go(func() { codes[i] = s.open("/") })
	}
	wg.Wait()
	opened := 0
	for _, code := range codes {
		if code == http.StatusOK {
			opened++
		} else if code != http.StatusServiceUnavailable {
			t.Errorf("a handshake is answered with %d", code)
		}
	}
	if opened != 3 || s.Sessions() != 3 {
		t.Errorf("%d opened, %d counted, want 3", opened, s.Sessions())
	}
	// Checks and plain HTTP have no part in it.
	for range maxChecks {
		s.wantOpen("a check", 200, "User-Agent", "holdfast-health")
	}
	s.wantOpen("a check more than there can be", 503, "User-Agent", "holdfast-health")
	if s.Sessions() != 3 {
		t.Errorf("with checks, %d are counted", s.Sessions())
	}
	s.wantOpen("a client that says it is a check", 503, "User-Agent", "holdfast-health", "Holdfast-Session", "S")
	w := httptest.NewRecorder()
	s.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/page", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("plain HTTP is answered with %d", w.Code)
	}
	for _, leave := range s.leave {
		leave()
		leave()
	}
	if s.Sessions() != 0 || s.checks != 0 {
		t.Errorf("%d sessions and %d checks are left", s.Sessions(), s.checks)
	}
	s.wantOpen("a place is free", 200)
}

// A place is held from the handshake to the last of the handler's return and
// leave, and goes back when a handler panics.
func TestPlaces(t *testing.T) {
	b := New(Options{Log: quiet})
	during := -1
	serve := func(next http.HandlerFunc) {
		defer func() { _ = recover() }()
		b.Handler(b.Handler(next)).ServeHTTP(httptest.NewRecorder(), handshakeFor("/"))
	}
	want := func(what string, n int) {
		t.Helper()
		if b.Sessions() != n {
			t.Errorf("%s: %d sessions are counted, want %d", what, b.Sessions(), n)
		}
	}
	serve(func(http.ResponseWriter, *http.Request) { during = b.Sessions() })
	if during != 1 {
		t.Errorf("a handshake under way, through two Handlers, counts %d", during)
	}
	want("a handler that joined nothing", 0)
	serve(func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	want("a handler that panicked", 0)

	var leave func()
	var kept *http.Request
	serve(func(_ http.ResponseWriter, r *http.Request) {
		leave, kept = b.Join(r, func(int, string) {}), r
		during = b.Sessions()
	})
	if during != 1 {
		t.Errorf("a session in its handler counts %d", during)
	}
	want("a session that goes on without its handler", 1)
	leave()
	want("and ends", 0)
	leave = b.Join(kept, func(int, string) {})
	want("one that joins after its handler", 1)
	leave()
	want("and ends", 0)
}

func TestJoinNeedsAFunction(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
	}()
	New(Options{}).Join(handshakeFor("/"), nil)
}

func TestLoad(t *testing.T) {
	value := func(load float64) func() float64 { return func() float64 { return load } }
	for _, c := range []struct {
		name     string
		o        Options
		sessions int
		want     string
	}{
		{"unknown", Options{}, 5, ""},
		{"idle", Options{MaxSessions: 8}, 0, "0.000"},
		{"some", Options{MaxSessions: 8}, 3, "0.375"},
		{"full", Options{MaxSessions: 8}, 8, "1.000"},
		{"of a function", Options{MaxSessions: 8, Load: value(0.7)}, 8, "0.700"},
		{"too much", Options{Load: value(1.5)}, 0, "1.000"},
		{"infinite", Options{Load: value(math.Inf(1))}, 0, "1.000"},
		{"too little", Options{Load: value(-1e-9)}, 0, "0.000"},
		{"no number", Options{Load: value(math.NaN())}, 0, ""},
	} {
		s := newBench(t, c.o)
		s.openMany(c.sessions, "/")
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health", nil))
		if got := w.Header().Get("Holdfast-Load"); got != c.want || w.Code != http.StatusOK || w.Body.String() != "ok\n" {
			t.Errorf("%s: load %q, want %q; %d %q", c.name, got, c.want, w.Code, w.Body)
		}
	}
}

func TestHealthRequests(t *testing.T) {
	b := New(Options{HealthPath: "/ready", Log: quiet})
	h := b.Handler(http.NotFoundHandler())
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	if w := ask("HEAD", "/ready"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("HEAD is answered with %d %q %v", w.Code, w.Body, w.Header())
	}
	if w := ask("POST", "/ready"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST is answered with %d %v", w.Code, w.Header())
	}
	if w := ask("GET", "/health"); w.Code != 404 {
		t.Errorf("another path is answered with %d", w.Code)
	}
}

func TestReattach(t *testing.T) {
	for _, c := range []struct {
		header [3]string
		want   Session
		moved  bool
	}{
		{[3]string{}, Session{}, false},
		{[3]string{"S"}, Session{ID: "S"}, false},
		{[3]string{"S", "", "7"}, Session{ID: "S"}, false},
		{[3]string{"S", "drain", "1"}, Session{"S", WhyDrain, 1}, true},
		{[3]string{"S", "loss", "3"}, Session{"S", WhyLoss, 3}, true},
		{[3]string{"S", "rebalance", "2"}, Session{"S", WhyRebalance, 2}, true},
		{[3]string{"S", "whim", "x"}, Session{"S", "whim", 1}, true},
		{[3]string{"S", "drain", "-4"}, Session{"S", WhyDrain, 1}, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for i, name := range []string{"Holdfast-Session", "Holdfast-Reattach", "Holdfast-Attempt"} {
			if c.header[i] != "" {
				r.Header.Set(name, c.header[i])
			}
		}
		if got := Reattach(r); got != c.want || got.Reattached() != c.moved {
			t.Errorf("%q: %+v, want %+v", c.header, got, c.want)
		}
	}
}

func TestHandshakes(t *testing.T) {
	for _, c := range []struct {
		method, connection, upgrade string
		want                        bool
	}{
		{"GET", "Upgrade", "websocket", true},
		{"GET", "keep-alive, upgrade", "h2c, WebSocket", true},
		{"POST", "Upgrade", "websocket", false},
		{"GET", "close", "websocket", false},
		{"GET", "Upgrade", "h2c", false},
		{"GET", "Upgrades", "websocket", false},
		{"GET", "", "", false},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.Header.Set("Connection", c.connection)
		r.Header.Set("Upgrade", c.upgrade)
		if got := isHandshake(r); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestRetryAfterDiffers(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		s := retryAfter()
		if n, err := strconv.Atoi(s); err != nil || n < 5 || n > 30 {
			t.Fatalf("Retry-After: %s", s)
		}
		seen[s] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d values in 200", len(seen))
	}
}
