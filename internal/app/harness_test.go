package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/admin"
	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// eachEngine runs f once an engine.
func eachEngine(t *testing.T, f func(t *testing.T, engine string)) {
	engines := []string{"portable"}
	if runtime.GOOS == "linux" {
		engines = append(engines, "epoll")
	}
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			f(t, engine)
		})
	}
}

// running is a balancer with a file.
type running struct {
	*app.App
	t    *testing.T
	file string
	log  *lockedBuffer
	stop func() (cut int)
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start runs a balancer with the file's text until the test ends.
func start(t *testing.T, text string) *running {
	t.Helper()
	r := &running{t: t, file: filepath.Join(t.TempDir(), "holdfast.yaml"), log: &lockedBuffer{}}
	r.write(text)
	var err error
	r.App, err = app.Start(app.Options{
		Load: func() (*config.Config, error) { return config.Load(r.file) },
		File: r.file, Version: "v1.2.3", LogTo: r.log,
	})
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

// reload takes text and returns what came of it.
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

// ws is a client whose messages are read in the background, as a browser does:
// so that the Close frames of the balancer are answered.
type ws struct {
	*websocket.Conn
	t        *testing.T
	messages chan string
	closed   chan error
}

func open(t *testing.T, url string) *ws {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, url, nil)
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

// echo wants text to come back, with the backend's name before it.
func (w *ws) echo(text, want string) {
	w.t.Helper()
	if got := w.answer(text); got != want {
		w.t.Fatalf("got %q, want %q", got, want)
	}
}

// answer is what comes back.
func (w *ws) answer(text string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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

// wantClose wants the session to be closed with code.
// wantClose returns the reason of the Close frame.
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
	case <-time.After(patience):
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

// answerOne answers one message on c, that r was the handshake of, with the
// backend's name before it. It reports whether it could.
func answerOne(r *http.Request, c *websocket.Conn, name string) bool {
	kind, p, err := c.Read(r.Context())
	return err == nil && c.Write(r.Context(), kind, []byte(name+": "+string(p))) == nil
}

// get asks for plain HTTP; an error's text takes the place of the body.
func get(url string) (status int, body string) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
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

func (r *running) status() (s admin.Status) {
	r.t.Helper()
	if _, body := get("http://" + r.AdminAddr() + "/status"); json.Unmarshal([]byte(body), &s) != nil {
		r.t.Fatalf("status: %s", body)
	}
	return s
}

// eventually wants cond to come true.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(patience); !cond(); <-poll.C {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}
