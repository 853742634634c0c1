package proxy_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/introduce"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

var (
	loopback = netip.MustParsePrefix("127.0.0.0/8")
	farAway  = netip.MustParsePrefix("192.0.2.0/24")
)

// behind is a listener behind proxies of these networks.
func behind(trust ...netip.Prefix) transport.ListenerSpec {
	return transport.ListenerSpec{Name: "public", Proxies: &introduce.Proxies{Listener: "public", Trust: trust}}
}

// headerOf is the header of a proxy whose client has that address.
func headerOf(v proxyproto.Version, client string, t *proxyproto.TLS) string {
	about := proxyproto.Client{TLS: t, Destination: netip.MustParseAddrPort("198.51.100.2:443")}
	if client != "" {
		about.Source = netip.MustParseAddrPort(client)
	}
	return string(proxyproto.Append(nil, v, &about))
}

// TestIntroduced: the client is who the header says, in sessions and for plain HTTP.
func TestIntroduced(t *testing.T) {
	spoke := &proxyproto.TLS{Version: "TLSv1.3", ServerName: "a.example"}
	for _, tt := range []struct {
		name, header, client, scheme string
	}{
		{"v1", headerOf(1, "203.0.113.9:1234", nil), "203.0.113.9:1234", "http"},
		{"v2", headerOf(2, "203.0.113.9:1234", nil), "203.0.113.9:1234", "http"},
		{"IPv6", headerOf(2, "[2001:db8::9]:1234", nil), "[2001:db8::9]:1234", "http"},
		{"TLS in front", headerOf(2, "203.0.113.9:1234", spoke), "203.0.113.9:1234", "https"},
		{"unknown", headerOf(1, "", nil), "127.0.0.1", "http"},
		{"unspecified", headerOf(2, "", nil), "127.0.0.1", "http"},
		{"local", string(proxyproto.AppendLocal(nil, 2)), "127.0.0.1", "http"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				server := echoing(t, "a")
				b := start(t, engine, setup{backends: []string{server.addr}, listener: behind(farAway, loopback)})
				c := b.dial()
				c.send(tt.header + upgrade("/") + clientFrame(1, "early")).want(101)
				c.wantBytes(serverFrame(1, "early"))
				b.wait("the session", func() bool { return len(b.opened) == 1 })
				if got := b.opened[0].Client.String(); !strings.HasPrefix(got, tt.client) {
					t.Errorf("the session's client is %s, want %s", got, tt.client)
				}
				// A connection that goes to net/http and comes back has its header behind it.
				kept := b.dial()
				kept.send(tt.header + "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").want(200)
				kept.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").want(200)
				kept.send(upgrade("/")).want(101)
				b.wait("the second session", func() bool { return len(b.opened) == 2 })
				if got := b.opened[1].Client.String(); !strings.HasPrefix(got, tt.client) {
					t.Errorf("after net/http, the session's client is %s, want %s", got, tt.client)
				}
				_, heads := server.seen()
				client, _, _ := strings.Cut(strings.Trim(tt.client, "["), "]")
				if a, err := netip.ParseAddrPort(tt.client); err == nil {
					client = a.Addr().String()
				}
				for _, head := range heads {
					if field(t, head, "X-Forwarded-For") != client || field(t, head, "X-Forwarded-Proto") != tt.scheme {
						t.Errorf("the backend got %q", head)
					}
				}
			})
		})
	}
}

// TestIntroducedInPieces: a header that is cut anywhere.
func TestIntroducedInPieces(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		b := start(t, engine, setup{backends: []string{server.addr}, listener: behind(loopback)})
		all := headerOf(2, "203.0.113.9:1234", &proxyproto.TLS{Version: "TLSv1.3"}) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		c := b.dial()
		for i := range len(all) {
			c.send(all[i : i+1])
		}
		c.want(200)
		c = b.dial()
		for _, piece := range strings.SplitAfter(headerOf(1, "203.0.113.9:1234", nil)+"GET / HTTP/1.1\r\nHost: a\r\n\r\n", " ") {
			c.send(piece)
		}
		c.want(200)
	})
}

// TestIntroducedBeforeTLS: the header comes in clear, TLS after it.
func TestIntroducedBeforeTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := echoing(t, "a")
		listener, config := onTLS(t, false)
		listener.Proxies = behind(loopback).Proxies
		b := start(t, engine, setup{backends: []string{server.addr}, listener: listener})
		for _, protocol := range []string{"http/1.1", "h2"} {
			plain := b.dial().send(headerOf(2, "203.0.113.9:1234", nil))
			config.NextProtos = []string{protocol}
			conn := tls.Client(plain.Conn, config)
			if err := conn.Handshake(); err != nil || conn.ConnectionState().NegotiatedProtocol != protocol {
				t.Fatal(err)
			}
			if protocol == "h2" {
				continue // see package http2_test.go for the rest
			}
			c := &client{conn, t, bufio.NewReader(conn)}
			c.send(upgrade("/")).want(101)
			c.send(clientFrame(1, "hello")).wantBytes(serverFrame(1, "hello"))
		}
		_, heads := server.seen()
		if got := field(t, heads[0], "X-Forwarded-For"); got != "203.0.113.9" {
			t.Errorf("the backend was told %q", got)
		}
	})
}

// TestIntroducedToForwarded: a proxy in front that is trusted by both speaks for one
// behind which its own clients stand.
func TestIntroducedToForwarded(t *testing.T) {
	server := echoing(t, "a")
	b := start(t, "portable", setup{backends: []string{server.addr}, listener: behind(loopback), trust: []netip.Prefix{farAway}})
	b.dial().send(headerOf(1, "192.0.2.7:1", nil) + upgrade("/", "X-Forwarded-For: 203.0.113.9")).want(101)
	b.wait("the first session", func() bool { return len(b.opened) == 1 })
	b.dial().send(headerOf(1, "203.0.113.8:1", nil) + upgrade("/", "X-Forwarded-For: 203.0.113.9")).want(101)
	b.wait("the sessions", func() bool { return len(b.opened) == 2 })
	if one, two := b.opened[0].Client.Addr().String(), b.opened[1].Client.Addr().String(); one != "203.0.113.9" || two != "203.0.113.8" {
		t.Errorf("the clients are %s and %s", one, two)
	}
}

// TestNotIntroduced: who doesn't say who the client is, or may not say it.
func TestNotIntroduced(t *testing.T) {
	for _, tt := range []struct {
		name, send, result, log string
		trust                   netip.Prefix
		silent                  bool // after what it has sent
	}{
		{"a stranger", upgrade("/"), "proxy_stranger", `127.0.0.1 is not in proxy_protocol.trust of the listener \"public\"`, farAway, false},
		{"a stranger with a header", headerOf(2, "203.0.113.9:1", nil) + upgrade("/"), "proxy_stranger", "is not in proxy_protocol.trust", farAway, false},
		{"a silent stranger", "", "proxy_stranger", "is not in proxy_protocol.trust", farAway, true},
		{"no header", upgrade("/"), "proxy_header", "doesn't begin with a PROXY protocol header", loopback, false},
		{"a broken one", "PROXY TCP4 1.2.3.4 1.2.3.4 1 x\r\n", "proxy_header", `\"x\" is not a port`, loopback, false},
		{"TLS", "\x16\x03\x01\x00\x05hello", "proxy_header", "doesn't begin with", loopback, false},
		{"half of one", "PROXY TCP4 1.2.3.4", "proxy_header", "not complete in time", loopback, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				s := setup{backends: []string{"127.0.0.1:1"}, listener: behind(tt.trust)}
				if tt.silent {
					s.handshake = 50 * time.Millisecond
				}
				b := start(t, engine, s)
				c := b.dial()
				c.send(tt.send)
				if n, _ := c.Read(make([]byte, 1)); n != 0 {
					t.Error("it was answered")
				}
				b.wantResult(tt.result)
				b.waitLog(tt.log)
			})
		})
	}
	t.Run("nothing", func(t *testing.T) {
		eachEngine(t, func(t *testing.T, engine string) {
			b := start(t, engine, setup{backends: []string{"127.0.0.1:1"}, listener: behind(loopback), handshake: 20 * time.Millisecond})
			b.dial().wantEnd()
			check := b.dial().send(string(proxyproto.AppendLocal(nil, 2)))
			check.Conn.(*net.TCPConn).SetLinger(0)
			check.Close()                  // by a reset, as HAProxy does
			b.dial().send("PROXY").Close() // in the middle
			b.wantResult("client_gone")
		})
	})
}

// TestUnexpectedHeader: a listener without proxy_protocol answers as it always does, and
// the log says which key to set.
func TestUnexpectedHeader(t *testing.T) {
	for _, v := range []proxyproto.Version{1, 2} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("version %d, TLS %t", v, secure), func(t *testing.T) {
				eachEngine(t, func(t *testing.T, engine string) {
					s := setup{backends: []string{"127.0.0.1:1"}, listener: transport.ListenerSpec{Name: "public"}}
					if secure {
						s.listener, _ = onTLS(t, false)
					}
					b := start(t, engine, s)
					c := b.dial().send(headerOf(v, "203.0.113.9:1", nil) + upgrade("/"))
					if secure {
						c.Read(make([]byte, 1))
						b.wantResult("tls_failed")
					} else {
						c.want(400)
						b.wantResult("bad_request")
					}
					b.waitLog("proxy_protocol.trust")
				})
			})
		}
	}
}

// TestStrangersDoNotFloodTheLog: the same with sockets.
func TestStrangersDoNotFloodTheLog(t *testing.T) {
	b := start(t, "portable", setup{backends: []string{"127.0.0.1:1"}, listener: behind(farAway)})
	for range 100 {
		b.dial()
	}
	b.wait("all", func() bool { return len(b.results) == 100 })
	b.waitLog("proxy_stranger")
	if n := strings.Count(b.log.String(), "proxy_stranger"); n > 90 {
		t.Errorf("%d lines", n)
	}
}
