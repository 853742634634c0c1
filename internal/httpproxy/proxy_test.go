package httpproxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

func TestHeaders(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Connection"] = []string{"X-Secret"}
		w.Header().Set("X-Secret", "hop by hop")
		fmt.Fprintf(w, "%s %s host=%s\n", r.Method, r.RequestURI, r.Host)
		r.Header.Write(w)
	})
	r := newRig(t, Options{EditRequest: func(out http.Header, in *http.Request) {
		out.Set("X-Forwarded-For", "hook;was="+in.Header.Get("X-Forwarded-For"))
	}, IsReserved: func(_ *http.Request, name string) bool {
		return strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded"
	}}, nil, addr)
	got := r.raw("GET /a%2Fb//c?x=1;y&z=%zz HTTP/1.1\nHost: shop.example.com\n" +
		"Connection: close, X-Hop, X-Forwarded-For, Upgrade, HTTP2-Settings\nX-Hop: 1\nKeep-Alive: 5\nTE: trailers\n" +
		"Upgrade: h2c\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\nProxy-Authorization: x\n" +
		"X-Forwarded-For: 6.6.6.6\nX-Forwarded-Port: 1\nForwarded: for=6.6.6.6\nX-Keep: yes\n\n")
	for _, want := range []string{
		"HTTP/1.1 200 OK\r\n", "GET /a%2Fb//c?x=1;y&z=%zz host=shop.example.com\n",
		"X-Forwarded-For: hook;was=6.6.6.6\r\n", "X-Keep: yes\r\n", "Te: trailers\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	for _, never := range []string{"X-Hop", "Keep-Alive", "Upgrade", "Http2-Settings", "Proxy-Authorization",
		"X-Forwarded-Port", "Forwarded: for", "User-Agent", "Accept-Encoding"} {
		if strings.Contains(body, never) {
			t.Errorf("%s went to the backend:\n%s", never, body)
		}
	}
	if strings.Contains(got, "X-Secret") {
		t.Errorf("a hop-by-hop header of the backend went to the client:\n%s", got)
	}
}

func TestMethodsAndStatuses(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/304":
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/103":
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "after hints")
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "not really")
		default:
			w.Header().Set("Content-Length", "5")
			io.WriteString(w, "hello")
		}
	})
	r := newRig(t, Options{}, nil, addr)
	tests := []struct {
		method, path string
		status       int
		length       int64
		body         string
	}{
		{"GET", "/", 200, 5, "hello"},
		{"HEAD", "/", 200, 5, ""},
		{"GET", "/304", 304, 0, ""},
		{"GET", "/204", 204, 0, ""},
		{"GET", "/103", 200, 11, "after hints"},
		{"GET", "/gzip", 200, 10, "not really"},
		{"DELETE", "/", 200, 5, "hello"},
		{"OPTIONS", "/", 200, 5, "hello"},
	}
	for _, test := range tests {
		req, _ := http.NewRequest(test.method, r.url(test.path), nil)
		res, err := r.client().Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", test.method, test.path, err)
		}
		body := readAll(t, res)
		if res.StatusCode != test.status || body != test.body || res.ContentLength != test.length {
			t.Errorf("%s %s: %d with length %d, %q", test.method, test.path, res.StatusCode, res.ContentLength, body)
		}
	}
	if got := r.raw("GET /103 HTTP/1.1\nHost: x\nConnection: close\n\n"); !strings.HasPrefix(got, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n") {
		t.Errorf("no 103 first: %q", got)
	}
	if got := r.raw("GET / HTTP/1.0\n\n"); !strings.HasPrefix(got, "HTTP/1.0 200 OK\r\n") || !strings.HasSuffix(got, "hello") {
		t.Errorf("HTTP/1.0: %q", got)
	}
}

func TestStreamsArriveAtOnce(t *testing.T) {
	const events = 5
	slowly := http.Header{"Content-Type": {"text/plain"}, "Content-Length": {fmt.Sprint(events * len("event 0\n"))}}
	for name, header := range map[string]http.Header{
		"events":                      {"Content-Type": {"text/event-stream"}},
		"a download slowly":           slowly,
		"a download slowly in HTTP/2": slowly,
		"events in HTTP/2":            {"Content-Type": {"text/event-stream"}},
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan string)
			addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
				maps.Copy(w.Header(), header)
				w.(http.Flusher).Flush()
				for event := range next {
					io.WriteString(w, event+"\n")
					w.(http.Flusher).Flush()
				}
			})
			r := startRig(t, Options{}, ServerOptions{IsPlain: isPlainOn}, strings.HasSuffix(name, "HTTP/2"), addr)
			defer close(next)
			res, err := r.client().Get(r.url("/"))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			lines := bufio.NewScanner(res.Body)
			for i := range events {
				event := fmt.Sprint("event ", i)
				next <- event // and no more until it has arrived
				if !lines.Scan() || lines.Text() != event {
					t.Fatalf("got %q, %v; want %q", lines.Text(), lines.Err(), event)
				}
			}
		})
	}
}

func TestLargeUploadWithTrailers(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		n, err := io.Copy(hash, r.Body)
		w.Header().Set("Trailer", "X-After")
		fmt.Fprintf(w, "%d %x %v sum=%s", n, hash.Sum(nil), err, r.Trailer.Get("X-Sum"))
		w.Header().Set("X-After", "done")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "too")
	})
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	for i := range 4 {
		chunked, http2 := i%2 == 1, i >= 2
		r := startRig(t, Options{}, ServerOptions{IsPlain: isPlainOn}, http2, deadAddr(t), addr)
		req, _ := http.NewRequest("POST", r.url("/"), bytes.NewReader(content))
		sum := ""
		if chunked {
			req.ContentLength, sum = -1, "right"
			req.Trailer = http.Header{"X-Sum": {sum}}
		}
		res, err := r.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%d %x <nil> sum=%s", len(content), sha256.Sum256(content), sum)
		if body := readAll(t, res); body != want {
			t.Errorf("chunked %v, HTTP/2 %v: got %q, want %q", chunked, http2, body, want)
		}
		if res.Trailer.Get("X-After") != "done" || res.Trailer.Get("X-Unannounced") != "too" {
			t.Errorf("trailers %v", res.Trailer)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "got %s", body)
	})
	r := newRig(t, Options{}, nil, addr)
	http2 := newHTTP2Rig(t, Options{}, ServerOptions{}, addr)
	for path, want := range map[string]string{"/yes": "got content", "/no": "", "/yes/2": "got content"} {
		by := r
		if strings.HasSuffix(path, "2") {
			by = http2
		}
		req, _ := http.NewRequest("POST", by.url(path), strings.NewReader("content"))
		req.Header.Set("Expect", "100-continue")
		res, err := by.client().Do(req)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if body := readAll(t, res); body != want {
			t.Errorf("%s: %d %q, want %q", path, res.StatusCode, body, want)
		}
	}
	for range 20 { // who sends it is decided by a race
		got := r.raw("POST / HTTP/1.1\nHost: x\nConnection: close\nExpect: 100-continue\nContent-Length: 4\n\nbody")
		if strings.Count(got, "HTTP/1.1 100 Continue") != 1 || !strings.HasSuffix(got, "got body") {
			t.Fatalf("got %q, want one 100 and the answer", got)
		}
	}
}

func TestBackendConnectionsAreReused(t *testing.T) {
	conns := make(map[string]bool)
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) { conns[r.RemoteAddr] = true })
	r := newRig(t, Options{}, nil, addr)
	for range 20 {
		r.get("/") // each from a connection of its own
	}
	if len(conns) != 1 {
		t.Errorf("%d connections to the backend for 20 requests in turn, want 1", len(conns))
	}
}

func TestDeadBackends(t *testing.T) {
	alive := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v", body, err)
	})
	t.Run("the next one is tried, with the body", func(t *testing.T) {
		r := newRig(t, Options{}, nil, deadAddr(t), deadAddr(t), alive)
		res, err := r.client().Post(r.url("/"), "text/plain", io.MultiReader(strings.NewReader("the "), strings.NewReader("body")))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, res); got != "the body <nil>" {
			t.Errorf("%d %q", res.StatusCode, got)
		}
		if u := r.upstream; u.failed.Load() != 2 || u.reached.Load() != 1 {
			t.Errorf("%d attempts failed and %d were answered, want 2 and 1", u.failed.Load(), u.reached.Load())
		}
		if got := res.Header["Set-Cookie"]; len(got) != 1 || got[0] != "mark=2" {
			t.Errorf("Set-Cookie %q, want that of the one that answered", got)
		}
	})
	t.Run("a refusal that counts more", func(t *testing.T) {
		for _, final := range []bool{false, true} {
			r := newRig(t, Options{}, nil, deadAddr(t))
			r.upstream.end = &Error{Status: 503, Text: "only that one", Final: final}
			res, err := r.client().Get(r.url("/"))
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, res); (res.StatusCode == 503) != final {
				t.Errorf("final %v: %d %q", final, res.StatusCode, got)
			}
		}
	})
	refusals := []struct {
		name   string
		addrs  func(t *testing.T) []netip.AddrPort
		pick   error
		o      Options
		status int
		text   string
		again  string // Retry-After
	}{
		{name: "all dead", status: 502, text: "502: no backend could be connected to\n",
			addrs: func(t *testing.T) []netip.AddrPort { return []netip.AddrPort{deadAddr(t), deadAddr(t)} }},
		{name: "more dead than attempts", status: 502, o: Options{Attempts: 1}, text: "502: no backend could be connected to\n",
			addrs: func(t *testing.T) []netip.AddrPort { return []netip.AddrPort{deadAddr(t), alive} }},
		{name: "none", status: 503, text: "503: no backend is available\n"},
		{name: "full", status: 503, pick: &Error{Status: 503, Text: "full", RetryAfter: 7 * time.Second}, text: "503: full\n", again: "7"},
		{name: "no route", status: 404, pick: fmt.Errorf("stage: %w", &Error{Status: 404, Text: "no route matches"}), text: "404: no route matches\n"},
		{name: "any error", status: 503, pick: errors.New("secret"), text: "503: no backend is available\n"},
		{name: "silent", status: 504, text: "504: the backend did not answer in time\n", o: Options{Timeouts: func(*http.Request) Timeouts { return Timeouts{Response: 50 * time.Millisecond} }},
			addrs: func(t *testing.T) []netip.AddrPort {
				end := make(chan struct{})
				addr := backend(t, func(http.ResponseWriter, *http.Request) { <-end })
				t.Cleanup(func() { close(end) })
				return []netip.AddrPort{addr, alive}
			}},
		{name: "broken", status: 502, text: "502: the backend's answer was broken or broke off\n",
			addrs: func(t *testing.T) []netip.AddrPort {
				return []netip.AddrPort{rawBackend(t, "SSH-2.0-OpenSSH_9\r\n"), alive}
			}},
		{name: "hangs up", status: 502, text: "502: the backend's answer was broken or broke off\n",
			addrs: func(t *testing.T) []netip.AddrPort { return []netip.AddrPort{rawBackend(t, ""), alive} }},
		{name: "101 unasked", status: 502, text: "502: the backend's answer was broken or broke off\n",
			addrs: func(t *testing.T) []netip.AddrPort {
				return []netip.AddrPort{rawBackend(t, "HTTP/1.1 101 Switching Protocols\r\n\r\nhello"), alive}
			}},
		{name: "101 unasked with names", status: 502, text: "502: the backend's answer was broken or broke off\n",
			addrs: func(t *testing.T) []netip.AddrPort {
				return []netip.AddrPort{rawBackend(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nhello"), alive}
			}},
	}
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			var addrs []netip.AddrPort
			if test.addrs != nil {
				addrs = test.addrs(t)
			}
			r := newRig(t, test.o, nil, addrs...)
			r.upstream.err = test.pick
			// A POST must not be sent again.
			res, err := r.client().Post(r.url("/"), "text/plain", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, res); res.StatusCode != test.status || got != test.text {
				t.Errorf("%d %q, want %q", res.StatusCode, got, test.text)
			}
			if got := res.Header.Get("Retry-After"); got != test.again {
				t.Errorf("Retry-After %q, want %q", got, test.again)
			}
		})
	}
}

// TestClientThatGoes: the request to the backend ends when the client has gone, as
// far as that can be known.
func TestClientThatGoes(t *testing.T) {
	for name, test := range map[string]struct {
		o      Options
		answer string // of the backend, before the client goes
		reset  bool   // or else the client only closes
	}{
		"reset":                          {reset: true},
		"reset in an answer":             {reset: true, answer: "text/plain"},
		"closed in an event stream":      {answer: "text/event-stream; charset=utf-8"},
		"closed, and that is said to do": {o: Options{Timeouts: func(*http.Request) Timeouts { return Timeouts{AbortOnClose: true} }}},
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan struct{})
			addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
				if test.answer != "" {
					w.Header().Set("Content-Type", test.answer)
					w.(http.Flusher).Flush()
				}
				close(began)
				<-r.Context().Done()
				close(ended)
			})
			r := newRig(t, test.o, nil, addr)
			conn, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-began
			if test.answer != "" {
				bufio.NewReader(conn).ReadString('\n')
			}
			if test.reset {
				conn.(*net.TCPConn).SetLinger(0)
			}
			conn.Close()
			select {
			case <-ended:
			case <-time.After(testkit.Patience):
				t.Fatal("the backend's request goes on")
			}
		})
	}
}

// TestHalfClosedClient: a client that has closed its half gets its answer.
func TestHalfClosedClient(t *testing.T) {
	closed := make(chan struct{}, 1)
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		<-closed
		time.Sleep(50 * time.Millisecond) // so that the end has come to the balancer, most likely
		fmt.Fprintf(w, "answer to %s%s", r.Method, body)
	})
	r := newRig(t, Options{}, nil, addr)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(testkit.Patience))
		io.WriteString(conn, request)
		conn.(*net.TCPConn).CloseWrite()
		closed <- struct{}{}
		got, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(got), " 200 OK") || !strings.Contains(string(got), "answer to") {
			t.Errorf("%q is answered with %q, %v", request, got, err)
		}
		conn.Close()
	}
}

func TestBodyThatBreaksOffIsTheClientsFault(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	r := newRig(t, Options{}, nil, addr)
	got := r.raw("POST / HTTP/1.1\nHost: x\nConnection: close\nTransfer-Encoding: chunked\n\nzz\nnonsense\n")
	if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("got %q, want a 400", got)
	}
}

func TestAnswerThatBreaksOffIsNotCompleted(t *testing.T) {
	r := newRig(t, Options{}, nil, rawBackend(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
	res, err := r.client().Get(r.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("half an answer came through as a whole one: %q", body)
	}
}

func TestProxyEnvironmentIsIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	r := newRig(t, Options{}, nil, backend(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "direct") }))
	if got := r.raw("GET / HTTP/1.1\nHost: x\nConnection: close\n\n"); !strings.HasSuffix(got, "direct\r\n0\r\n\r\n") && !strings.HasSuffix(got, "direct") {
		t.Errorf("got %q", got)
	}
}

func TestDoneIsToldTheStatus(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/103" {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
		}
	})
	r := newRig(t, Options{}, nil, addr)
	for path, want := range map[string]int{"/": http.StatusOK, "/103": http.StatusTeapot} {
		r.get(path)
		// The answer may arrive before Done is called.
		if got := <-r.statuses; got != want {
			t.Errorf("%s: Done is told %d, want %d", path, got, want)
		}
	}
}
