package overload

import (
	"errors"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestEnterRefusesAtTheLimits(t *testing.T) {
	g := New(Options{MaxSessions: 3, MaxHandshakes: 2})
	first, err := g.Enter(netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	second, _ := g.Enter(netip.Addr{})
	if _, err := g.Enter(netip.Addr{}); !errors.Is(err, ErrTooManyHandshakes) {
		t.Errorf("third handshake: %v, want ErrTooManyHandshakes", err)
	}
	first.Opened()
	third, err := g.Enter(netip.Addr{})
	if err != nil {
		t.Errorf("after one became a session: %v", err)
	}
	if _, err := g.Enter(netip.Addr{}); !errors.Is(err, ErrTooManySessions) {
		t.Errorf("with every place promised: %v, want ErrTooManySessions", err)
	}
	second.Leave()
	third.Opened()
	g.SessionEnded()
	want := Stats{Handshakes: 0, Sessions: 1, RefusedHandshakes: 1, RefusedSessions: 1}
	if got := g.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestTicketIsGivenBackOnce(t *testing.T) {
	g := New(Options{MaxSessions: 10})
	other, _ := g.Enter(netip.Addr{})
	defer other.Leave()
	ticket, _ := g.Enter(netip.Addr{})
	ticket.Leave()
	ticket.Leave()
	ticket.Opened()
	if got := g.Stats(); got.Handshakes != 1 || got.Sessions != 0 {
		t.Errorf("after Leave twice and Opened: %+v, want 1 handshake", got)
	}
	ticket, _ = g.Enter(netip.Addr{})
	ticket.Opened()
	ticket.Opened()
	ticket.Leave()
	if got := g.Stats(); got.Handshakes != 1 || got.Sessions != 1 {
		t.Errorf("after Opened twice and Leave: %+v, want 1 handshake and 1 session", got)
	}
	var none Ticket
	none.Leave()
	none.Opened()
}

func TestStop(t *testing.T) {
	g := New(Options{MaxSessions: 1})
	inside, _ := g.Enter(netip.Addr{})
	g.Stop()
	g.Stop()
	if _, err := g.Enter(netip.Addr{}); !errors.Is(err, ErrStopping) || !g.Stopping() {
		t.Errorf("Enter after Stop: %v, want ErrStopping before any other reason", err)
	}
	inside.Opened()
	if got := g.Stats(); got.Sessions != 1 || got.RefusedStopping != 1 {
		t.Errorf("stats %+v: what was inside goes on", got)
	}
	g.SessionEnded()
	if got := g.Stats(); got.Sessions != 0 || !g.Stopping() {
		t.Errorf("stats %+v, stopping %v at the end", got, g.Stopping())
	}
}

func TestSessionEndedWithoutSessionPanics(t *testing.T) {
	g := New(Options{MaxSessions: 1})
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	g.SessionEnded()
}

func TestGateFollowsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{
			MaxSessions:   rapid.IntRange(1, 8).Draw(t, "max sessions"),
			MaxHandshakes: rapid.IntRange(1, 10).Draw(t, "max handshakes"),
		}
		g := New(o)
		var inside []Ticket
		sessions, stopped := 0, false
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			what := rapid.IntRange(0, 50).Draw(t, "what")
			switch {
			case what == 0:
				g.Stop()
				stopped = true
			case what%4 == 1 && len(inside) > 0:
				inside[0].Leave()
				inside = inside[1:]
			case what%4 == 2 && len(inside) > 0:
				inside[0].Opened()
				inside, sessions = inside[1:], sessions+1
			case what%4 == 3 && sessions > 0:
				g.SessionEnded()
				sessions--
			default:
				var want error
				switch {
				case stopped:
					want = ErrStopping
				case len(inside)+sessions == o.MaxSessions:
					want = ErrTooManySessions
				case len(inside) == o.MaxHandshakes:
					want = ErrTooManyHandshakes
				}
				ticket, err := g.Enter(netip.Addr{})
				if err != want {
					t.Fatalf("Enter with %d handshakes, %d sessions of %+v: %v, want %v", len(inside), sessions, o, err, want)
				}
				if err == nil {
					inside = append(inside, ticket)
				}
			}
			if got := g.Stats(); got.Handshakes != len(inside) || got.Sessions != sessions {
				t.Fatalf("stats %+v, want %d handshakes, %d sessions", got, len(inside), sessions)
			}
		}
	})
}

// The limits hold at every moment that is visible, not only in the end.
func TestLimitsHoldUnderConcurrency(t *testing.T) {
	o := Options{MaxSessions: 7, MaxHandshakes: 3}
	g := New(o)
	var done atomic.Bool
	var watchers, workers sync.WaitGroup
	watchers.Go(func() {
		for !done.Load() {
			s := g.Stats()
			if s.Handshakes > o.MaxHandshakes || s.Handshakes+s.Sessions > o.MaxSessions || s.Handshakes < 0 || s.Sessions < 0 {
				t.Errorf("seen %+v, limits %+v", s, o)
				return
			}
		}
	})
	var entered atomic.Int64
	for range 8 {
		workers.Go(func() {
			for i := range 5000 {
				ticket, err := g.Enter(netip.Addr{})
				if err != nil {
					continue
				}
				entered.Add(1)
				if i%3 == 0 {
					ticket.Leave()
					continue
				}
				ticket.Opened()
				ticket.Leave()
				g.SessionEnded()
			}
		})
	}
	workers.Wait()
	done.Store(true)
	watchers.Wait()
	s := g.Stats()
	if s.Handshakes != 0 || s.Sessions != 0 {
		t.Errorf("left inside: %+v", s)
	}
	if total := uint64(entered.Load()) + s.RefusedHandshakes + s.RefusedSessions; total != 8*5000 {
		t.Errorf("%d entered or refused, want every one of %d", total, 8*5000)
	}
}

func TestFromDescriptors(t *testing.T) {
	for nofile, want := range map[int]Options{
		0:       {MaxSessions: 1, MaxHandshakes: 1},
		100:     {MaxSessions: 18, MaxHandshakes: 18},
		1024:    {MaxSessions: 480, MaxHandshakes: 480},
		20000:   {MaxSessions: 9488, MaxHandshakes: 8192},
		1 << 20: {MaxSessions: 523776, MaxHandshakes: 8192},
	} {
		if got := FromDescriptors(nofile); got != want {
			t.Errorf("FromDescriptors(%d) = %+v, want %+v", nofile, got, want)
		}
	}
}

func TestDefaultLimits(t *testing.T) {
	if got, want := New(Options{}).Limits(), New(FromDescriptors(descriptorLimit())).Limits(); got != want {
		t.Errorf("limits %+v, want %+v", got, want)
	}
	if got, want := New(Options{MaxSessions: 5, MaxHandshakes: 9}).Limits(), (Options{MaxSessions: 5, MaxHandshakes: 5, PerAddress: 5}); got != want {
		t.Errorf("limits %+v, want %+v", got, want)
	}
	if got, want := New(Options{MaxSessions: math.MaxInt}).Limits(), (Options{MaxSessions: 1 << 30, MaxHandshakes: 8192, PerAddress: 2048}); got != want {
		t.Errorf("limits %+v, want %+v", got, want)
	}
}

func BenchmarkGate(b *testing.B) {
	g := New(Options{MaxSessions: 1000})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ticket, err := g.Enter(netip.Addr{})
			if err != nil {
				b.Error(err)
			}
			ticket.Opened()
			g.SessionEnded()
		}
	})
}

// A waiting handshake counts as a session, and as a handshake once it resumes.
func TestTicketThatWaits(t *testing.T) {
	g := New(Options{MaxSessions: 3, MaxHandshakes: 1})
	want := func(handshakes, sessions, waiting int) {
		t.Helper()
		if s := g.Stats(); s.Handshakes != handshakes || s.Sessions != sessions || s.Waiting != waiting {
			t.Errorf("stats %+v, want %d handshakes, %d sessions, %d of them waiting", s, handshakes, sessions, waiting)
		}
	}
	var waiting []Ticket
	for i := range 3 { // waiting ones leave MaxHandshakes to others
		ticket, err := g.Enter(netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, ticket.Wait())
		ticket.Leave()
		ticket.Opened()
		want(0, i+1, i+1)
	}
	if _, err := g.Enter(netip.Addr{}); !errors.Is(err, ErrTooManySessions) {
		t.Errorf("Enter with all places waited in: %v", err)
	}
	waiting[0].Leave()
	waiting[0].Leave()
	want(0, 2, 2)
	first, second := waiting[1].Resume(), waiting[2].Resume()
	waiting[1].Leave()
	gone := waiting[2].Resume()
	gone.Leave()
	want(2, 0, 0)
	if _, err := g.Enter(netip.Addr{}); !errors.Is(err, ErrTooManyHandshakes) {
		t.Errorf("Enter beside those that go on: %v", err)
	}
	first.Opened()
	second.Leave()
	want(0, 1, 0)
	again := (&Ticket{}).Wait()
	again.Leave()
	want(0, 1, 0)
}
