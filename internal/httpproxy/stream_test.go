package httpproxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// connBackend serves each connection with f, which gets a reader of it.
func connBackend(t *testing.T, f func(conn *net.TCPConn, r *bufio.Reader, n int)) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				f(conn.(*net.TCPConn), bufio.NewReader(conn), n)
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return netip.MustParseAddrPort(l.Addr().String())
}

// rawClient is a connection to r that requests are written to by hand.
type rawClient struct {
	t *testing.T
	*net.TCPConn
	r *bufio.Reader
}

func (r *rig) dial() *rawClient {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	r.t.Cleanup(func() { conn.Close() })
	return &rawClient{r.t, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// ask sends a request without a body and returns the answer with its body.
func (c *rawClient) ask(request string) (*http.Response, string) {
	c.t.Helper()
	io.WriteString(c, strings.ReplaceAll(request, "\n", "\r\n"))
	return c.answer()
}

func (c *rawClient) answer() (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, readAll(c.t, res)
}

// TestConnectionsWithALogin: a connection to a backend on which a client has logged
// in is used only for that client's connection.
func TestConnectionsWithALogin(t *testing.T) {
	addr := connBackend(t, func(conn *net.TCPConn, r *bufio.Reader, n int) {
		user := ""
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if a := req.Header.Get("Authorization"); a != "" {
				user = a
			}
			switch {
			case req.URL.Path == "/open":
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(user), user)
			case user == "":
				io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a, b\", negotiate\r\nContent-Length: 0\r\n\r\n")
			default:
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(user), user)
			}
		}
	})
	r := newRig(t, Options{}, nil, addr)
	for _, scheme := range []string{"NTLM", "negotiate"} {
		alice, bob := r.dial(), r.dial()
		if res, _ := alice.ask("GET / HTTP/1.1\nHost: x\n\n"); res.StatusCode != 401 {
			t.Errorf("%s: alice gets %d before she has logged in", scheme, res.StatusCode)
		}
		if _, got := alice.ask("GET / HTTP/1.1\nHost: x\nAuthorization: " + scheme + " alice\n\n"); got != scheme+" alice" {
			t.Errorf("alice is %q", got)
		}
		for range 2 {
			if _, got := alice.ask("GET / HTTP/1.1\nHost: x\n\n"); got != scheme+" alice" {
				t.Errorf("alice is %q after her login", got)
			}
			if _, got := bob.ask("GET /open HTTP/1.1\nHost: x\n\n"); got != "" {
				t.Errorf("bob is %q", got)
			}
		}
		alice.Close()
		if _, got := bob.ask("GET /open HTTP/1.1\nHost: x\n\n"); got != "" {
			t.Errorf("bob is %q when alice has gone", got)
		}
	}
}

// TestEarlyAnswers: an answer that doesn't wait for the request's body reaches the
// client at once, also if the backend resets the connection after it.
func TestEarlyAnswers(t *testing.T) {
	for _, reset := range []bool{false, true} {
		addr := connBackend(t, func(conn *net.TCPConn, r *bufio.Reader, _ int) {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
			if reset {
				r.ReadByte() // so that more is unread, or comes
				conn.SetLinger(0)
				return
			}
			io.Copy(io.Discard, r)
		})
		r := newRig(t, Options{}, nil, addr)
		for range 20 {
			c := r.dial()
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
			var sending sync.WaitGroup
			if reset {
				sending.Go(func() {
					for range 20 {
						if _, err := c.Write(make([]byte, 16<<10)); err != nil {
							return
						}
					}
				})
			}
			if res, got := c.answer(); res.StatusCode != 413 || got != "big" || !res.Close {
				t.Errorf("reset %v: %d %q, close %v", reset, res.StatusCode, got, res.Close)
			}
			c.Close()
			sending.Wait()
		}
	}
}

// TestBothWaysAtOnce: each chunk of the request is answered before the next one
// is sent.
func TestBothWaysAtOnce(t *testing.T) {
	addr := connBackend(t, func(conn *net.TCPConn, r *bufio.Reader, _ int) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for lines := bufio.NewScanner(req.Body); lines.Scan(); {
			fmt.Fprintf(conn, "%x\r\n%s\n\r\n", len(lines.Text())+1, lines.Text())
		}
		io.WriteString(conn, "0\r\n\r\n")
	})
	r := newRig(t, Options{}, nil, addr)
	c := r.dial()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	echo := bufio.NewReader(res.Body)
	for i := range 5 {
		fmt.Fprintf(c, "2\r\n%d\n\r\n", i)
		if line, err := echo.ReadString('\n'); line != fmt.Sprintf("%d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	io.WriteString(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(echo); len(rest) > 0 || err != nil {
		t.Errorf("the end is %q, %v", rest, err)
	}
	if res, _ := c.ask("GET / HTTP/1.1\nHost: x\n\n"); res.StatusCode != 200 {
		t.Errorf("the next request gets %d", res.StatusCode)
	}
}

// TestAsSent: a target is passed on unchanged, an answer without a Content-Type gets
// none, a 426 keeps its Upgrade, and Via says which way a request came.
func TestAsSent(t *testing.T) {
	heads := make(chan string, 1)
	addr := connBackend(t, func(conn *net.TCPConn, r *bufio.Reader, _ int) {
		for {
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				head += line
			}
			heads <- head
			if strings.Contains(head, "/426") {
				io.WriteString(conn, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>")
		}
	})
	via := true
	r := newRig(t, Options{Via: func() bool { return via }}, nil, addr)
	c := r.dial()
	for target, want := range map[string]string{
		"/a%2Fb|c":               "/a%2Fb|c",
		"//x//y?%zz=\"{}":        "//x//y?%zz=\"{}",
		"http://x/a%2fb|c?q":     "/a%2fb|c?q",
		"http://x?q=http://y/":   "/?q=http://y/",
		"/%C3%A9;p=1/..%2F?a=/b": "/%C3%A9;p=1/..%2F?a=/b",
	} {
		res, _ := c.ask("GET " + target + " HTTP/1.1\nHost: x\nVia: 1.0 front\n\n")
		head := <-heads
		if !strings.HasPrefix(head, "GET "+want+" HTTP/1.1\r\n") {
			t.Errorf("%s is forwarded as %q", target, head)
		}
		if !strings.Contains(head, "Via: 1.0 front\r\nVia: 1.1 holdfast\r\n") {
			t.Errorf("no Via in %q", head)
		}
		if types := res.Header["Content-Type"]; types != nil {
			t.Errorf("a Content-Type was made up: %q", types)
		}
	}
	via = false
	if res, _ := c.ask("GET /426 HTTP/1.1\nHost: x\n\n"); res.Header.Get("Upgrade") != "websocket" || !hasToken(res.Header["Connection"], "upgrade") {
		t.Errorf("426 with %v", res.Header)
	}
	if head := <-heads; strings.Contains(head, "Via") {
		t.Errorf("Via is sent though it is off: %q", head)
	}
}

// TestConnectionClosedWhileIdle: a request on a connection that the backend has
// closed meanwhile is sent again.
func TestConnectionClosedWhileIdle(t *testing.T) {
	addr := connBackend(t, func(conn *net.TCPConn, r *bufio.Reader, n int) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		if n == 1 { // the second request on it is never answered
			http.ReadRequest(r)
		}
	})
	r := newRig(t, Options{}, nil, addr)
	for i, want := range []string{"1", "2", "3"} {
		if _, got := r.get("/"); got != want {
			t.Errorf("request %d is answered on connection %s", i+1, got)
		}
	}
}

func TestClientsTooSlow(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for range 1000 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	r := newRig(t, Options{Timeouts: func(*http.Request) Timeouts { return Timeouts{Body: 50 * time.Millisecond} }}, nil, addr)
	c := r.dial()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
	if res, _ := c.answer(); res.StatusCode != 408 || !res.Close {
		t.Errorf("a body that doesn't come is answered with %d, close %v", res.StatusCode, res.Close)
	}
	<-r.statuses
	r.server.SetLimits(Limits{Send: 50 * time.Millisecond})
	c = r.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-r.statuses: // it was given up without a byte being read
	case <-time.After(testkit.Patience):
		t.Error("an answer that isn't read goes on")
	}
}
