package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a server and returns its address and a function to stop it.
func start(t *testing.T) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- new(server.Server).Serve(ctx, l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { c.CloseNow() })
	if c.Subprotocol() != "a" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	return c
}

func write(t *testing.T, c *websocket.Conn, m string) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, []byte(m)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	_, m, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(m)
}

func TestEcho(t *testing.T) {
	a, _ := start(t)
	c := dial(t, "ws://"+a+"/echo")
	for _, m := range []string{"", "hello", strings.Repeat("long", 1<<18)} {
		write(t, c, m)
		if got := read(t, c); got != m {
			t.Fatalf("%d bytes came back as %d", len(m), len(got))
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}

func TestBroadcast(t *testing.T) {
	a, _ := start(t)
	var all []*websocket.Conn
	for i := range 3 {
		all = append(all, dial(t, "ws://"+a+"/broadcast"))
		write(t, all[i], "joined") // when it arrives, client i is registered
		for _, c := range all {
			if got := read(t, c); got != "joined" {
				t.Fatalf("got %q", got)
			}
		}
	}
	write(t, all[1], "to all")
	for i, c := range all {
		if got := read(t, c); got != "to all" {
			t.Errorf("%d got %q", i, got)
		}
	}
}

func TestSinkAndShutdown(t *testing.T) {
	a, stop := start(t)
	c := dial(t, "ws://"+a+"/sink")
	for range 10 {
		write(t, c, strings.Repeat("x", 1<<16))
	}
	ended := make(chan error, 1)
	go func() {
		_, _, err := c.Read(t.Context())
		ended <- err
	}()
	stop()
	if err := <-ended; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("ended with %v, want 1001", err)
	}
}

func TestPlainAnswers(t *testing.T) {
	a, _ := start(t)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]int{"/health": 200, "/echo": 426, "/other": 404} {
		resp, err := client.Get("http://" + a + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}
