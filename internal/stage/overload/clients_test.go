package overload

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// entries is how many addresses have a counter.
func (g *Gate) entries() int { return g.clients.counts.Len() }

func TestPerAddressIsDerived(t *testing.T) {
	for _, c := range []struct{ sessions, handshakes, given, want int }{
		{100_000, 8192, 0, 2048},
		{100_000, 100, 0, 64},
		{100_000, 10, 0, 10},
		{480, 0, 0, 120},
		{100_000, 8192, 5, 5},
		{100_000, 8192, 100_000, 100_000},
	} {
		g := New(Options{MaxSessions: c.sessions, MaxHandshakes: c.handshakes, PerAddress: c.given})
		if got := g.Limits().PerAddress; got != c.want {
			t.Errorf("of %+v: %d", c, got)
		}
	}
}

func TestHandshakesOfOneAddress(t *testing.T) {
	g := New(Options{MaxSessions: 100, MaxHandshakes: 50, PerAddress: 2})
	enter := func(a string) Ticket {
		t.Helper()
		tk, err := g.Enter(addr(a))
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		return tk
	}
	refused := func(a string) {
		t.Helper()
		before := g.Stats().Handshakes
		if _, err := g.Enter(addr(a)); !errors.Is(err, ErrTooManyOfAddress) || g.Stats().Handshakes != before {
			t.Errorf("%s: %v", a, err)
		}
	}
	one, two := enter("192.0.2.1"), enter("::ffff:192.0.2.1")
	refused("192.0.2.1")
	enter("192.0.2.2")
	enter("2001:db8::1")
	enter("2001:db8::2%eth0")
	refused("2001:db8::3")
	enter("2001:db8:0:1::1")
	for range 10 { // not known yet
		if _, err := g.Enter(netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}

	// Whatever becomes of a handshake, its place is given back.
	one.Leave()
	one.Leave()
	three := enter("192.0.2.1")
	refused("192.0.2.1")
	two.Opened()
	four := enter("192.0.2.1")
	refused("192.0.2.1")
	waiting := three.Wait()
	five := enter("192.0.2.1")
	six := waiting.Resume() // nobody is refused who has waited
	refused("192.0.2.1")
	five.Leave()
	refused("192.0.2.1")
	six.Leave()
	enter("192.0.2.1")
	four.Leave()

	// A handshake whose address comes from its head is counted from then on.
	late, _ := g.Enter(netip.Addr{})
	if err := late.SetClient(addr("192.0.2.1")); err != nil {
		t.Error(err)
	}
	if err := late.SetClient(addr("192.0.2.1")); err != nil {
		t.Errorf("counted twice: %v", err)
	}
	over, _ := g.Enter(netip.Addr{})
	if err := over.SetClient(addr("192.0.2.1")); !errors.Is(err, ErrTooManyOfAddress) {
		t.Errorf("over the bound: %v", err)
	}
	late.Leave()
	over.Leave()
	g.SetPerAddress(1)
	refused("192.0.2.1")
	g.SetPerAddress(3)
	enter("192.0.2.1")
}

// An address without handshakes has no counter.
func TestAddressesAreForgotten(t *testing.T) {
	g := New(Options{MaxSessions: 1000, PerAddress: 3})
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 2000 {
				tk, err := g.Enter(addr(fmt.Sprintf("10.0.%d.%d", w%2, i%7)))
				if err != nil {
					continue
				}
				switch i % 4 {
				case 0:
					tk.Opened()
					g.SessionEnded()
				case 1:
					waits := tk.Wait()
					again := waits.Resume()
					again.Leave()
				case 2:
					waits := tk.Wait()
					waits.Leave()
				}
				tk.Leave()
			}
		})
	}
	all.Wait()
	if s := g.Stats(); g.entries() != 0 || s.Handshakes != 0 || s.Sessions != 0 {
		t.Errorf("%d addresses are remembered; %+v", g.entries(), s)
	}
	for i := range 10_000 { // each of another address, and refused in the end
		g.Enter(addr(fmt.Sprintf("10.1.%d.%d", i/256, i%256)))
	}
	if n := g.entries(); n != 1000 {
		t.Errorf("%d addresses are remembered, of 1000 handshakes", n)
	}
}
