package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/ops/client"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// running is a balancer with a file.
type running struct {
	*app.App
	t    *testing.T
	file string
	log  *testkit.Log
	stop func() (cut int)
}

// start runs a balancer with the file's text until the test ends.
func start(t *testing.T, text string) *running {
	t.Helper()
	return startWith(t, text, app.Options{})
}

// startWith runs a balancer with the file's text and further options.
func startWith(t *testing.T, text string, o app.Options) *running {
	t.Helper()
	r := &running{t: t, file: filepath.Join(t.TempDir(), "holdfast.yaml"), log: &testkit.Log{}}
	r.write(text)
	var err error
	o.Load, o.File, o.Version, o.LogTo = func() (*config.Config, error) { return yaml.Load(r.file) }, r.file, "v1.2.3", r.log
	r.App, err = app.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	r.stop = sync.OnceValue(func() int { return r.Shutdown(context.Background()) })
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// reload writes text to the file and reloads it.
func (r *running) reload(text string) ([]string, error) {
	r.t.Helper()
	r.write(text)
	return r.Reload()
}

func (r *running) mustReload(text string) []string {
	r.t.Helper()
	warnings, err := r.reload(text)
	if err != nil {
		r.t.Fatalf("reload: %v", err)
	}
	return warnings
}

// open opens a session at path of the first listener.
func (r *running) open(path string) *ws {
	r.t.Helper()
	return open(r.t, "ws://"+r.Addresses()[0]+path)
}

// ws is a client that reads in the background, as a browser does, so that the
// balancer's Close frames are answered.
type ws struct {
	*websocket.Conn
	t        *testing.T
	messages chan string
	closed   chan error
}

func open(t *testing.T, url string) *ws {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	return opened(t, ctx, url, nil)
}

func opened(t *testing.T, ctx context.Context, url string, o *websocket.DialOptions) *ws {
	t.Helper()
	c, resp, err := websocket.Dial(ctx, url, o)
	if err != nil {
		t.Fatalf("%s: %v (%v)", url, err, resp)
	}
	w := &ws{c, t, make(chan string, 16), make(chan error, 1)}
	go func() {
		for {
			_, p, err := c.Read(context.Background())
			if err != nil {
				w.closed <- err
				return
			}
			w.messages <- string(p)
		}
	}()
	t.Cleanup(func() { c.CloseNow() })
	return w
}

// echo sends text and expects the answer want.
func (w *ws) echo(text, want string) {
	w.t.Helper()
	if got := w.answer(text); got != want {
		w.t.Fatalf("got %q, want %q", got, want)
	}
}

// answer returns the next message.
func (w *ws) answer(text string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := w.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
	select {
	case got := <-w.messages:
		return got
	case err := <-w.closed:
		w.t.Fatalf("closed: %v", err)
	case <-ctx.Done():
		w.t.Fatal("no answer")
	}
	panic("unreachable")
}

// wantClose expects the session to be closed with code, and returns the reason.
func (w *ws) wantClose(code websocket.StatusCode) (reason string) {
	w.t.Helper()
	select {
	case err := <-w.closed:
		if e, ok := errors.AsType[websocket.CloseError](err); ok {
			reason = e.Reason
		}
		if got := websocket.CloseStatus(err); got != code {
			w.t.Errorf("closed with %d (%v), want %d", got, err, code)
		}
	case <-time.After(testkit.Patience):
		w.t.Errorf("not closed, want %d", code)
	}
	return reason
}

// backend is an echo server for WebSockets that puts its name before what it
// sends back, and answers plain HTTP with it.
func backend(t *testing.T, name string) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, name)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for answerOne(r, c, name) {
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// answerOne answers one message of the session that r opened, with the backend's
// name before it. It reports whether that worked.
func answerOne(r *http.Request, c *websocket.Conn, name string) bool {
	kind, p, err := c.Read(r.Context())
	return err == nil && c.Write(r.Context(), kind, []byte(name+": "+string(p))) == nil
}

// get makes a plain HTTP request. It returns an error's text as the body.
func get(url string) (status int, body string) {
	c := http.Client{Timeout: testkit.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(p)
}

// client returns a client of the admin interface, which is closed with the test.
func (r *running) client() *client.Client {
	r.t.Helper()
	c, err := client.New(client.Options{Address: r.AdminAddr()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func (r *running) status() (s api.Status) {
	r.t.Helper()
	if _, body := get("http://" + r.AdminAddr() + "/v1/status"); json.Unmarshal([]byte(body), &s) != nil {
		r.t.Fatalf("status: %s", body)
	}
	return s
}
