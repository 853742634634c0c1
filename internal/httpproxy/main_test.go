package httpproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; nothing takes that long.
const patience = 10 * time.Second

// inOrder is an Upstream that picks the first address not tried.
type inOrder struct {
	addrs    []netip.AddrPort
	err      error // unless nil, Pick's answer
	end      error // unless nil, Pick's answer once all were tried
	picked   atomic.Int64
	released atomic.Int64
	reached  atomic.Int64
	failed   atomic.Int64
}

func (u *inOrder) Pick(r *http.Request, tried []uint32) (Target, error) {
	if u.err != nil {
		return Target{}, u.err
	}
	for i, addr := range u.addrs {
		if !slices.Contains(tried, uint32(i)) {
			u.picked.Add(1)
			return Target{Key: uint32(i), Addr: addr, Release: func() { u.released.Add(1) },
				SetCookie: fmt.Sprintf("mark=%d", i), Reached: func(err error) {
					if err != nil {
						u.failed.Add(1)
					} else {
						u.reached.Add(1)
					}
				}}, nil
		}
	}
	if u.end != nil {
		return Target{}, u.end
	}
	return Target{}, fmt.Errorf("all of %d were tried", len(tried))
}

// rig is a Proxy behind a Server, with real connections on both sides.
type rig struct {
	t        *testing.T
	addr     string
	server   *Server
	upstream *inOrder
	statuses chan int // of Done
}

// newRig hands connections over with their first bytes already read, as the
// spine does. Everything is closed and checked for leaks in the end.
func newRig(t *testing.T, o Options, onWebSocket func(http.ResponseWriter, *http.Request), addrs ...netip.AddrPort) *rig {
	t.Helper()
	r := &rig{t: t, upstream: &inOrder{addrs: addrs}, statuses: make(chan int, 100)}
	o.Upstream, o.Log = r.upstream, slog.New(slog.DiscardHandler)
	o.Done = func(status int, _ time.Duration) {
		r.statuses <- status
	}
	proxy := New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.server = NewServer(ServerOptions{Addr: l.Addr(), Handler: proxy, OnWebSocket: onWebSocket, Log: o.Log})
	var all sync.WaitGroup
	all.Go(func() {
		if err := r.server.Serve(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				first := make([]byte, 10)
				conn.SetReadDeadline(time.Now().Add(patience))
				n, _ := conn.Read(first)
				conn.SetReadDeadline(time.Time{})
				r.server.Hand(conn, first[:n])
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		all.Wait()
		proxy.Close()
		if picked, released := r.upstream.picked.Load(), r.upstream.released.Load(); picked != released {
			t.Errorf("%d targets were picked and %d released", picked, released)
		}
	})
	return r
}

// backend starts an HTTP server and returns its address.
func backend(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// rawBackend answers each request's head with what answer returns.
func rawBackend(t *testing.T, answer string) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					io.WriteString(conn, answer)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return netip.MustParseAddrPort(l.Addr().String())
}

// deadAddr refuses connections.
func deadAddr(t *testing.T) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// client has connections of its own, closed with the test.
func (r *rig) client() *http.Client {
	transport := &http.Transport{DisableCompression: true, ExpectContinueTimeout: patience}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func (r *rig) url(path string) string { return "http://" + r.addr + path }

// get returns the answer with its body.
func (r *rig) get(path string) (*http.Response, string) {
	r.t.Helper()
	res, err := r.client().Get(r.url(path))
	if err != nil {
		r.t.Fatal(err)
	}
	return res, readAll(r.t, res)
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// raw sends request as it stands and returns all that comes back until the
// connection is closed.
func (r *rig) raw(request string) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n"))
	answer, err := io.ReadAll(conn)
	if err != nil {
		r.t.Fatalf("%v after %q", err, answer)
	}
	return string(answer)
}
