package httpproxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestIdleMakesRoom: the connection that has waited longest for a request can be
// closed, one with a request can't.
func TestIdleMakesRoom(t *testing.T) {
	busy, end := make(chan struct{}), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			close(busy)
			<-end
		}
	})
	r := newRig(t, Options{}, nil, addr)
	first, second, third := r.dial(), r.dial(), r.dial()
	first.ask("GET / HTTP/1.1\nHost: x\n\n")
	r.waitForIdle(1)
	second.ask("GET / HTTP/1.1\nHost: x\n\n")
	r.waitForIdle(2)
	io.WriteString(third, "GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
	<-busy
	if !r.server.CloseIdle() {
		t.Error("no connection was closed")
	}
	if _, err := first.r.ReadByte(); err != io.EOF {
		t.Errorf("the first: %v, want it to be closed", err)
	}
	if res, _ := second.ask("GET / HTTP/1.1\nHost: x\n\n"); res.StatusCode != 200 {
		t.Errorf("the second gets %d", res.StatusCode)
	}
	r.waitForIdle(1)
	if !r.server.CloseIdle() || r.server.CloseIdle() {
		t.Error("not just the second could be closed")
	}
	close(end)
	if res, _ := third.answer(); res.StatusCode != 200 {
		t.Errorf("the third gets %d", res.StatusCode)
	}
}

func (r *rig) waitForIdle(n int) {
	r.t.Helper()
	testkit.Eventually(r.t, fmt.Sprintf("%d connections are idle", n), func() bool {
		r.server.idle.mu.Lock()
		defer r.server.idle.mu.Unlock()
		return r.server.idle.all.Len() == n
	})
}

// TestLimitsChange: later connections have the new limits, and the old generation
// ends with its connections.
func TestLimitsChange(t *testing.T) {
	refuse := func(conn net.Conn, _ transport.Meta, _ []byte) { // as the spine does, which gets what is too large
		go func() {
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, conn)
		}()
	}
	r := newRig(t, Options{}, refuse, backend(t, func(http.ResponseWriter, *http.Request) {}))
	with := func(n int) string { return "GET / HTTP/1.1\nHost: x\nX-Long: " + strings.Repeat("x", n) + "\n\n" }
	status := func(c *rawClient, n int) int {
		res, _ := c.ask(with(n))
		return res.StatusCode
	}
	old := r.dial()
	for range 2 {
		if got := status(old, 15<<10); got != 200 {
			t.Errorf("15 KiB: %d", got)
		}
	}
	r.server.SetLimits(Limits{HeadBytes: 40 << 10, Idle: 50 * time.Millisecond})
	c := r.dial()
	for range 2 {
		if got := status(c, 39<<10); got != 200 {
			t.Errorf("39 KiB after the change: %d", got)
		}
	}
	if got := status(c, 41<<10); got != 431 {
		t.Errorf("41 KiB after the change: %d, want 431", got)
	}
	if got := status(old, 17<<10); got != 431 {
		t.Errorf("17 KiB on a connection from before: %d, want 431", got)
	}
	c = r.dial()
	status(c, 1)
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection: %v, want it to be closed", err)
	}
	testkit.Eventually(t, "one generation is left", func() bool {
		r.server.mu.Lock()
		defer r.server.mu.Unlock()
		return len(r.server.all) == 1
	})
}

// TestCutAnswers: requests that still run are cut, others go on. A client without
// an answer gets one.
func TestCutAnswers(t *testing.T) {
	began := make(chan struct{}, 10)
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
		}
		began <- struct{}{}
		<-r.Context().Done()
	})
	cuts := make(chan string, 10)
	o := Options{Cut: func(reason string) { cuts <- reason }}
	r := newRig(t, o, nil, addr)
	events, silent := r.dial(), r.dial()
	io.WriteString(events, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
	io.WriteString(silent, "GET /silent HTTP/1.1\r\nHost: x\r\n\r\n")
	<-began
	<-began
	res, err := http.ReadResponse(events.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(res.Body).ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("got %q", line)
	}
	proxy := r.proxy
	if n := proxy.CutAnswers(Cut{Reason: "never", Spread: time.Hour}); n != 2 || proxy.Requests() != 2 {
		t.Errorf("%d are to be cut, of %d", n, proxy.Requests())
	}
	proxy.KeepAnswers(func(uint32, bool) bool { return true })
	proxy.CutAnswers(Cut{Which: func(_ uint32, events bool) bool { return events }, Reason: "stop", Spread: time.Hour, Now: true})
	if rest, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the stream ended as if it were whole, after %q", rest)
	}
	if n := proxy.CutAnswers(Cut{Reason: "stop"}); n > 2 {
		t.Errorf("%d are left", n)
	}
	if res, _ := silent.answer(); res.StatusCode != 503 {
		t.Errorf("the silent one gets %d", res.StatusCode)
	}
	if first, second := <-cuts, <-cuts; first != "stop" || second != "stop" {
		t.Errorf("got %q and %q", first, second)
	}
}
