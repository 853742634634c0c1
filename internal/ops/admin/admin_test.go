package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var sampleStatus = api.Status{
	Version: "1.2.3", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Generation: 4, ConfigFile: "holdfast.yaml",
	Listeners: []api.Listener{{Name: "public", Address: "[::]:8080"}},
	Pools: []api.Pool{{Name: "chat", Balance: "least_conn", Backends: []api.Backend{
		{Name: "ws1", Address: "10.0.0.1:3000", State: "removed"},
		{Name: "ws1", Address: "10.0.0.1:3000", State: "up", Weight: 2, Sessions: 17},
		{Name: "a/b", Address: "10.0.0.2:3000", State: "up"},
	}}, {Name: "ns/svc:80"}},
	Totals: api.Totals{Active: 17, Opened: 40, FromClient: api.Traffic{Messages: 1, Bytes: 2}, FromBackend: api.Traffic{Messages: 3, Bytes: 4}},
}

var sampleSession = api.Session{ID: "0123456789ABCDEFGHIJ", Client: "192.0.2.1:5", Route: "r<1>", Pool: "chat", Backend: "ws1",
	Age: 1.5, FromClient: api.Traffic{Messages: 1, Bytes: 2}, FromBackend: api.Traffic{Messages: 3, Bytes: 4}}

// balancer notes what it is asked for.
type balancer struct {
	draining atomic.Bool
	err      error // of each method that may have one
	warnings []string
	quick    bool // streams of events end at once, and nothing is noted

	mu     sync.Mutex // guards the following
	asked  []any      // the arguments of the calls
	events []api.Event
	more   chan struct{} // closed when there are more events
}

func (b *balancer) note(args ...any) {
	if b.quick {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, args...)
}

func (b *balancer) Status() api.Status  { return sampleStatus }
func (b *balancer) Routes() []api.Route { return nil }

func (b *balancer) Sessions(_ context.Context, q api.SessionQuery) (api.SessionPage, error) {
	b.note("sessions", q)
	return api.SessionPage{}, b.err
}

func (b *balancer) Session(id string) (api.Session, error) {
	b.note("session", id)
	return sampleSession, b.err
}

func (b *balancer) CloseSessions(_ context.Context, r api.CloseRequest) (api.CloseResult, error) {
	b.note("close", r)
	return api.CloseResult{Sessions: 3}, b.err
}

func (b *balancer) AddBackend(pool string, n api.NewBackend) (api.BackendResult, error) {
	b.note("add", pool, n)
	return api.BackendResult{Warnings: b.warnings}, b.err
}

func (b *balancer) RemoveBackend(pool, backend, timeout string) (api.BackendResult, error) {
	b.note("remove", pool, backend, timeout)
	return api.BackendResult{Warnings: b.warnings}, b.err
}

func (b *balancer) PatchBackend(pool, backend string, p api.BackendPatch) (api.BackendResult, error) {
	b.note("patch", pool, backend, p)
	return api.BackendResult{Warnings: b.warnings}, b.err
}

func (b *balancer) Changes() []api.Change { return nil }

func (b *balancer) Revert(pool, backend string) ([]api.Change, error) {
	b.note("revert", pool, backend)
	return nil, b.err
}

func (b *balancer) Reload(context.Context) (api.ReloadResult, error) {
	b.note("reload")
	return api.ReloadResult{Generation: 2, Warnings: b.warnings}, b.err
}

func (b *balancer) Log() api.Log { return api.Log{Level: "info", File: "info"} }

func (b *balancer) SetLog(level string) (api.Log, error) {
	b.note("log", level)
	return api.Log{Level: level, File: "info"}, b.err
}

func (b *balancer) LastEvent() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return uint64(len(b.events))
}

// happen adds an event.
func (b *balancer) happen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, api.Event{ID: uint64(len(b.events)) + 1, Kind: api.EventBackend, Level: "info", Message: "line 1\nline 2"})
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
}

func (b *balancer) Events(ctx context.Context, after uint64, follow bool, f func(api.Event) error) error {
	for {
		b.mu.Lock()
		events := b.events[min(after, uint64(len(b.events))):]
		if b.more == nil {
			b.more = make(chan struct{})
		}
		more := b.more
		b.mu.Unlock()
		for _, e := range events {
			if err := f(e); err != nil {
				return err
			}
			after = e.ID
		}
		if len(events) > 0 {
			continue
		}
		if !follow || b.quick {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}

func (b *balancer) server() *Server { return New(b.options()) }

func (b *balancer) options() Options {
	return Options{
		Balancer: b,
		Host:     "admin.example.com",
		Draining: b.draining.Load,
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") }),
		Pages:    http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "page") }),
		Log:      slog.New(slog.DiscardHandler),
	}
}

// ask sends "METHOD target" or "METHOD target body" with headers as pairs.
func (b *balancer) ask(line string, headers ...string) *httptest.ResponseRecorder {
	method, rest, _ := strings.Cut(line, " ")
	target, body, has := strings.Cut(rest, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:9900"
	if has {
		r.Header.Set("Content-Type", "application/json")
	}
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

// request sends what net/http would have accepted.
func request(h http.Handler, method, path, query, body string) (status int, contentType string) {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.Host != "" || u.Scheme != "" || !token(method) {
		return 0, ""
	}
	u.RawQuery = query
	r := httptest.NewRequest("GET", "/", strings.NewReader(body))
	r.Method, r.URL, r.Host = method, u, "localhost"
	r.Header.Set("Content-Type", "application/json")
	got := httptest.NewRecorder()
	h.ServeHTTP(got, r)
	return got.Code, got.Header().Get("Content-Type")
}

func token(method string) bool {
	return method != "" && strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
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

// Each request reaches the balancer as one call with its arguments, or is refused with a
// status and a field, and doesn't reach it.
func TestRequests(t *testing.T) {
	weight, zero := 3, 0
	page := func(f api.SessionFilter, after string, limit int) []any {
		return []any{"sessions", api.SessionQuery{SessionFilter: f, After: after, Limit: limit}}
	}
	for _, test := range []struct {
		line   string
		status int
		field  string
		asked  []any
	}{
		{"GET /v1/status", 200, "", nil},
		{"GET /v1/status?x=1", 422, "x", nil},
		{"GET /v1/pools/chat/backends/ws1", 200, "", nil},
		{"GET /v1/pools/chat/backends/a%2Fb", 200, "", nil},
		{"GET /v1/pools/ns%2Fsvc:80/backends", 200, "", nil},
		{"GET /v1/pools/ns/svc:80/backends", 404, "", nil},
		{"GET /v1/pools/other", 404, "pool", nil},
		{"GET /v1/pools/chat/backends/other", 404, "backend", nil},
		{`POST /v1/pools/chat/backends {"address":"10.0.0.9:1","weight":3}`, 200, "", []any{"add", "chat", api.NewBackend{Address: "10.0.0.9:1", Weight: &weight}}},
		{`POST /v1/pools/chat/backends {"weight":3}`, 422, "address", nil},
		{`POST /v1/pools/chat/backends {"address":"a:1","wieght":3}`, 422, "wieght", nil},
		{`POST /v1/pools/chat/backends {"address":"a:1","Weight":3}`, 422, "Weight", nil},
		{`POST /v1/pools/chat/backends {"address":"a:1","weight":"3"}`, 422, "weight", nil},
		{`POST /v1/pools/chat/backends {"address":"a:1","weight":null}`, 422, "weight", nil},
		{`POST /v1/pools/chat/backends {"address":"a:1"} {}`, 400, "", nil},
		{`POST /v1/pools/chat/backends {"address":`, 400, "", nil},
		{`POST /v1/pools/chat/backends null`, 400, "", nil},
		{`POST /v1/pools/chat/backends []`, 400, "", nil},
		{`POST /v1/pools/chat/backends`, 415, "", nil},
		{`POST /v1/pools/chat/backends {"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "", nil},
		{`PATCH /v1/pools/chat/backends/a%2Fb {"weight":0}`, 200, "", []any{"patch", "chat", "a/b", api.BackendPatch{Weight: &zero}}},
		{`PATCH /v1/pools/chat/backends/ws1 {"admin":"off"}`, 422, "admin", nil},
		{`PATCH /v1/pools/chat/backends/ws1 {"admin":"ready","timeout":"1s"}`, 422, "timeout", nil},
		{`POST /v1/pools/chat/backends/ws1/drain`, 200, "", []any{"patch", "chat", "ws1", api.BackendPatch{Admin: "drain"}}},
		{`POST /v1/pools/chat/backends/ws1/drain {"timeout":"5s"}`, 200, "", []any{"patch", "chat", "ws1", api.BackendPatch{Admin: "drain", Timeout: "5s"}}},
		{`POST /v1/pools/chat/backends/ws1/maint {"timeout":"5s"}`, 200, "", []any{"patch", "chat", "ws1", api.BackendPatch{Admin: "maint", Timeout: "5s"}}},
		{`POST /v1/pools/chat/backends/ws1/undrain`, 200, "", []any{"patch", "chat", "ws1", api.BackendPatch{Admin: "ready"}}},
		{`POST /v1/pools/chat/backends/ws1/ready {}`, 200, "", []any{"patch", "chat", "ws1", api.BackendPatch{Admin: "ready"}}},
		{`POST /v1/pools/chat/backends/ws1/ready {"timeout":"5s"}`, 422, "timeout", nil},
		{`DELETE /v1/pools/chat/backends/ws1?timeout=5s`, 200, "", []any{"remove", "chat", "ws1", "5s"}},
		{`DELETE /v1/changes`, 200, "", []any{"revert", "", ""}},
		{`DELETE /v1/changes/chat`, 200, "", []any{"revert", "chat", ""}},
		{`DELETE /v1/changes/chat/a%2Fb`, 200, "", []any{"revert", "chat", "a/b"}},
		{`GET /v1/sessions`, 200, "", page(api.SessionFilter{}, "", api.DefaultSessions)},
		{`GET /v1/sessions?limit=1&after=8`, 200, "", page(api.SessionFilter{}, "8", 1)},
		{`GET /v1/sessions?limit=10000&pool=chat&min_age=5m&claim=sub%3Dx`, 200, "", page(api.SessionFilter{Pool: "chat", MinAge: "5m", Claim: "sub=x"}, "", api.MaxSessions)},
		{`GET /v1/sessions?limit=0`, 422, "limit", nil},
		{`GET /v1/sessions?limit=10001`, 422, "limit", nil},
		{`GET /v1/sessions?limit=x`, 422, "limit", nil},
		{`GET /v1/sessions?pool=a&pool=b`, 422, "pool", nil},
		{`GET /v1/sessions?min_ag=5m`, 422, "min_ag", nil},
		{`GET /v1/sessions?pool=%zz`, 400, "", nil},
		{`GET /v1/sessions/0123456789ABCDEFGHIJ`, 200, "", []any{"session", "0123456789ABCDEFGHIJ"}},
		{`POST /v1/sessions/close {"pool":"chat","code":1001,"rate":2.5}`, 200, "", []any{"close", api.CloseRequest{SessionFilter: api.SessionFilter{Pool: "chat"}, Code: 1001, Rate: 2.5}}},
		{`POST /v1/sessions/close {"all":true}`, 200, "", []any{"close", api.CloseRequest{All: true}}},
		{`POST /v1/sessions/close {"code":1001}`, 422, "all", nil},
		{`POST /v1/sessions/close {}`, 422, "all", nil},
		{`POST /v1/sessions/close {"pool":"chat","backend":""}`, 422, "backend", nil},
		{`POST /v1/sessions/close {"pool":"chat","id":""}`, 422, "id", nil},
		{`POST /v1/reload`, 200, "", []any{"reload"}},
		{`PUT /v1/log {"level":"debug"}`, 200, "", []any{"log", "debug"}},
		{`PUT /v1/log {"level":"loud"}`, 422, "level", nil},
		{`PUT /v1/log {}`, 422, "level", nil},
		{"GET /v1/events?follow=false", 200, "", nil},
		{"GET /v1/events?follow=no", 422, "follow", nil},
		{"GET /v1/events?after=x", 422, "after", nil},
		{"GET /v1/nothing", 404, "", nil},
		{"GET /v1//status", 404, "", nil},
		{"GET /v1/./status", 404, "", nil},
		{"GET /v1/status/", 404, "", nil},
		{"GET /debug/pprof/", 404, "", nil},
		{"GET /status", 404, "", nil},
		{"HEAD /v1/status", 200, "", nil},
		{"POST /v1/status", 405, "", nil},
		{"OPTIONS /v1/log", 405, "", nil},
		{"POST /health", 405, "", nil},
		{"POST /metrics", 405, "", nil},
		{"GET /", 200, "", nil},
		{"GET /assets/x.js", 200, "", nil},
		{"POST /", 405, "", nil},
	} {
		b := new(balancer)
		got := b.ask(test.line)
		line := test.line[:min(100, len(test.line))]
		if got.Code != test.status || !equal(b.asked, test.asked) {
			t.Errorf("%s: %d %s, asked for %+v; want %d and %+v", line, got.Code, got.Body, b.asked, test.status, test.asked)
		}
		if got.Code < 400 {
			continue
		}
		p := problemOf(t, line, got)
		if p.Field != test.field {
			t.Errorf("%s: field %q (%s), want %q", line, p.Field, p.Detail, test.field)
		}
	}
}

// equal compares what balancers were asked for; fields may be pointers.
func equal(a, b []any) bool { return bytes.Equal(marshal(a), marshal(b)) }

func marshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// problemOf checks that an answer is a problem.
func problemOf(t *testing.T, line string, got *httptest.ResponseRecorder) (p api.Problem) {
	t.Helper()
	if err := json.Unmarshal(got.Body.Bytes(), &p); err != nil || got.Header().Get("Content-Type") != "application/problem+json" ||
		p.Type != "about:blank" || p.Status != got.Code || p.Title != http.StatusText(got.Code) || p.Detail == "" {
		t.Errorf("%s: %v, %v: %s", line, err, got.Header(), got.Body)
	}
	return p
}

// Done is called for each request.
func TestDone(t *testing.T) {
	for line, want := range map[string]string{
		"GET /v1/pools/chat":               "GET /v1/pools/{pool} 200",
		"HEAD /v1/status":                  "GET /v1/status 200",
		"GET /v1/pools/other":              "GET /v1/pools/{pool} 404",
		"POST /v1/status":                  " 405",
		"GET /nothing":                     " 404",
		"GET /health":                      "GET /health 200",
		"GET /v1/events?follow=false":      "GET /v1/events 200",
		"DELETE /v1/changes/chat/a%2Fb%20": "DELETE /v1/changes/{pool}/{backend} 200",
	} {
		b := new(balancer)
		o := b.options()
		got := ""
		o.Done = func(endpoint string, status int) { got += fmt.Sprint(endpoint, " ", status) }
		method, target, _ := strings.Cut(line, " ")
		r := httptest.NewRequest(method, target, nil)
		r.Host = "localhost"
		New(o).http.Handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// NewHealth serves /health only.
func TestHealthOnly(t *testing.T) {
	b := new(balancer)
	h := NewHealth(Options{Draining: b.draining.Load, Log: slog.New(slog.DiscardHandler)}).http.Handler
	for line, want := range map[string]int{"GET /health": 200, "HEAD /health": 200, "POST /health": 405, "GET /": 404, "GET /metrics": 404, "GET /v1/status": 404, "POST /v1/reload": 404, "GET /assets/x": 404} {
		method, target, _ := strings.Cut(line, " ")
		got := httptest.NewRecorder()
		h.ServeHTTP(got, httptest.NewRequest(method, target, nil))
		if got.Code != want {
			t.Errorf("%s: %d, want %d", line, got.Code, want)
		}
	}
}

func TestMethodNotAllowed(t *testing.T) {
	got := new(balancer).ask("DELETE /v1/log")
	if got.Code != 405 || got.Header().Get("Allow") != "GET, PUT" {
		t.Errorf("%d, Allow: %q", got.Code, got.Header().Get("Allow"))
	}
}

// Errors of the balancer keep their status, field and lines.
func TestProblems(t *testing.T) {
	refused := api.Invalid("", "the configuration is refused")
	refused.Errors = []string{"f:1:1: one", "f:2:2: two <b>"}
	for _, test := range []struct {
		err    error
		status int
		field  string
		errors int
	}{
		{errors.New("disk full"), 500, "", 0},
		{api.Conflict("", "not now"), 409, "", 0},
		{api.NotFound("pool", "no pool"), 404, "pool", 0},
		{refused, 422, "", 2},
	} {
		b := &balancer{err: test.err}
		got := b.ask("POST /v1/reload")
		p := problemOf(t, "reload", got)
		if p.Status != test.status || p.Field != test.field || len(p.Errors) != test.errors || p.Detail != test.err.Error() {
			t.Errorf("%v: %+v", test.err, p)
		}
		if test.errors > 0 && !strings.Contains(got.Body.String(), "two <b>") {
			t.Errorf("escaped: %s", got.Body)
		}
	}
}

// Lists without elements are [].
func TestEmptyLists(t *testing.T) {
	for _, line := range []string{"GET /v1/routes", "GET /v1/changes", "GET /v1/certificates", "GET /v1/pools/ns%2Fsvc:80/backends", "DELETE /v1/changes"} {
		if got := new(balancer).ask(line); strings.TrimSpace(got.Body.String()) != "[]" {
			t.Errorf("%s: %s", line, got.Body)
		}
	}
	if got := new(balancer).ask("GET /v1/sessions"); !strings.Contains(got.Body.String(), `"sessions": []`) {
		t.Errorf("%s", got.Body)
	}
}

// Web pages of other origins may not change anything, nor names that resolve to this
// machine be used to read.
func TestForeignPages(t *testing.T) {
	for _, test := range []struct {
		line    string
		headers []string
		status  int
	}{
		{"POST /v1/reload", nil, 200},
		{"POST /v1/reload", []string{"Origin", "https://evil.example"}, 403},
		{"POST /v1/reload", []string{"Origin", "null"}, 403},
		{"POST /v1/reload", []string{"Origin", "http://127.0.0.1:3000"}, 403},
		{"POST /v1/reload", []string{"Origin", "http://127.0.0.1:9900"}, 200},
		{"POST /v1/reload", []string{"Origin", "http://127.0.0.1:9900", "Sec-Fetch-Site", "same-origin"}, 200},
		{"POST /v1/reload", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST /v1/reload", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"POST /v1/reload", []string{"Host", "evil.example:9900"}, 403},
		{"DELETE /v1/changes", []string{"Origin", "https://evil.example"}, 403},
		{"GET /v1/status", []string{"Host", "evil.example"}, 403},
		{"GET /v1/sessions", []string{"Host", "127.0.0.1.evil.example:9900"}, 403},
		{"GET /v1/status", []string{"Host", "localhost.evil.example"}, 403},
		{"GET /v1/status", []string{"Host", ""}, 403},
		{"GET /v1/status", []string{"Host", ":9900"}, 403},
		{"GET /v1/status", []string{"Host", "localhost"}, 200},
		{"GET /v1/status", []string{"Host", "LocalHost.:9900"}, 200},
		{"GET /v1/status", []string{"Host", "[::1]:9900"}, 200},
		{"GET /v1/status", []string{"Host", "[::1]"}, 200},
		{"GET /v1/status", []string{"Host", "10.1.2.3"}, 200},
		{"GET /v1/status", []string{"Host", "Admin.example.com:9900"}, 200},
		{"GET /v1/status", []string{"Sec-Fetch-Site", "none"}, 200}, // typed by the operator
		{"GET /metrics", []string{"Host", "monitor.internal"}, 200},
		{"GET /", []string{"Host", "evil.example"}, 403},
		{"GET /v1/sessions", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"GET /v1/sessions", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403},
		{"GET /v1/events", []string{"Origin", "http://127.0.0.1:3000"}, 403},
		{"GET /", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200}, // a link
		{"GET /", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"GET /assets/x.js", []string{"Sec-Fetch-Site", "same-origin"}, 200},
	} {
		b := new(balancer)
		got := b.ask(test.line, test.headers...)
		if got.Code != test.status {
			t.Errorf("%s %q: %d %q, want %d", test.line, test.headers, got.Code, got.Body, test.status)
		}
		if got.Code == 403 && len(b.asked) > 0 {
			t.Errorf("%s %q: asked for %v", test.line, test.headers, b.asked)
		}
	}
}
