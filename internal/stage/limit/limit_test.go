package limit

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/tally"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func rules(l *Limiter, scope string, most int) *Rules {
	return &Rules{Sessions: Max{Scope: l.Scope(scope), Max: most}}
}

// empty fails unless everything was given back.
func empty(t *testing.T, l *Limiter) {
	t.Helper()
	for i := range l.sessions {
		if n := len(l.sessions[i].keys); n > 0 {
			t.Errorf("%d sessions are remembered", n)
		}
	}
	if n := l.Stats().Counted; n != 0 || l.counted.Load() != 0 {
		t.Errorf("%d keys are counted, of %d sessions", n, l.counted.Load())
	}
}

func TestSessionsOfOneAddress(t *testing.T) {
	l := New()
	r := rules(l, "", 2)
	take := func(r *Rules, from string) (h Hold) {
		t.Helper()
		if err := h.Address(l, r, addr(from)); err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		return h
	}
	refused := func(r *Rules, from string) {
		t.Helper()
		var h Hold
		if err := h.Address(l, r, addr(from)); !errors.Is(err, ErrAddressSessions) || h != (Hold{}) {
			t.Errorf("%s: %v, holding %v", from, err, h)
		}
	}
	one, two := take(r, "2001:db8::1"), take(r, "2001:db8::ffff:2")
	refused(r, "2001:db8::3")
	other, mapped := take(r, "2001:db8:0:1::1"), take(r, "::ffff:192.0.2.1")
	last := take(r, "192.0.2.1")
	refused(r, "192.0.2.1")
	apart := take(rules(l, "/apart", 1), "192.0.2.1")
	refused(rules(l, "/apart", 1), "192.0.2.1")
	refused(rules(l, "", 1), "192.0.2.1") // a smaller bound holds at once
	more := take(rules(l, "", 3), "192.0.2.1")
	var none Hold
	for _, free := range []error{none.Address(l, r, netip.Addr{}), none.Address(l, &Rules{}, addr("192.0.2.1")), none.Claim(l, Max{}, "x")} {
		if free != nil || none != (Hold{}) {
			t.Errorf("without a bound: %v, holding %v", free, none)
		}
	}

	// It is counted once, until its session has ended.
	if err := one.Address(l, r, addr("2001:db8::1")); err != nil {
		t.Errorf("counted twice: %v", err)
	}
	waiting := one.Move()
	one.Release()
	refused(r, "2001:db8::3")
	id := session.NewID()
	waiting.Opened(id)
	waiting.Release()
	refused(r, "2001:db8::3")
	l.Ended(session.NewID())
	refused(r, "2001:db8::3")
	l.Ended(id)
	l.Ended(id)
	again := take(r, "2001:db8::3")
	refused(r, "2001:db8::3")
	for _, h := range []*Hold{&one, &waiting, &two, &other, &mapped, &last, &apart, &more, &again} {
		h.Release()
		h.Release()
	}
	empty(t, l)
}

func TestClaimsAndListeners(t *testing.T) {
	l := New()
	users := Max{Scope: l.Scope(""), Max: 1}
	var a, b, c Hold
	if err := errors.Join(a.Listener(l, "public", 2), b.Listener(l, "public", 2), a.Claim(l, users, "ann"), b.Claim(l, users, "bob")); err != nil {
		t.Fatal(err)
	}
	if err := c.Listener(l, "public", 2); !errors.Is(err, ErrListenerSessions) {
		t.Errorf("a third of the listener: %v", err)
	}
	if err := c.Listener(l, "internal", 2); err != nil {
		t.Errorf("another listener: %v", err)
	}
	if err := c.Claim(l, users, "ann"); !errors.Is(err, ErrClaimSessions) {
		t.Errorf("a second of a user: %v", err)
	}
	if err := c.Claim(l, Max{Scope: l.Scope("/other"), Max: 1}, "ann"); err != nil {
		t.Errorf("of another route: %v", err)
	}
	c.Release()
	id := session.NewID()
	a.Opened(id)
	l.Ended(id)
	if err := c.Claim(l, users, "ann"); err != nil {
		t.Errorf("after the end: %v", err)
	}
	c.Release()

	// Plain HTTP keeps the place of its listener only.
	b.Detach()
	b.Release()
	if err := errors.Join(c.Listener(l, "public", 2), c.Claim(l, users, "bob")); err != nil {
		t.Fatal(err)
	}
	if err := a.Listener(l, "public", 2); err == nil {
		t.Error("the connection of plain HTTP isn't counted")
	}
	l.EndedOn("public")
	c.Release()
	empty(t, l)
}

func TestNewSessionsOfOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New()
		r := &Rules{New: Rate{Scope: l.Scope(""), Rate: tally.PerSecond(2, 3)}, Sessions: Max{Scope: l.Scope(""), Max: 4}}
		var holds [10]Hold
		try := func(i int, want failure.Code) time.Duration {
			t.Helper()
			err := holds[i].Address(l, r, addr("192.0.2.1"))
			if err == nil {
				if want != 0 {
					t.Errorf("%d wasn't refused", i)
				}
				return 0
			}
			if f := failure.Of(err); f.Code != want {
				t.Errorf("%d: %v, want %v", i, err, want)
			}
			return failure.Of(err).RetryAfter
		}
		for i := range 3 {
			try(i, 0)
		}
		if after := try(3, failure.AddressRate); after != 500*time.Millisecond {
			t.Errorf("try again after %v", after)
		}
		time.Sleep(500 * time.Millisecond)
		try(3, 0)
		time.Sleep(time.Hour)
		if after := try(4, failure.AddressSessions); after != 0 {
			t.Errorf("nobody knows when a session ends, and not after %v", after)
		}
		for i := range holds {
			holds[i].Release()
		}
		empty(t, l)
	})
}

// Whatever becomes of sessions, nothing stays counted.
func TestEverythingIsGivenBack(t *testing.T) {
	l := New()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 3000 {
				var h Hold
				r := rules(l, fmt.Sprint(i%2), 3)
				r.New = Rate{Rate: tally.PerSecond(1e6, 1000)}
				h.Listener(l, "public", 5)
				h.Address(l, r, addr(fmt.Sprintf("10.0.%d.%d", w%2, i%5)))
				h.Claim(l, r.Sessions, fmt.Sprint(i%3))
				switch i % 3 {
				case 0:
					id := session.NewID()
					h.Opened(id)
					l.Ended(id)
				case 1:
					moved := h.Move()
					moved.Release()
				}
				h.Release()
			}
		})
	}
	all.Wait()
	empty(t, l)
}

// What a handshake costs, and the end of its session. The first is a route without
// limits.
func BenchmarkSession(b *testing.B) {
	for _, of := range []string{"none", "address", "rate", "all"} {
		b.Run(of, func(b *testing.B) {
			l := New()
			r := &Rules{}
			if of == "address" || of == "all" {
				r.Sessions = Max{Max: 1000}
			}
			if of == "rate" || of == "all" {
				r.New = Rate{Rate: tally.PerSecond(1e6, 1000000)}
			}
			addrs := make([]netip.Addr, 1024)
			for i := range addrs {
				addrs[i] = addr(fmt.Sprintf("10.0.%d.%d", i/256, i%256))
			}
			ids := make([]session.ID, 4096) // that are open at once
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				var h Hold
				if of == "all" {
					h.Listener(l, "public", 1e6)
					h.Claim(l, Max{Max: 1000}, "somebody")
				}
				h.Address(l, r, addrs[i%len(addrs)])
				id := &ids[i%len(ids)]
				l.Ended(*id)
				*id = session.ID{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
				h.Opened(*id)
				i++
			}
		})
	}
}

// Requests and connections are counted apart from sessions, and given back in whatever way
// they end.
func TestRequestsAndConnections(t *testing.T) {
	l := New()
	r := &Rules{Requests: Max{Scope: l.Scope(""), Max: 2}, Sessions: Max{Scope: l.Scope(""), Max: 1}}
	from := addr("2001:db8::1")
	var session1, plain, third Hold
	if err := errors.Join(session1.Address(l, r, from), session1.Request(l, r, from), plain.Request(l, r, from)); err != nil {
		t.Fatal(err)
	}
	if err := third.Request(l, r, addr("2001:db8::2")); !errors.Is(err, ErrAddressRequests) {
		t.Errorf("a third request: %v", err)
	}
	id := session.NewID()
	session1.Opened(id)
	plain.Release()
	if err := third.Request(l, r, from); err != nil {
		t.Errorf("after the end of one: %v", err)
	}
	// A reload: none any more, or of another route.
	if err := third.Request(l, &Rules{}, from); err != nil || l.Stats().Counted != 2 {
		t.Errorf("%v, and %d are counted", err, l.Stats().Counted)
	}
	other := &Rules{Requests: Max{Scope: l.Scope("/other"), Max: 1}}
	if err := errors.Join(third.Request(l, other, from), third.Request(l, other, from)); err != nil {
		t.Error(err)
	}
	if err := plain.Request(l, other, from); err == nil {
		t.Error("it isn't counted for the other route")
	}
	third.Release()
	l.Ended(id)

	// Connections, of which one is kept by net/http.
	var kept, next Hold
	if err := kept.Connection(l, 0, from); err != nil {
		t.Fatal(err)
	}
	if err := next.Connection(l, 1, addr("2001:db8::3")); !errors.Is(err, ErrAddressConnections) {
		t.Errorf("a second connection: %v", err)
	}
	kept.Detach()
	kept.Release()
	if err := next.Connection(l, 1, from); err == nil {
		t.Error("the connection isn't counted any more")
	}
	l.ConnectionEnded(from)
	if err := next.Connection(l, 1, from); err != nil {
		t.Errorf("after its end: %v", err)
	}
	next.Release()
	empty(t, l)
}
