package backend

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

func TestMaxSessions(t *testing.T) {
	s := newFixture(t, Options{MaxSessions: 3})
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
	// Checks and plain HTTP aren't counted.
	for range maxChecks {
		s.wantOpen("a check", 200, "User-Agent", "holdfast-health")
	}
	s.wantOpen("one check too many", 503, "User-Agent", "holdfast-health")
	if s.Sessions() != 3 {
		t.Errorf("with checks, %d sessions are counted", s.Sessions())
	}
	s.wantOpen("a client that pretends to be a check", 503, "User-Agent", "holdfast-health", "Holdfast-Session", "S")
	w := httptest.NewRecorder()
	s.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/page", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("plain HTTP is answered with %d", w.Code)
	}
	for _, leave := range s.leave {
		leave()
		leave()
	}
	if s.Sessions() != 0 || s.checkSlots != 0 {
		t.Errorf("%d sessions and %d checks are left", s.Sessions(), s.checkSlots)
	}
	s.wantOpen("a slot is free again", 200)
}

// A slot is held until the handler has returned and the session has left. It is
// released if the handler panics.
func TestSlots(t *testing.T) {
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
		t.Errorf("a handshake through two Handlers counts %d", during)
	}
	want("a handler without Join", 0)
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
	want("a session whose handler has returned", 1)
	leave()
	want("after it has left", 0)
	leave = b.Join(kept, func(int, string) {})
	want("a session that joins after its handler has returned", 1)
	leave()
	want("after that has left", 0)
}

func TestJoinWithoutFunctionPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Join did not panic")
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
		{"partly used", Options{MaxSessions: 8}, 3, "0.375"},
		{"full", Options{MaxSessions: 8}, 8, "1.000"},
		{"from a function", Options{MaxSessions: 8, Load: value(0.7)}, 8, "0.700"},
		{"above 1", Options{Load: value(1.5)}, 0, "1.000"},
		{"infinite", Options{Load: value(math.Inf(1))}, 0, "1.000"},
		{"below 0", Options{Load: value(-1e-9)}, 0, "0.000"},
		{"NaN", Options{Load: value(math.NaN())}, 0, ""},
	} {
		s := newFixture(t, c.o)
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
		header [5]string
		want   Session
		moved  bool
	}{
		{[5]string{}, Session{}, false},
		{[5]string{"S"}, Session{ID: "S"}, false},
		{[5]string{"S", "", "7", "a", "2"}, Session{ID: "S"}, false},
		{[5]string{"S", "drain", "1"}, Session{"S", WhyDrain, 1, "", 0}, true},
		{[5]string{"S", "drain", "1", "a", "4"}, Session{"S", WhyDrain, 1, "a", 4}, true},
		{[5]string{"S", "loss", "3", "b", "1"}, Session{"S", WhyLoss, 3, "b", 1}, true},
		{[5]string{"S", "rebalance", "2", "c", "12"}, Session{"S", WhyRebalance, 2, "c", 12}, true},
		{[5]string{"S", "other", "x", "a", "x"}, Session{"S", "other", 1, "a", 0}, true},
		{[5]string{"S", "drain", "-4", "a", "-1"}, Session{"S", WhyDrain, 1, "a", 0}, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for i, name := range []string{"Holdfast-Session", "Holdfast-Reattach", "Holdfast-Attempt", "Holdfast-From", "Holdfast-Move"} {
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
