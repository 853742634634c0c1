package transport_test

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// noSessions is an Owner without slots.
type noSessions struct{}

func (noSessions) Ready(int32, session.Side, eventloop.Events) {}
func (noSessions) Expired(int32)                               {}
func (noSessions) Again()                                      {}
func (noSessions) BatchDone()                                  {}
func (noSessions) Stopped()                                    {}

// TestMeta follows connections through everything that may happen before a
// handshake. Their facts stay with them.
func TestMeta(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	group, err := eventloop.NewGroup(1, log, func(*eventloop.Loop) eventloop.Owner { return noSessions{} })
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	goroutines := netconn.New(log)
	defer goroutines.Close()
	for name, network := range map[string]transport.Network{"eventloop": group, "netconn": goroutines} {
		for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
			t.Run(name+" "+address, func(t *testing.T) { follow(t, network, address) })
		}
	}
}

func follow(t *testing.T, network transport.Network, address string) {
	metas, parked, detached := make(chan transport.Meta, 1), make(chan transport.Parked, 1), make(chan net.Conn, 1)
	detach := func(c transport.Conn) {
		metas <- c.Meta()
		nc, err := c.Detach()
		if err != nil {
			t.Error(err)
		}
		detached <- nc
	}
	ln, err := network.Listen(transport.ListenerSpec{Name: "old", Address: address}, func(c transport.Conn) {
		metas <- c.Meta()
		p, err := c.Park(nil, detach, func() {})
		if err != nil {
			t.Error(err)
		}
		parked <- p
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ln.Addr().Port())
	for _, name := range []string{"old", "new"} {
		if name == "new" {
			ln.SetSpec(transport.ListenerSpec{Name: "new", Address: address})
		}
		c, err := net.Dial("tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		from := c.LocalAddr().(*net.TCPAddr).AddrPort()
		check := func(when string, m transport.Meta) {
			t.Helper()
			if m.Listener == nil || m.Listener.Name != name || m.Listener.Address != address || m.Peer != from || m.Local != to || m.Scheme() != "http" {
				t.Errorf("%s, %s: %+v of the listener %+v; want %v to %v", name, when, m, m.Listener, from, to)
			}
		}
		m := <-metas
		check("accepted", m)
		(<-parked).Resume()
		check("resumed", <-metas)
		nc := <-detached

		// What a layer below HTTP has added stays, too.
		m.TLS, m.Peer = &transport.TLS{Version: 0x304}, netip.MustParseAddrPort("192.0.2.1:1234")
		if err := network.Adopt(nc, m, nil, detach); err != nil {
			t.Fatal(err)
		}
		if got := <-metas; got != m || got.Scheme() != "https" {
			t.Errorf("%s, adopted: %+v, want %+v", name, got, m)
		}
		(<-detached).Close()
	}
}
