package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var sampleStatus = Status{
	Version: "1.2.3", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Generation: 4, ConfigFile: "holdfast.yaml",
	Listeners: []api.Listener{{Name: "public", Address: "[::]:8080"}},
	Pools: []api.Pool{{Name: "chat", Balance: "least_conn",
		Backends: []api.Backend{{Name: "ws1", Address: "10.0.0.1:3000", State: "up", Weight: 2, Sessions: 17}}}},
	Totals: api.Totals{Active: 17, Opened: 40, FromClient: api.Traffic{Messages: 1, Bytes: 2}, FromBackend: api.Traffic{Messages: 3, Bytes: 4}},
}

var sampleSession = Session{ID: "0123456789ABCDEFGHIJ", Client: "192.0.2.1:5", Route: "r<1>", Pool: "chat", Backend: "ws1",
	Age: 1.5, FromClient: api.Traffic{Messages: 1, Bytes: 2}, FromBackend: api.Traffic{Messages: 3, Bytes: 4}}

// balancer provides the options of a server.
type balancer struct {
	draining  atomic.Bool
	reloads   atomic.Int64
	limit     atomic.Int64
	warnings  []string
	reloadErr error
}

func (b *balancer) server() *Server {
	return New(Options{
		Host:     "admin.example.com",
		Draining: b.draining.Load,
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") }),
		Reload: func(context.Context) ([]string, error) {
			b.reloads.Add(1)
			return b.warnings, b.reloadErr
		},
		Status: func() Status { return sampleStatus },
		Sessions: func(after string, limit int, claim *Claim) ([]Session, string, error) {
			b.limit.Store(int64(limit))
			switch after {
			case "":
				return []Session{sampleSession}, "", nil
			case "7":
				return nil, "8+8", nil
			}
			return nil, "", fmt.Errorf("after %q is invalid", after)
		},
		Log: slog.New(slog.DiscardHandler),
	})
}

// ask sends the request line "METHOD target" with headers as pairs.
func (b *balancer) ask(line string, headers ...string) *httptest.ResponseRecorder {
	method, target, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:9900"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	answer := httptest.NewRecorder()
	b.server().http.Handler.ServeHTTP(answer, r)
	return answer
}

func TestHealth(t *testing.T) {
	b := new(balancer)
	if got := b.ask("GET /health", "Host", "whatever"); got.Code != 200 || got.Body.String() != "ok\n" {
		t.Errorf("%d %q", got.Code, got.Body)
	}
	b.draining.Store(true)
	if got := b.ask("GET /health"); got.Code != 503 || got.Body.String() != "shutting down\n" {
		t.Errorf("%d %q while draining", got.Code, got.Body)
	}
}

func TestReload(t *testing.T) {
	tests := []struct {
		warnings []string
		err      error
		status   int
		body     string
	}{
		{nil, nil, 200, `{"ok":true}`},
		{[]string{"a <b>", "c"}, nil, 200, `{"ok":true,"warnings":["a <b>","c"]}`},
		{nil, errors.New("holdfast.yaml:7:5: one\nholdfast.yaml:8:1: two\n"), 422,
			`{"ok":false,"errors":["holdfast.yaml:7:5: one","holdfast.yaml:8:1: two"]}`},
	}
	for _, test := range tests {
		b := &balancer{warnings: test.warnings, reloadErr: test.err}
		got := b.ask("POST /reload")
		var compact strings.Builder
		var value any
		if err := json.Unmarshal(got.Body.Bytes(), &value); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(got.Body.String(), "\n") {
			compact.WriteString(strings.Replace(strings.TrimSpace(line), `": `, `":`, 1))
		}
		if got.Code != test.status || compact.String() != test.body || got.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%d %s, want %d %s", got.Code, compact.String(), test.status, test.body)
		}
	}
}

func TestSessionsLimit(t *testing.T) {
	b := new(balancer)
	for query, want := range map[string]int64{"": api.DefaultSessions, "?limit=": api.DefaultSessions, "?limit=1": 1, "?limit=10000": api.MaxSessions} {
		if got := b.ask("GET /sessions" + query); got.Code != 200 || b.limit.Load() != want {
			t.Errorf("%q: %d with limit %d, want %d", query, got.Code, b.limit.Load(), want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=-1", "?limit=10001", "?limit=x", "?limit=99999999999999999999"} {
		if got := b.ask("GET /sessions" + query); got.Code != 400 || !strings.Contains(got.Body.String(), "from 1 to 10000") {
			t.Errorf("%q: %d %q", query, got.Code, got.Body)
		}
	}
}

func TestWebPagesAreRejected(t *testing.T) {
	tests := []struct {
		line    string
		headers []string
		status  int
	}{
		{"POST /reload", nil, 200},
		{"GET /reload", nil, 405},
		{"POST /reload", []string{"Origin", "https://evil.example"}, 403},
		{"POST /reload", []string{"Origin", "null"}, 403},
		{"POST /reload", []string{"Origin", "http://127.0.0.1:9900"}, 403},
		{"POST /reload", []string{"Sec-Fetch-Site", "same-origin"}, 403},
		{"POST /reload", []string{"Sec-Fetch-Site", "none"}, 403},
		{"POST /reload", []string{"Host", "evil.example:9900"}, 403},
		{"DELETE /sessions", []string{"Origin", "https://evil.example"}, 403},
		{"GET /status", []string{"Host", "evil.example"}, 403},
		{"GET /sessions", []string{"Host", "127.0.0.1.evil.example:9900"}, 403},
		{"GET /status", []string{"Host", "localhost.evil.example"}, 403},
		{"GET /status", []string{"Host", ""}, 403},
		{"GET /status", []string{"Host", ":9900"}, 403},
		{"GET /status", []string{"Host", "localhost"}, 200},
		{"GET /status", []string{"Host", "LocalHost.:9900"}, 200},
		{"GET /status", []string{"Host", "[::1]:9900"}, 200},
		{"GET /status", []string{"Host", "[::1]"}, 200},
		{"GET /status", []string{"Host", "10.1.2.3"}, 200},
		{"GET /status", []string{"Host", "Admin.example.com:9900"}, 200},
		{"GET /status", []string{"Sec-Fetch-Site", "none"}, 200}, // typed by the operator
		{"GET /metrics", []string{"Host", "monitor.internal"}, 200},
		{"POST /metrics", nil, 404},
		{"GET /", nil, 404},
		{"GET /debug/pprof/", nil, 404},
	}
	for _, test := range tests {
		b := new(balancer)
		got := b.ask(test.line, test.headers...)
		if got.Code != test.status {
			t.Errorf("%s %q: %d %q, want %d", test.line, test.headers, got.Code, got.Body, test.status)
		}
		if reloaded := b.reloads.Load() != 0; reloaded != (test.line == "POST /reload" && test.status == 200) {
			t.Errorf("%s %q: reloaded is %v", test.line, test.headers, reloaded)
		}
	}
}

// serve starts the server of b and returns its address.
func serve(t *testing.T, b *balancer) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := b.server()
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func TestClient(t *testing.T) {
	ctx := context.Background()
	b := &balancer{warnings: []string{"ws2.internal does not resolve"}}
	c := Client{Address: serve(t, b)}
	if warnings, err := c.Reload(ctx); err != nil || !reflect.DeepEqual(warnings, b.warnings) {
		t.Errorf("Reload: %q, %v", warnings, err)
	}
	b.reloadErr = errors.New("f:1:1: one\nf:2:2: two")
	if _, err := c.Reload(ctx); err == nil || err.Error() != b.reloadErr.Error() {
		t.Errorf("Reload of a bad file: %v", err)
	}
	if s, err := c.Status(ctx); err != nil || !reflect.DeepEqual(s, sampleStatus) {
		t.Errorf("Status: %+v, %v", s, err)
	}
	if list, next, err := c.Sessions(ctx, "7", 5); err != nil || len(list) != 0 || next != "8+8" {
		t.Errorf("after 7 come %v and %q, %v", list, next, err)
	}
	if _, _, err := c.Sessions(ctx, "8+8", 0); err == nil || !strings.Contains(err.Error(), `after "8+8" is invalid`) {
		t.Errorf("invalid after: %v", err)
	}
	if list, next, err := c.Sessions(ctx, "", 5); err != nil || next != "" || !reflect.DeepEqual(list, []Session{sampleSession}) || b.limit.Load() != 5 {
		t.Errorf("Sessions: %+v, %v", list, err)
	}
}

func TestClientErrors(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := refused.Addr().String()
	refused.Close()
	answering := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	page, forbidden := answering(200, "<html>hello"), answering(403, "go\naway")
	tests := []struct{ address, want string }{
		{closed, "no balancer answers at " + closed + ": is it running, with admin: {address: " + closed + "} in its file or --admin " + closed + "?"},
		{page, page + " answers, but not as a balancer does: is it the admin address?"},
		{forbidden, forbidden + " refuses POST /reload with status 403: go"},
		{"9900", `admin address "9900" is not host:port, such as 127.0.0.1:9900`},
		{"a b:9900", `admin address "a b:9900" is not host:port, such as 127.0.0.1:9900`},
		{"host.invalid:9900", `admin address host.invalid:9900: the host "host.invalid" can't be resolved`},
	}
	for _, test := range tests {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		if _, err := (Client{Address: test.address}).Reload(ctx); err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.address, err, test.want)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (Client{Address: closed}).Reload(ctx); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("canceled: %v", err)
	}
}
