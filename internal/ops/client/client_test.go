package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// answering starts a server and returns its address.
func answering(t *testing.T, status int, contentType, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Each method sends one request.
func TestRequests(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
		if auth := r.Header.Get("Authorization"); auth != "Bearer secret" {
			t.Errorf("%s: Authorization %q", got, auth)
		}
		if (len(body) > 0) != (r.Header.Get("Content-Type") == "application/json") {
			t.Errorf("%s has the content type %q", got, r.Header.Get("Content-Type"))
		}
		io.WriteString(w, "null")
	}))
	defer s.Close()
	c := connect(t, Options{Address: s.Listener.Addr().String(), Token: "secret"})
	ctx := t.Context()
	three := 3
	for _, test := range []struct {
		want string
		call func() (any, error)
	}{
		{"GET /v1/status", func() (any, error) { return c.Status(ctx) }},
		{"GET /v1/listeners", func() (any, error) { return c.Listeners(ctx) }},
		{"GET /v1/certificates", func() (any, error) { return c.Certificates(ctx) }},
		{"GET /v1/routes", func() (any, error) { return c.Routes(ctx) }},
		{"GET /v1/pools", func() (any, error) { return c.Pools(ctx) }},
		{"GET /v1/pools/ns%2Fa:80", func() (any, error) { return c.Pool(ctx, "ns/a:80") }},
		{"GET /v1/pools/%2E%2E/backends", func() (any, error) { return c.Backends(ctx, "..") }},
		{"GET /v1/pools/a/backends/unix:%2Fx%20y", func() (any, error) { return c.Backend(ctx, "a", "unix:/x y") }},
		{`POST /v1/pools/a/backends {"address":"b:1","weight":3}`, func() (any, error) {
			return c.AddBackend(ctx, "a", api.NewBackend{Address: "b:1", Weight: &three})
		}},
		{`PATCH /v1/pools/a/backends/b {"weight":3}`, func() (any, error) {
			return c.PatchBackend(ctx, "a", "b", api.BackendPatch{Weight: &three})
		}},
		{"DELETE /v1/pools/a/backends/b?timeout=5s", func() (any, error) { return c.RemoveBackend(ctx, "a", "b", "5s") }},
		{"DELETE /v1/pools/a/backends/b", func() (any, error) { return c.RemoveBackend(ctx, "a", "b", "") }},
		{`POST /v1/pools/a/backends/b/drain {"timeout":"5s"}`, func() (any, error) { return c.Drain(ctx, "a", "b", "5s") }},
		{`POST /v1/pools/a/backends/b/drain {}`, func() (any, error) { return c.Drain(ctx, "a", "b", "") }},
		{`POST /v1/pools/a/backends/b/undrain`, func() (any, error) { return c.Undrain(ctx, "a", "b") }},
		{`POST /v1/pools/a/backends/b/maint {}`, func() (any, error) { return c.Maint(ctx, "a", "b", "") }},
		{`POST /v1/pools/a/backends/b/ready`, func() (any, error) { return c.Ready(ctx, "a", "b") }},
		{"GET /v1/changes", func() (any, error) { return c.Changes(ctx) }},
		{"DELETE /v1/changes", func() (any, error) { return c.Revert(ctx, "", "") }},
		{"DELETE /v1/changes/a", func() (any, error) { return c.Revert(ctx, "a", "") }},
		{"DELETE /v1/changes/a/b", func() (any, error) { return c.Revert(ctx, "a", "b") }},
		{"GET /v1/sessions", func() (any, error) { return c.Sessions(ctx, api.SessionQuery{}) }},
		{"GET /v1/sessions?after=8&backend=b&claim=sub%3Dx&client=10.0.0.0%2F8&id=i&limit=5&max_age=2h&min_age=1s&min_idle=2s&pool=a&route=r&search=x+y", func() (any, error) {
			return c.Sessions(ctx, api.SessionQuery{SessionFilter: api.SessionFilter{ID: "i", Pool: "a", Backend: "b", Route: "r", Client: "10.0.0.0/8",
				Claim: "sub=x", MinAge: "1s", MaxAge: "2h", MinIdle: "2s", Search: "x y"}, After: "8", Limit: 5})
		}},
		{"GET /v1/sessions/i", func() (any, error) { return c.Session(ctx, "i") }},
		{`POST /v1/sessions/close {"pool":"a","code":1001}`, func() (any, error) {
			return c.CloseSessions(ctx, api.CloseRequest{SessionFilter: api.SessionFilter{Pool: "a"}, Code: 1001})
		}},
		{"POST /v1/reload", func() (any, error) { return c.Reload(ctx) }},
		{"GET /v1/log", func() (any, error) { return c.Log(ctx) }},
		{`PUT /v1/log {"level":"debug"}`, func() (any, error) { return c.SetLog(ctx, "debug") }},
	} {
		if _, err := test.call(); err != nil || got != test.want {
			t.Errorf("got %s, %v\nwant %s", got, err, test.want)
		}
	}
}

func TestErrors(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := refused.Addr().String()
	refused.Close()
	dir := t.TempDir()
	stale := filepath.Join(dir, "s")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	problem := func(p *api.Problem) string {
		text, _ := json.Marshal(p)
		return answering(t, p.Status, "application/problem+json", string(text))
	}
	lines := api.Invalid("", "the configuration is refused")
	lines.Errors = []string{"f:1:1: one", "f:2:2: two"}
	page, forbidden, moved := answering(t, 200, "text/html", "<html>hello"), answering(t, 403, "text/plain", "go\naway"), answering(t, 302, "text/html", "there")
	weight := problem(api.Invalid("weight", "weight is -1, want 0 to 256"))
	tests := []struct{ address, want string }{
		{closed, "no balancer answers at " + closed + ": is it running, with admin: {address: " + closed + "} in its file or --admin " + closed + "?"},
		{page, page + " answers, but not as a balancer does: is it the admin address?"},
		{moved, moved + " answers, but not as a balancer does: is it the admin address?"},
		{forbidden, forbidden + " refuses POST /v1/reload with status 403: go"},
		{weight, "weight is -1, want 0 to 256"},
		{problem(lines), "f:1:1: one\nf:2:2: two"},
		{"https://" + page, page + " doesn't speak TLS: it has no admin.tls, or is another server"},
		{"9900", `admin address "9900" is not host:port, such as 127.0.0.1:9900, nor a path such as /run/holdfast/admin.sock`},
		{"ftp://a:1", `admin address "ftp://a:1" is not host:port, such as 127.0.0.1:9900, nor a path such as /run/holdfast/admin.sock`},
		{"a b:9900", `admin address "a b:9900" is not host:port, such as 127.0.0.1:9900, nor a path such as /run/holdfast/admin.sock`},
		{"host.invalid:9900", `admin address host.invalid:9900: the host "host.invalid" can't be resolved`},
		{"unix:" + dir + "/none", "no balancer answers at unix:" + dir + "/none: there is no such socket; is it running?"},
		{stale, "no balancer answers at " + stale + ": the one that made the socket is gone"},
	}
	for _, test := range tests {
		c, err := New(Options{Address: test.address})
		if err == nil {
			_, err = c.Reload(t.Context())
			c.Close()
		}
		if got := strings.Replace(fmt.Sprint(err), "https://", "", 1); err == nil || got != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.address, err, test.want)
		}
	}
	if _, err := connect(t, Options{Address: closed}).Reload(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v isn't that of the connection", err)
	} else if u, ok := errors.AsType[*Unreachable](err); !ok || u.Address != closed {
		t.Errorf("%T isn't an Unreachable", err)
	}
	_, err = connect(t, Options{Address: weight}).Reload(t.Context())
	if p, ok := errors.AsType[*api.Problem](err); !ok || p.Field != "weight" || p.Status != 422 {
		t.Errorf("%v is not the problem of the field weight", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := connect(t, Options{Address: closed}).Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("HOLDFAST_ADMIN", "10.0.0.1:9")
	if got := Find(); got != "10.0.0.1:9" {
		t.Error(got)
	}
	t.Setenv("HOLDFAST_ADMIN", "")
	if got := Find(); got != "127.0.0.1:9900" && got != "/run/holdfast/admin.sock" {
		t.Error(got)
	}
	lost := Client{address: defaultAddress, sockets: tried()}
	if got := lost.explain(syscall.ECONNREFUSED); !strings.Contains(got, "none has a socket "+dir+"/holdfast/admin.sock or /run/holdfast/admin.sock, and nothing listens at 127.0.0.1:9900") {
		t.Error(got)
	}
	denied := Client{address: dir}
	if got := denied.explain(syscall.EACCES); !strings.HasPrefix(got, "no permission for "+dir+": use sudo, or join the group ") || strings.HasSuffix(got, " ") {
		t.Error(got)
	}
	path := filepath.Join(dir, "holdfast", "admin.sock")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	if got := Find(); got == path {
		t.Error("the socket of a process that has ended is found")
	}
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" {
			t.Errorf("host %q", r.Host)
		}
		io.WriteString(w, `{"version":"9"}`)
	})}
	go s.Serve(l)
	defer s.Close()
	for _, address := range []string{"", path, "unix:" + path} {
		if st, err := connect(t, Options{Address: address}).Status(t.Context()); err != nil || st.Version != "9" {
			t.Errorf("%q: %+v, %v", address, st, err)
		}
	}
}

func TestResolve(t *testing.T) {
	pools := []api.Pool{
		{Name: "a", Backends: []api.Backend{{Name: "b/c"}, {Name: "old", State: "removed"}, {Name: "x"}}},
		{Name: "a/b", Backends: []api.Backend{{Name: "d"}, {Name: "x"}}},
	}
	for name, want := range map[string][]string{
		"a/b/c": {"a", "b/c"}, "a/b/d": {"a/b", "d"}, "a/x": {"a", "x"},
		"a/old": nil, "x": nil, "c": nil,
	} {
		pool, backend, err := find(pools, name)
		if want == nil != (err != nil) || err == nil && !reflect.DeepEqual([]string{pool, backend}, want) {
			t.Errorf("%s: %q, %q, %v", name, pool, backend, err)
		}
	}
	for name, want := range map[string]string{"x": `did you mean "a/x" or "a/b/x"?`, "x/a": `did you mean "a/x"?`} {
		if _, _, err := find(pools, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// A stream that is cut goes on with the event after the last one; a refusal ends it.
func TestEventsReconnect(t *testing.T) {
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		wantID := []string{"", "6", "7", "7"}[n-1]
		if id := r.Header.Get("Last-Event-ID"); r.URL.RawQuery != "after=now" || id != wantID {
			t.Errorf("request %d: query %q, id %q, want %q", n, r.URL.RawQuery, id, wantID)
		}
		if n == 3 {
			w.WriteHeader(503)
			return
		}
		if n == 4 {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(401)
			io.WriteString(w, `{"status":401,"detail":"no token"}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "id: 5\n\n: alive\n\nid: %d\nevent: drain\ndata: {\"id\":%d,\"kind\":\"drain\",\"message\":\"m\"}\n\n", 5+n, 5+n)
	}))
	defer s.Close()
	c := connect(t, Options{Address: s.Listener.Addr().String()})
	var got []uint64
	lost, found := 0, 0
	err := c.Events(t.Context(), Watch{Now: true, Lost: func(error) { lost++ }, Found: func() { found++ }}, func(e api.Event) error {
		got = append(got, e.ID)
		return nil
	})
	if !IsRefused(err, 401) || !reflect.DeepEqual(got, []uint64{6, 7}) || lost != 3 || found != 1 {
		t.Errorf("%v, %v, lost %d times, found %d times", got, err, lost, found)
	}
}

// The first attempt isn't repeated, and an error of the callback ends the stream.
func TestEventsEnd(t *testing.T) {
	unwell := connect(t, Options{Address: answering(t, 503, "text/plain", "busy")})
	if err := unwell.Events(t.Context(), Watch{}, nil); err == nil {
		t.Error("no error")
	}
	one := answering(t, 200, "text/event-stream", "id: 1\nevent: x\ndata: {\"id\":1}\n\n")
	enough := errors.New("enough")
	if err := connect(t, Options{Address: one}).Events(t.Context(), Watch{}, func(api.Event) error { return enough }); err != enough {
		t.Errorf("%v", err)
	}
	if err := connect(t, Options{Address: one}).Events(t.Context(), Watch{Once: true}, func(api.Event) error { return nil }); err != nil {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := connect(t, Options{Address: one}).Events(ctx, Watch{}, func(api.Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Whatever a server sends as a stream of events is read without a panic, and what is read
// are events.
func FuzzEvents(f *testing.F) {
	f.Add("id: 1\nevent: x\ndata: {\"id\":1}\n\n: alive\n\n")
	f.Add("data: {\ndata: x\n\n")
	f.Add("data\n\nid\n\ndata:null\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		s := &stream{client: &Client{address: "a"}, f: func(api.Event) error { n++; return nil }}
		err := s.parse(strings.NewReader(text), func() {})
		if n > strings.Count(text, "data") || err != nil && strings.ContainsAny(err.Error(), "\n\r\x1b") {
			t.Errorf("%q: %d events, %v", text, n, err)
		}
	})
}
