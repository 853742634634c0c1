package proxy_test

import (
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// clocked is a backend that records when it gets handshakes.
type clocked struct {
	addr string
	mu   sync.Mutex // guards the following
	at   []time.Time
}

func newClocked(t *testing.T) *clocked {
	c := &clocked{}
	c.addr = newBackend(t, func(p *peer, _ string) {
		c.mu.Lock()
		c.at = append(c.at, time.Now())
		c.mu.Unlock()
		io.WriteString(p, switching())
		io.Copy(io.Discard, p.br)
	}).addr
	return c
}

// busiest is the largest number of handshakes in any second.
func (c *clocked) busiest() (most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.at, time.Time.Compare)
	for from, to := 0, 0; to < len(c.at); to++ {
		for c.at[to].Sub(c.at[from]) > time.Second {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

// lose opens n sessions with a backend, limits the rate of further handshakes, and
// then that backend is lost.
func lose(t *testing.T, engine string, n int, re *session.Reattach, o ratelimit.Options) (b *balancer, clients []*client, other *clocked, began time.Time) {
	q := slow(ratelimit.Options{})
	q.Configure(ratelimit.Options{})
	t.Cleanup(q.Close)
	other = newClocked(t)
	specs := []pool.Spec{{Name: "all", Backends: []pool.BackendSpec{{Address: losing(t, switching()).addr, Weight: 256}, {Address: other.addr, Name: "other"}}}}
	b = start(t, engine, setup{pools: specs, reattach: re, admit: q})
	b.registry.Backends()[1].SetAdmin(pool.Maint, "not yet")
	for range n {
		c := b.dial().send(upgrade("/"))
		c.want(101)
		clients = append(clients, c)
	}
	b.registry.Backends()[1].SetAdmin(pool.Ready, "now")
	q.Configure(o)
	began = time.Now()
	for _, c := range clients {
		c.send(clientFrame(1, "go"))
	}
	b.wait("all moves to be reported", func() bool { return len(b.moves) == n })
	return b, clients, other, began
}

// Sessions that lose their backend move to others no faster than handshakes may.
func TestMovesKeepToTheRate(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		const n, rate, burst = 80, 40, 20
		b, _, other, began := lose(t, engine, n, always, ratelimit.Options{Rate: rate, Burst: burst})
		if least := time.Second * (n - burst) / rate; time.Since(began) < least {
			t.Errorf("%d moves took %v, less than %v", n, time.Since(began), least)
		}
		for _, m := range b.moves {
			if m.Result != "moved" {
				t.Fatalf("a move ended with %s (%v)", m.Result, m.Err)
			}
		}
		if most := other.busiest(); most > rate+burst {
			t.Errorf("it got %d handshakes within a second, more than %d", most, rate+burst)
		}
	})
}

// A session whose turn would come too late ends at once; its client must come back.
func TestMovesThatWouldWaitTooLong(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		const n, rate, burst = 80, 20, 10
		re := *always
		re.Timeout = time.Second
		b, clients, other, _ := lose(t, engine, n, &re, ratelimit.Options{Rate: rate, Burst: burst})
		results := map[string]int{}
		for _, m := range b.moves {
			results[m.Result]++
		}
		// Those of its burst that are let go at once, and the rate for a second; a
		// slow machine moves fewer in that.
		if moved := results["moved"]; moved < 1 || moved > rate+burst || moved+results["waited"] != n {
			t.Errorf("%v", results)
		}
		if most := other.busiest(); most > rate+burst {
			t.Errorf("it got %d handshakes within a second, more than %d", most, rate+burst)
		}
		for _, c := range clients {
			c.Close()
		}
		b.wait("the end of all", func() bool { return len(b.ended) == n })
		lost := 0
		for _, s := range b.ended {
			if s.Cause == session.BackendLost && s.Code == 1012 {
				lost++
			}
		}
		if lost != results["waited"] {
			t.Errorf("%d were told 1012", lost)
		}
	})
}

// A reservation is a lease and a token. The move uses them or they are returned.
func TestReservation(t *testing.T) {
	q := slow(ratelimit.Options{Rate: 10})
	defer q.Close()
	two, three := answering(t, switching()), answering(t, switching())
	b, e := still(t, setup{backends: []string{answering(t, switching()).addr, two.addr, three.addr}, admit: q})
	b.dial().send(upgrade("/")).want(101)
	m := b.moving(session.Loss)
	e.started(t, 0)
	leases := func() (n [3]int) {
		for i, backend := range b.registry.Backends() {
			n[i] = backend.Sessions()
		}
		return n
	}
	delay := func() time.Duration {
		t.Helper()
		d, err := e.Reserve(m)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := func(what string, d time.Duration, most time.Duration, n [3]int) {
		t.Helper()
		if d > most || leases() != n {
			t.Errorf("%s: a delay of %v, want at most %v; leases %v, want %v", what, d, most, leases(), n)
		}
	}
	want("at first", delay(), 0, [3]int{1, 1, 0})
	want("asked again", delay(), 0, [3]int{1, 1, 0})
	e.Moved(m, 0, 0, relay.ErrMoveOver)
	want("given back", 0, 0, [3]int{1, 0, 0})
	want("reserved again", delay(), 0, [3]int{1, 1, 0})
	if to, _ := b.wantMove(e, m, "moved"); to != two.addr {
		t.Errorf("moved to %s", to)
	}
	want("moved", 0, 0, [3]int{1, 0, 0})
	// Its token is spent.
	d := delay()
	want("after that", d, 100*time.Millisecond, [3]int{1, 1, 0})
	if d < 20*time.Millisecond {
		t.Errorf("a token is there after %v", d)
	}
	// The reserved backend no longer takes sessions.
	b.registry.Backends()[1].SetAdmin(pool.Drain, "test")
	if to, _ := b.wantMove(e, m, "moved"); to != three.addr {
		t.Errorf("moved to %s", to)
	}
	want("elsewhere", 0, 0, [3]int{1, 0, 0})

	// Nothing is reserved for a session that can't be moved; Reattach says why.
	m.Info.ID = session.NewID()
	want("unknown", delay(), 0, [3]int{1, 0, 0})
	m = b.moving(session.Loss)
	b.registry.Backends()[2].SetAdmin(pool.Drain, "test")
	if _, err := e.Reserve(m); err == nil || !strings.Contains(err.Error(), "backend") {
		t.Errorf("without another backend: %v", err)
	}
}
