package introduce_test

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/introduce"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

func TestTrusts(t *testing.T) {
	private := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for _, tt := range []struct {
		proxies introduce.Proxies
		peer    netip.AddrPort
		want    bool
	}{
		{introduce.Proxies{Trust: private}, netip.MustParseAddrPort("10.1.2.3:1"), true},
		{introduce.Proxies{Trust: private}, netip.MustParseAddrPort("[::ffff:10.1.2.3]:1"), true},
		{introduce.Proxies{Trust: private}, netip.MustParseAddrPort("11.1.2.3:1"), false},
		{introduce.Proxies{Trust: private}, hostport.UnixPeer, false},
		{introduce.Proxies{Trust: local}, hostport.UnixPeer, true},
		{introduce.Proxies{Unix: true}, hostport.UnixPeer, true},
		{introduce.Proxies{Unix: true}, netip.MustParseAddrPort("127.0.0.1:1"), false},
	} {
		if got := tt.proxies.Trusts(tt.peer); got != tt.want {
			t.Errorf("%+v trusts %v: %t", tt.proxies, tt.peer, got)
		}
	}
}

// TestIntroduce has what follows from each kind of header, and from what isn't one.
func TestIntroduce(t *testing.T) {
	client := proxyproto.Client{Source: netip.MustParseAddrPort("203.0.113.9:1"), Destination: netip.MustParseAddrPort("198.51.100.2:2"),
		TLS: &proxyproto.TLS{Version: "TLSv1.3", Cipher: "x", ServerName: "a.example", Protocol: "h2", Certificate: true, CommonName: "me"}}
	whole := string(proxyproto.Append(nil, proxyproto.V2, &client))
	for _, tt := range []struct {
		name, send string
		silent     bool // after that; otherwise it ends
		code       failure.Code
		peer       string // "" is the proxy's own address
		tls        bool
		rest       string
	}{
		{"v1", "PROXY TCP4 203.0.113.9 198.51.100.2 1 2\r\nrest", false, 0, "203.0.113.9:1", false, "rest"},
		{"v2", whole + "rest", false, 0, "203.0.113.9:1", true, "rest"},
		{"nothing after it", whole, true, 0, "203.0.113.9:1", true, ""},
		{"local", string(proxyproto.AppendLocal(nil, proxyproto.V2)) + "rest", false, 0, "", false, "rest"},
		{"unknown", "PROXY UNKNOWN\r\n", true, 0, "", false, ""},
		{"nothing", "", false, failure.NothingAsked, "", false, ""},
		{"silence", "", true, failure.NothingAsked, "", false, ""},
		{"half", whole[:20], false, failure.ClientGone, "", false, ""},
		{"half and silence", whole[:20], true, failure.ProxyHeader, "", false, ""},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", false, failure.ProxyHeader, "", false, ""},
		{"too long", "PROXY " + strings.Repeat("x", 5000), false, failure.ProxyHeader, "", false, ""},
		{"too long by its length", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", true, failure.ProxyHeader, "", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			network := netconn.New(slog.New(slog.DiscardHandler))
			defer network.Close()
			proxies := introduce.Proxies{Listener: "public", Trust: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
			type outcome struct {
				err  error
				meta transport.Meta
				rest string
			}
			done := make(chan outcome, 1)
			ln, err := network.Listen(transport.ListenerSpec{Address: "127.0.0.1:0"}, func(c transport.Conn) {
				wait := testkit.Patience
				if tt.silent && tt.code != 0 {
					wait = 20 * time.Millisecond
				}
				c.SetDeadline(time.Now().Add(wait))
				o := outcome{err: proxies.Introduce(c, make([]byte, proxyproto.MaxSize)), meta: c.Meta()}
				if tt.rest != "" {
					buf := make([]byte, 100)
					n, _ := c.Read(buf)
					o.rest = string(buf[:n])
				}
				done <- o
			})
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Write([]byte(tt.send))
			if !tt.silent {
				c.(*net.TCPConn).CloseWrite()
			}
			got := <-done
			if tt.code != 0 {
				if f := failure.Of(got.err); got.err == nil || f.Code != tt.code || f.Refusal != nil || got.meta.Front != nil {
					t.Errorf("%v, %+v", got.err, got.meta)
				}
				return
			}
			peer := transport.AddrPort(c.LocalAddr()).String()
			if got.err != nil || got.meta.Front == nil || got.meta.Front.Proxy.String() != peer || got.rest != tt.rest {
				t.Fatalf("%v, %+v, rest %q", got.err, got.meta, got.rest)
			}
			if tt.peer != "" {
				peer = tt.peer
			}
			if got.meta.Peer.String() != peer || (got.meta.Front.TLS != nil) != tt.tls || tt.tls && *got.meta.Front.TLS != *client.TLS {
				t.Errorf("%+v, %+v", got.meta, got.meta.Front)
			}
		})
	}
}

func TestStranger(t *testing.T) {
	proxies := introduce.Proxies{Listener: "public"}
	c := stranger{}
	if f := failure.Of(proxies.Introduce(c, nil)); f.Code != failure.ProxyStranger || !strings.Contains(f.Reason, `203.0.113.9 is not in proxy_protocol.trust of the listener "public"`) {
		t.Errorf("%v", f)
	}
}

// stranger is a connection of which nothing may be read.
type stranger struct{ transport.Conn }

func (stranger) Meta() transport.Meta {
	return transport.Meta{Peer: netip.MustParseAddrPort("203.0.113.9:1")}
}
