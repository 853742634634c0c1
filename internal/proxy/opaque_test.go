package proxy_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// rawServer calls serve for each connection, which it then closes.
func rawServer(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			nc.SetDeadline(time.Now().Add(patience))
			running.Go(func() {
				defer nc.Close()
				serve(nc)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return ln.Addr().String()
}

// reverse greets, reads a whole stream, and sends it back after "got ".
func reverse(nc net.Conn) {
	io.WriteString(nc, "hello ")
	all, err := io.ReadAll(nc)
	if err == nil {
		io.WriteString(nc, "got "+string(all))
	}
}

// onTCP is a listener for opaque bytes, and the rule for it.
func onTCP() (transport.ListenerSpec, []route.Rule) {
	return transport.ListenerSpec{Name: "l4", Mode: transport.TCP},
		[]route.Rule{{Pool: "all", Label: "http"}, {Opaque: true, Pool: "all", Label: "l4", Connection: route.Connection{Listener: "l4"}}}
}

func (c *client) closeWrite() *client {
	c.t.Helper()
	half := c.Conn.(interface{ CloseWrite() error })
	if err := half.CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// wantAll reads the whole stream.
func (c *client) wantAll(want string) {
	c.t.Helper()
	if all, err := io.ReadAll(c.br); err != nil || string(all) != want {
		c.t.Fatalf("got %q, %v; want %q", all, err, want)
	}
}

// wantGone wants the connection to end without a byte.
func (c *client) wantGone() {
	c.t.Helper()
	all, err := io.ReadAll(c.br)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || len(all) > 0 {
		c.t.Fatalf("got %q, %v; want the end", all, err)
	}
}

func (b *balancer) wantEnded(cause session.Cause) session.Summary {
	b.t.Helper()
	b.wait("the end of a session", func() bool { return len(b.ended) > 0 })
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.ended[len(b.ended)-1]
	if s.Cause != cause || s.Code != 0 {
		b.t.Errorf("a session ended with %s and code %d, want %s", s.Cause, s.Code, cause)
	}
	return s
}

// TestOpaque: a server that speaks first, and a client that ends its stream before the
// answer.
func TestOpaque(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, rules := onTCP()
		b := start(t, engine, setup{backends: []string{rawServer(t, reverse)}, listener: listener, rules: rules})
		b.dial().wantBytes("hello ") // and says nothing
		c := b.dial()
		c.wantBytes("hello ")
		c.send("GET / HTTP/1.1\r\n\r\n").closeWrite().wantAll("got GET / HTTP/1.1\r\n\r\n")
		s := b.wantEnded(session.ClientClosed)
		if want := [2]session.Traffic{{Bytes: 18}, {Bytes: 28}}; s.From != want || s.Client.String() != c.LocalAddr().String() {
			t.Errorf("it ended as %+v", s)
		}
		b.dial().send("x").closeWrite().wantAll("hello got x")
		if got := b.allResults(); len(got) != 3 || got[0] != "opened" || got[2] != "opened" {
			t.Errorf("counted as %q", got)
		}
	})
}

// TestOpaqueTLS: the balancer makes the handshake, and the backend gets what is inside.
func TestOpaqueTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, config := onTLS(t, true)
		spec, rules := onTCP()
		spec.TLS = listener.TLS
		b := start(t, engine, setup{backends: []string{rawServer(t, reverse)}, listener: spec, rules: rules})
		c := b.dialTLS(config)
		c.wantBytes("hello ")
		c.send("secret").closeWrite().wantAll("got secret")
		b.wantEnded(session.ClientClosed)

		// Whoever has the wrong name is told by an alert, and who speaks HTTP in HTTP.
		wrong := config.Clone()
		wrong.ServerName = "b.example"
		if err := tls.Client(b.dial().Conn, wrong).Handshake(); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("another name: %v", err)
		}
		b.dial().send("GET / HTTP/1.1\r\n\r\n").want(400)
		b.dial().send("SSH-2.0-x\r\n").wantGone()
	})
}

// TestOpaqueRetry: another backend is tried if one can't be connected to. If none can,
// the client sees the end of its connection.
func TestOpaqueRetry(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, rules := onTCP()
		b := start(t, engine, setup{backends: []string{testkit.FreeAddress(t), rawServer(t, reverse)}, listener: listener, rules: rules})
		b.dial().send("x").closeWrite().wantAll("hello got x")

		b = start(t, engine, setup{backends: []string{testkit.FreeAddress(t), testkit.FreeAddress(t)}, listener: listener, rules: rules})
		b.dial().send("x").wantGone()
		b.wantResult("backend_unreachable")
		b.waitLog("listener=l4")
		for _, word := range []string{"host=", "path="} {
			if strings.Contains(b.log.String(), word) {
				t.Errorf("the log has %s of a connection without a request:\n%s", word, b.log)
			}
		}
	})
}

// TestOpaqueFull: a refused connection is closed without a word.
func TestOpaqueFull(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, rules := onTCP()
		b := start(t, engine, setup{backends: []string{rawServer(t, reverse)}, listener: listener, rules: rules, maxSessions: 1})
		c := b.dial()
		c.wantBytes("hello ")
		b.dial().wantGone()
		b.waitLog("result=too_many_sessions")
		c.closeWrite().wantAll("got ")
	})
}

// TestOpaqueQueue: connections wait in the queue of a pool with admit, also those whose
// clients have ended their streams. One whose client resets it leaves.
func TestOpaqueQueue(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		listener, rules := onTCP()
		q := slow(ratelimit.Options{Burst: 1})
		defer q.Close()
		b := start(t, engine, setup{backends: []string{rawServer(t, reverse)}, listener: listener, rules: rules, admit: q})
		b.dial().send("first").closeWrite().wantAll("hello got first")
		half := b.dial().send("half-closed").closeWrite()
		open := b.dial().send("open")
		b.awaitQueue(q, 2)
		gone := b.dial()
		b.awaitQueue(q, 3)
		gone.Conn.(*net.TCPConn).SetLinger(0)
		gone.Close()
		b.awaitQueue(q, 2)
		q.Configure(ratelimit.Options{Rate: 1000, Burst: 1000, Queue: 100, QueueTimeout: patience})
		half.wantAll("hello got half-closed")
		open.wantBytes("hello ")
		open.send(" to the end").closeWrite().wantAll("got open to the end")
	})
}

// passthrough is a listener that passes TLS through, servers for two names and a
// default, and the authority of their certificates.
func passthrough(t *testing.T) (setup, *tls.Config) {
	ca := testca.New(t)
	s := setup{listener: transport.ListenerSpec{Name: "pass", Mode: transport.TLSPassthrough}}
	for _, name := range []string{"a.example", "b.example", "other.example"} {
		cert := ca.Issue(name).TLS
		config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
		address := rawServer(t, func(nc net.Conn) {
			c := tls.Server(nc, config)
			defer c.Close()
			fmt.Fprintf(c, "%s %s ", name, c.ConnectionState().NegotiatedProtocol)
			io.Copy(c, c)
		})
		s.pools = append(s.pools, pool.Spec{Name: name, Balance: "least_conn", Backends: []pool.BackendSpec{{Address: address, Weight: 1}}})
	}
	s.rules = []route.Rule{
		{Pool: "a.example", Label: "http"},
		{Opaque: true, Pool: "a.example", Label: "a.example", Connection: route.Connection{ServerName: host(t, "a.example")}},
		{Opaque: true, Pool: "b.example", Label: "*.b.example h2", Connection: route.Connection{ServerName: host(t, "*.example"), Protocol: "h2"}},
	}
	return s, &tls.Config{RootCAs: ca.Pool()}
}

func TestPassthrough(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s, config := passthrough(t)
		b := start(t, engine, s)
		for _, tt := range []struct {
			name, protocols string
			skip            bool // the client doesn't check the name
			server          string
		}{
			{"a.example", "", false, "a.example"},
			{"A.EXAMPLE", "h2", false, "a.example"},
			{"b.example", "http/1.1 h2", false, "b.example"},
			{"x.y.example", "h2", true, "b.example"},
		} {
			config := config.Clone()
			config.ServerName, config.NextProtos, config.InsecureSkipVerify = tt.name, strings.Fields(tt.protocols), tt.skip
			c := b.dialTLS(config)
			c.wantBytes(tt.server + " ")
			c.send("ping")
			c.closeWrite()
			if all, err := io.ReadAll(c.br); err != nil || !strings.HasSuffix(string(all), " ping") {
				t.Errorf("%s: %q, %v", tt.name, all, err)
			}
		}
	})
}

// TestPassthroughRefusals: what is no ClientHello for a route is answered as far as the
// client understands answers, and is one line of the log.
func TestPassthroughRefusals(t *testing.T) {
	hello := func(config *tls.Config) string {
		near, far := net.Pipe()
		defer near.Close()
		go tls.Client(far, config).Handshake()
		defer far.Close()
		buf := make([]byte, 4096)
		n, _ := near.Read(buf)
		return string(buf[:n])
	}
	known := hello(&tls.Config{ServerName: "a.example"})
	for _, tt := range []struct {
		name, send string
		result     string
		answer     string // its beginning
		log        string
	}{
		{"unknown name", hello(&tls.Config{ServerName: "c.test\""}), "no_route", "\x15\x03\x01\x00\x02\x02\x70", `server_name="c.test\""`},
		{"unknown protocol", hello(&tls.Config{ServerName: "b.example", NextProtos: []string{"spdy"}}), "no_route", "\x15\x03\x01\x00\x02\x02\x70", "server_name=b.example"},
		{"no name", hello(&tls.Config{InsecureSkipVerify: true}), "no_route", "\x15\x03\x01\x00\x02\x02\x6d", "no route matches"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "tls_failed", "HTTP/1.1 400 ", "the client doesn't speak TLS"},
		{"something else", "SSH-2.0-x\r\n\n\x00", "tls_failed", "", `sent \"SSH-2.0-x\\r\\n\\n\\x00\"`},
		{"malformed", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "tls_failed", "\x15\x03\x01\x00\x02\x02\x32", "malformed ClientHello"},
		{"too large", "\x16\x03\x01\x40\x00\x01\x00\x80\x00" + strings.Repeat("x", 20_000), "tls_failed", "\x15\x03\x01\x00\x02\x02\x32", "larger than"},
		{"cut", known[:100], "client_gone", "", "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				s, _ := passthrough(t)
				b := start(t, engine, s)
				c := b.dial().send(tt.send).closeWrite()
				got, err := io.ReadAll(c.br)
				if !strings.HasPrefix(string(got), tt.answer) || tt.answer == "" && len(got) > 0 || tt.answer != "" && err != nil {
					t.Errorf("the client got %q, %v; want %q", got, err, tt.answer)
				}
				b.wantResult(tt.result)
				b.waitLog(tt.log)
				if n := strings.Count(b.log.String(), "handshake refused"); n != 1 {
					t.Errorf("%d lines in the log:\n%s", n, b.log)
				}
			})
		})
	}
}

// TestPassthroughSilent: on a silent listener, a client that can't be served sees the end of
// its connection and nothing else.
func TestPassthroughSilent(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s, config := passthrough(t)
		s.listeners = map[string]*generation.ListenerPolicy{"pass": {Silent: true}}
		b := start(t, engine, s)
		config = config.Clone()
		config.ServerName = "c.test"
		if err := tls.Client(b.dial().Conn, config).Handshake(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("an unknown name: %v", err)
		}
		b.wantResult("no_route")
		config.ServerName = "a.example"
		b.dialTLS(config).wantBytes("a.example ")
	})
}

// TestPassthroughSlow: a hello may come byte by byte, but not for longer than a
// handshake may take. Silence is no handshake.
func TestPassthroughSlow(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s, config := passthrough(t)
		b := start(t, engine, s)
		config.ServerName = "a.example"
		plain := b.dial()
		c := tls.Client(byByte{plain.Conn}, config)
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		s.handshake = 50 * time.Millisecond
		b = start(t, engine, s)
		b.dial().wantGone()
		b.dial().send("\x16\x03\x01\x02").wantGone()
		b.wantResult("tls_failed")
		b.waitLog("did not arrive in time")
	})
}

type byByte struct{ net.Conn }

func (b byByte) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestPassthroughDefault: the pool of the listener gets what no route does, and a
// connection that waits in a queue keeps its hello.
func TestPassthroughDefault(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s, config := passthrough(t)
		s.rules = append(s.rules, route.Rule{Opaque: true, Pool: "other.example", Label: "pass", Connection: route.Connection{Listener: "pass"}})
		q := slow(ratelimit.Options{Burst: 1})
		defer q.Close()
		s.admit = q
		b := start(t, engine, s)
		config.ServerName = "other.example"
		b.dialTLS(config).wantBytes("other.example  ")
		done := make(chan struct{})
		go func() {
			defer close(done)
			c := tls.Client(b.dial().Conn, config)
			if err := c.Handshake(); err != nil {
				t.Error(err)
			}
		}()
		b.awaitQueue(q, 1)
		q.Configure(ratelimit.Options{Rate: 1000, Burst: 1000, Queue: 100, QueueTimeout: patience})
		<-done
	})
}
