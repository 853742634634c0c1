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

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inOrder is an Upstream that picks the first address that was not tried.
type inOrder struct {
	addrs    []netip.AddrPort
	tls      TLS // of all addresses, with host
	host     string
	header   func(*http.Request) string // nil is none
	err      error                      // unless nil, Pick's answer
	end      error                      // unless nil, Pick's answer once all were tried
	picked   atomic.Int64
	released atomic.Int64
	reached  atomic.Int64
	failed   atomic.Int64
}

func (u *inOrder) Pick(r *http.Request, tried, own []uint32) (Target, error) {
	if u.err != nil {
		return Target{}, u.err
	}
	for i, addr := range u.addrs {
		if !slices.Contains(tried, uint32(i)) {
			u.picked.Add(1)
			header := ""
			if u.header != nil {
				header = u.header(r)
			}
			return Target{Header: header, Key: uint32(i), Addr: hostport.At(addr), TLS: u.tls, Host: u.host, Release: func() { u.released.Add(1) },
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
	proxy    *Proxy
	upstream *inOrder
	statuses chan int // of Done
	http2    bool     // all its clients speak that
}

// newRig hands connections over with their first bytes already read, as the spine
// does. At the end everything is closed and checked for leaks.
func newRig(t *testing.T, o Options, handBack func(net.Conn, transport.Meta, []byte), addrs ...netip.AddrPort) *rig {
	t.Helper()
	return startRig(t, o, ServerOptions{IsPlain: isPlainOn, HandBack: handBack}, false, addrs...)
}

// startRig is newRig for either version of HTTP. HTTP/2 comes without TLS, as the
// spine hands it over.
func startRig(t *testing.T, o Options, so ServerOptions, http2 bool, addrs ...netip.AddrPort) *rig {
	t.Helper()
	r := &rig{t: t, upstream: &inOrder{addrs: addrs}, statuses: make(chan int, 10_000), http2: http2}
	o.Upstream, o.Log = r.upstream, slog.New(slog.DiscardHandler)
	o.Done = func(_ *http.Request, d Done) {
		r.statuses <- d.Status
	}
	proxy := New(o)
	r.proxy = proxy
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	so.Addr, so.Handler, so.Log = l.Addr(), proxy, o.Log
	r.server = NewServer(so)
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
			if http2 {
				r.server.Hand(conn, transport.Meta{TLS: &transport.TLS{Protocol: "h2"}}, nil)
				continue
			}
			all.Go(func() {
				first := make([]byte, 10)
				conn.SetReadDeadline(time.Now().Add(testkit.Patience))
				n, _ := conn.Read(first)
				conn.SetReadDeadline(time.Time{})
				r.server.Hand(conn, transport.Meta{}, first[:n])
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
		defer cancel()
		if err := r.server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		all.Wait()
		proxy.Close()
		// Shutdown doesn't wait for requests of an HTTP/2 connection that was cut.
		testkit.Eventually(t, "all targets that were picked are released", func() bool {
			return r.upstream.picked.Load() == r.upstream.released.Load()
		})
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

// client has its own connections, which are closed with the test.
func (r *rig) client() *http.Client {
	transport := &http.Transport{DisableCompression: true, ExpectContinueTimeout: testkit.Patience, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!r.http2)
	transport.Protocols.SetUnencryptedHTTP2(r.http2)
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: testkit.Patience}
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

// raw sends request unchanged and returns everything that comes back until the
// connection is closed.
func (r *rig) raw(request string) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n"))
	answer, err := io.ReadAll(conn)
	if err != nil {
		r.t.Fatalf("%v after %q", err, answer)
	}
	return string(answer)
}

// isPlainOn is isPlain for ServerOptions.
func isPlainOn(_ *transport.Meta, req *httphead.Request) bool { return isPlain(req) }
