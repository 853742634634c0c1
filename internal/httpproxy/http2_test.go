package httpproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func newHTTP2Rig(t *testing.T, o Options, so ServerOptions, addrs ...netip.AddrPort) *rig {
	t.Helper()
	return startRig(t, o, so, true, addrs...)
}

// TestHTTP2Headers: a backend gets in HTTP/1.1 what the client has sent in HTTP/2,
// and the client nothing that HTTP/2 forbids.
func TestHTTP2Headers(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Connection"] = []string{"X-Secret"}
		w.Header().Set("X-Secret", "hop by hop")
		w.Header().Set("Keep-Alive", "5")
		w.Header().Set("Upgrade", "h2c")
		if r.URL.Path == "/426" {
			w.WriteHeader(http.StatusUpgradeRequired)
		}
		fmt.Fprintf(w, "%s %s %s host=%s\n", r.Method, r.RequestURI, r.Proto, r.Host)
		r.Header.Write(w)
	})
	r := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
	for path, status := range map[string]int{"/a%2Fb//c?x=1;y&z=%zz": 200, "/426": 426} {
		req, _ := http.NewRequest("GET", r.url(""), nil)
		req.URL.Opaque = path
		req.Host = "shop.example.com"
		req.Header["Cookie"] = []string{"a=1; b=2", "c=3"} // the client may split it further
		req.Header.Set("TE", "trailers")
		res, err := r.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := readAll(t, res)
		if res.StatusCode != status || res.ProtoMajor != 2 {
			t.Errorf("%s: %d in %s", path, res.StatusCode, res.Proto)
		}
		for _, want := range []string{"GET " + path + " HTTP/1.1 host=shop.example.com\n", "Cookie: a=1; b=2; c=3\r\n", "Te: trailers\r\n", "Via: 2.0 holdfast\r\n"} {
			if !strings.Contains(body, want) {
				t.Errorf("no %q in\n%s", want, body)
			}
		}
		for _, never := range []string{"Connection", "X-Secret", "Keep-Alive", "Upgrade"} {
			if res.Header[never] != nil {
				t.Errorf("%s went to the client: %v", never, res.Header)
			}
		}
		if res.Header.Get("Set-Cookie") != "mark=0" {
			t.Errorf("the answer has %v", res.Header)
		}
	}
}

// TestHTTP2Exchanges: statuses, interim answers and answers without a body, and
// requests that end in another way.
func TestHTTP2Exchanges(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hints":
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(http.StatusEarlyHints)
		case "/304":
			w.WriteHeader(http.StatusNotModified)
			return
		case "/breaks":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
	})
	r := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
	client := r.client()
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
		length       int64
	}{
		{"GET", "/", 200, "hello", 5},
		{"GET", "/hints", 200, "hello", 5},
		{"HEAD", "/", 200, "", 5},
		{"GET", "/304", 304, "", 0},
		{"OPTIONS", "*", 200, "", 0},
		{"DELETE", "/", 200, "hello", 5},
	} {
		req, _ := http.NewRequest(tt.method, r.url("/"), nil)
		req.URL.Path = tt.path
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
			continue
		}
		if body := readAll(t, res); res.StatusCode != tt.status || body != tt.body || res.ContentLength != tt.length {
			t.Errorf("%s %s: %d %q, length %d", tt.method, tt.path, res.StatusCode, body, res.ContentLength)
		}
	}
	res, err := client.Get(r.url("/breaks"))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("an answer that broke off looks complete: %q", body)
	}
	// That was one stream: the connection goes on.
	if res, err := client.Get(r.url("/")); err != nil || readAll(t, res) != "hello" {
		t.Errorf("after that: %v", err)
	}
	r.waitForIdle(1)
}

// TestHTTP2EarlyAnswers: an answer to a body that isn't read arrives whole, and the
// connection can be used on.
func TestHTTP2EarlyAnswers(t *testing.T) {
	addr := connBackend(t, func(conn *net.TCPConn, r *bufio.Reader, _ int) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.Method == "GET" {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				continue
			}
			io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
			io.Copy(io.Discard, r)
			return
		}
	})
	r := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
	client := r.client()
	for range 20 {
		req, _ := http.NewRequest("POST", r.url("/"), io.LimitReader(endless{}, 100<<20))
		req.ContentLength = 100 << 20
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, res); res.StatusCode != 413 || body != "big" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	if res, err := client.Get(r.url("/")); err != nil || readAll(t, res) != "ok" {
		t.Errorf("after that: %v", err)
	}
	r.waitForIdle(1)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestHTTP2ClientThatGoes: a request that its client cancels ends at the backend,
// and others on the connection go on.
func TestHTTP2ClientThatGoes(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return
		}
		io.Copy(io.Discard, r.Body)
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	r := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
	client := r.client()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", r.url("/slow"), strings.NewReader("body"))
	go func() {
		<-began
		cancel()
	}()
	if _, err := client.Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-ended
	if status := <-r.statuses; status != statusClientGone {
		t.Errorf("counted as %d", status)
	}
	if res, err := client.Get(r.url("/")); err != nil || res.StatusCode != 200 {
		t.Errorf("after that: %v", err)
	}
}

// TestHTTP2ClientsTooSlow: a client that grants no bytes for its answer is given up,
// as is one whose body doesn't come.
func TestHTTP2ClientsTooSlow(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for range 1000 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	r := newHTTP2Rig(t, Options{Timeouts: func(*http.Request) Timeouts { return Timeouts{Body: 50 * time.Millisecond} }}, ServerOptions{}, addr)
	client := r.client()
	body, end := io.Pipe()
	defer end.Close()
	go end.Write([]byte("1"))
	res, err := client.Post(r.url("/"), "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 408 {
		t.Errorf("a body that doesn't come is answered with %d", res.StatusCode)
	}
	res.Body.Close()
	<-r.statuses
	r.server.SetLimits(Limits{Send: 50 * time.Millisecond})
	res, err = client.Get(r.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	select {
	case <-r.statuses: // it was given up without a byte being read
	case <-time.After(testkit.Patience):
		t.Error("an answer that isn't read goes on")
	}
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("the answer looks complete")
	}
}

// TestHTTP2MakesRoom: CloseIdle closes a connection without requests, and no other.
func TestHTTP2MakesRoom(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			close(began)
			<-end
		}
	})
	var ended atomic.Int64
	r := newHTTP2Rig(t, Options{}, ServerOptions{ConnEnded: func(transport.Meta, bool) { ended.Add(1) }}, addr)
	idle, busy := r.client(), r.client()
	if _, err := idle.Get(r.url("/")); err != nil {
		t.Fatal(err)
	}
	r.waitForIdle(1)
	done := make(chan error)
	go func() {
		_, err := busy.Get(r.url("/busy"))
		done <- err
	}()
	<-began
	if !r.server.CloseIdle() || r.server.CloseIdle() {
		t.Error("not just the idle one was closed")
	}
	testkit.Eventually(t, "the end of the idle one", func() bool { return ended.Load() == 1 })
	close(end)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestHTTP2Shutdown: a client is told to leave, and a request under way ends first.
func TestHTTP2Shutdown(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-end
		io.WriteString(w, "whole")
	})
	r := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
	body := make(chan string)
	go func() {
		res, err := r.client().Get(r.url("/"))
		if err != nil {
			t.Error(err)
			close(body)
			return
		}
		body <- readAll(t, res)
	}()
	<-began
	done := make(chan error)
	go func() { done <- r.server.Shutdown(context.Background()) }()
	close(end)
	if got := <-body; got != "whole" {
		t.Errorf("got %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestHTTP2Places: each request but one of a connection needs a place, and is
// answered if there is none.
func TestHTTP2Places(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	addr := backend(t, func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-end
	})
	var places atomic.Int64
	so := ServerOptions{Leave: func() { places.Add(-1) }, Enter: func() error {
		if places.Add(1) > 2 {
			places.Add(-1)
			return &Error{Status: 503, Text: "full", RetryAfter: 7 * time.Second}
		}
		return nil
	}}
	r := newHTTP2Rig(t, Options{}, so, addr)
	client := r.client()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if res, err := client.Get(r.url("/")); err != nil || res.StatusCode != 200 {
				t.Errorf("a request that has a place: %v", err)
			}
		})
		<-began
	}
	res, err := client.Get(r.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	if body := readAll(t, res); res.StatusCode != 503 || body != "503: full\n" || res.Header.Get("Retry-After") != "7" {
		t.Errorf("without a place: %d %q %v", res.StatusCode, body, res.Header)
	}
	close(end)
	all.Wait()
	testkit.Eventually(t, "all places are free again", func() bool { return places.Load() == 0 })
}

// TestHTTP2Cut: an event stream breaks off without ending as if it were whole, and
// a request without an answer gets one.
func TestHTTP2Cut(t *testing.T) {
	began := make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: 1\n\n")
			w.(http.Flusher).Flush()
		}
		began <- struct{}{}
		<-r.Context().Done()
	})
	r := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
	client := r.client()
	statuses := make(chan int)
	go func() {
		res, err := client.Get(r.url("/silent"))
		if err != nil {
			t.Error(err)
			close(statuses)
			return
		}
		statuses <- res.StatusCode
	}()
	<-began
	go func() { <-began }()
	res, err := client.Get(r.url("/events"))
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewReader(res.Body)
	if line, err := events.ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	r.proxy.CutAnswers(Cut{Reason: "stop"})
	if rest, err := io.ReadAll(events); err == nil {
		t.Errorf("the stream ended as if it were whole, after %q", rest)
	}
	if status := <-statuses; status != 503 {
		t.Errorf("the silent one gets %d", status)
	}
}

// TestHTTP2Malformed: what HTTP/1.1 couldn't say, or would say ambiguously, isn't
// passed on.
func TestHTTP2Malformed(t *testing.T) {
	for _, tt := range []struct {
		method, path, host string
		header             http.Header
		ok                 bool
	}{
		{"GET", "/", "a", nil, true},
		{"GET", "/%C3%A9?x=%zz", "a.example:8443", nil, true},
		{"POST", "/", "[::1]", http.Header{"Content-Length": {"12"}}, true},
		{"OPTIONS", "*", "a", nil, true},
		{"CONNECT", "", "a:1", nil, true}, // the handler refuses it
		{"GET", "*", "a", nil, false},
		{"GET", "http://b/", "a", nil, false},
		{"GET", "x", "a", nil, false},
		{"GET", "/a b", "a", nil, false},
		{"GET", "/%", "a", nil, false},
		{"GET", "/a#b", "a", nil, false},
		{"GET", "/é", "a", nil, false},
		{"GET", "/", "", nil, false},
		{"GET", "/", "user@a", nil, false},
		{"GET", "/", "a/b", nil, false},
		{"GET", "/", "a b", nil, false},
		{"GE T", "/", "a", nil, false},
		{"POST", "/", "a", http.Header{"Content-Length": {"1", "1"}}, false},
		{"POST", "/", "a", http.Header{"Content-Length": {"+1"}}, false},
		{"POST", "/", "a", http.Header{"Content-Length": {""}}, false},
	} {
		r := &http.Request{Method: tt.method, RequestURI: tt.path, Host: tt.host, Header: tt.header}
		if why := malformed(r); (why == "") != tt.ok {
			t.Errorf("%s %s of %q with %v: %q", tt.method, tt.path, tt.host, tt.header, why)
		}
	}
}

// frame is a frame of HTTP/2 (RFC 9113 §4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	return string([]byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags,
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}) + payload
}

// TestHTTP2Attacks: each ends the connection, with few requests at the backend. Much
// of what bounds them is in net/http, so this is also about new releases of Go.
func TestHTTP2Attacks(t *testing.T) {
	const headers, reset, settings, continuation = 1, 3, 4, 9
	const get = "\x82\x87\x84\x01\x01a" // in HPACK: GET https://a/ (RFC 7541 §6)
	var running, most atomic.Int64
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		for now := running.Add(1); ; {
			if old := most.Load(); now <= old || most.CompareAndSwap(old, now) {
				break
			}
		}
		defer running.Add(-1)
		<-r.Context().Done()
	})
	for name, attack := range map[string]func(i uint32) string{
		"requests that are reset at once": func(i uint32) string {
			return frame(headers, 5, 2*i+1, get) + frame(reset, 0, 2*i+1, "\x00\x00\x00\x08")
		},
		"a head without an end": func(i uint32) string {
			field := "\x00\x01x\x7f\x81\x07" + strings.Repeat("y", 256)
			if i == 0 {
				return frame(headers, 1, 1, get)
			}
			return frame(continuation, 0, 1, field)
		},
	} {
		t.Run(name, func(t *testing.T) {
			most.Store(0)
			r := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
			conn := r.dial()
			io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+frame(settings, 0, 0, ""))
			var err error
			for i := uint32(0); err == nil; {
				var many strings.Builder
				for range 10 {
					many.WriteString(attack(i))
					i++
				}
				_, err = io.WriteString(conn, many.String())
			}
			if isTimeout(err) {
				t.Error("the connection goes on")
			}
			if n := most.Load(); n > 2*maxStreams {
				t.Errorf("%d requests were at the backend at once", n)
			}
		})
	}
}
