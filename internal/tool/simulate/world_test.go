package simulate

import (
	"context"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/drain"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// check checks what must be true of a world between any two events.
func check(t rapid.TB, w *world) {
	t.Helper()
	var count [states]int
	held := make([]int, len(w.servers)) // sessions and handshakes, by server
	for i := range w.clients {
		c := &w.clients[i]
		count[c.state]++
		if (c.state == connected) != (c.server != none) {
			t.Fatalf("client %d is in state %d with server %d", i, c.state, c.server)
		}
		if c.server != none {
			held[c.server]++
			if w.servers[c.server].sessions[c.slot] != int32(i) {
				t.Fatalf("server %d doesn't know of the session of client %d", c.server, i)
			}
		}
		if c.attempt != none {
			a := w.attempts.all[c.attempt]
			if a.client != int32(i) {
				t.Fatalf("the attempt of client %d is client %d's", i, a.client)
			}
			switch {
			case a.choice.Backend != nil:
				held[a.choice.Index]++
			case a.reserved != nil:
				held[a.reserved.Choice.Index]++
			}
		}
	}
	if count != w.clientsByState {
		t.Fatalf("there are %v clients by state, counted are %v", count, w.clientsByState)
	}
	for i, s := range w.servers {
		if leases := s.backend.Sessions(); leases != held[i] {
			t.Fatalf("server %d has %d sessions and handshakes and %d leases", i, held[i], leases)
		}
		if s.waiting() > w.s.Servers.Backlog {
			t.Fatalf("%d wait at server %d, %d may", s.waiting(), i, w.s.Servers.Backlog)
		}
	}
}

var someScenarios = rapid.Custom(func(t *rapid.T) *Scenario {
	servers := rapid.IntRange(1, 6).Draw(t, "servers")
	s := scenario(rapid.IntRange(1, 120).Draw(t, "sessions"), servers)
	s.Seed = rapid.Uint64().Draw(t, "seed")
	s.Servers.Backups = rapid.IntRange(0, servers-1).Draw(t, "backups")
	if rapid.Bool().Draw(t, "arrive") {
		s.Arrive = 10 * time.Second
	}
	s.Servers.Capacity = rapid.SampledFrom([]float64{1, 10, 1000}).Draw(t, "capacity")
	s.Servers.Backlog = rapid.SampledFrom([]int{1, 10, 1000}).Draw(t, "backlog")
	s.Servers.Slowdown = rapid.SampledFrom([]float64{1, 4}).Draw(t, "slowdown")
	if rapid.Bool().Draw(t, "hang") {
		s.Servers.HangWait, s.Servers.HangFor = time.Second, 2*time.Second
	}
	p := &s.Pools[0]
	p.Balance = rapid.SampledFrom([]string{"least_conn", "round_robin", "p2c", "random"}).Draw(t, "balance")
	p.ScaleIn = rapid.SampledFrom([]string{Emptiest, Newest, Random}).Draw(t, "scale-in")
	p.Drain = rapid.SampledFrom([]drain.Plan{{}, {Timeout: 10 * time.Second, Spread: 5 * time.Second}}).Draw(t, "drain")
	p.SlowStart = rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "slow start")
	if rapid.Bool().Draw(t, "reattach") {
		p.Reattach = session.Reattach{Drain: rapid.Bool().Draw(t, "drain"), Loss: rapid.Bool().Draw(t, "loss"), Timeout: 3 * time.Second}
	}
	if rapid.Bool().Draw(t, "rebalance") {
		p.Rebalance = &Rebalance{Above: 0.1, Rate: 2, MinAge: rapid.SampledFrom([]time.Duration{0, 30 * time.Second}).Draw(t, "min age")}
		p.Reattach.Rebalance, p.Reattach.Timeout = rapid.Bool().Draw(t, "moved"), 3*time.Second
	}
	if rapid.Bool().Draw(t, "admit") {
		p.Admit = &ratelimit.Options{Rate: 5, Burst: 5, Queue: rapid.SampledFrom([]int{0, 10, 1000}).Draw(t, "queue"), QueueTimeout: 10 * time.Second, Ramp: 5 * time.Second}
	}
	c := &s.Clients[0]
	c.Jitter, c.Factor, c.Most = rapid.Float64Range(0, 1).Draw(t, "jitter"), rapid.Float64Range(1, 3).Draw(t, "factor"), time.Minute
	c.Timeout = rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second}).Draw(t, "timeout")
	at := time.Duration(0)
	for range rapid.IntRange(0, 3).Draw(t, "events") {
		at += time.Duration(rapid.IntRange(1, 30).Draw(t, "after")) * time.Second
		e := Event{At: at}
		switch rapid.IntRange(0, 3).Draw(t, "event") {
		case 0:
			e.Restart = &Restart{Servers: servers, Parallel: rapid.IntRange(1, 3).Draw(t, "parallel"), Pause: time.Second}
		case 1:
			e.Kill = &Kill{Servers: rapid.IntRange(1, servers).Draw(t, "killed"), Back: rapid.SampledFrom([]time.Duration{never, 0, 10 * time.Second}).Draw(t, "back")}
		case 2:
			e.Add = rapid.IntRange(1, 3).Draw(t, "added")
		case 3:
			e.Scale = &Scale{To: rapid.IntRange(1, 8).Draw(t, "to"), Every: time.Second, Warm: rapid.SampledFrom([]time.Duration{0, 3 * time.Second}).Draw(t, "warm"),
				Grace: rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "grace")}
		}
		s.Events = append(s.Events, e)
	}
	return s
})

// No client is lost: each is away, connecting or connected, and each lease is that of
// a session or a handshake.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := someScenarios.Draw(t, "scenario")
		n := 0
		w, err := newWorld(s, &s.Pools[0], &s.Clients[0])
		if err != nil {
			t.Fatal(err)
		}
		check(t, w)
		for {
			e, ok := w.next(s.Duration)
			if !ok {
				break
			}
			w.handle(e)
			if n++; n%7 == 0 {
				check(t, w)
			}
		}
		check(t, w)
	})
}

// A backup gets nothing before the others die, then everything, and keeps it when they are
// back.
func TestBackups(t *testing.T) {
	s := scenario(90, 4)
	s.Servers.Backups = 1
	s.Pools[0].Rebalance = &Rebalance{Above: 0.01, Rate: 1000}
	s.Pools[0].Reattach = session.Reattach{Rebalance: true, Timeout: 3 * time.Second}
	const killed = 20 * time.Second
	s.Events = []Event{{At: killed, Kill: &Kill{Servers: 3, Back: 20 * time.Second}}}
	var last *world
	run(t, s, func(w *world) {
		last = w
		if n := w.servers[3].backend.Sessions(); w.now < killed && n > 0 {
			t.Fatalf("the backup has %d sessions after %v", n, w.now)
		}
	})
	if n := last.servers[3].backend.Sessions(); n != 90 {
		t.Errorf("the backup has %d of 90 sessions at the end", n)
	}
	if available := last.servers[0].backend.Availability(); available != pool.Available {
		t.Errorf("the others aren't back: %v", available)
	}
}

func TestSameSeedSameResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := someScenarios.Draw(t, "scenario")
		one, err := Run(context.Background(), s, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		two, _ := Run(context.Background(), s, 0, 0)
		if !reflect.DeepEqual(one, two) {
			t.Errorf("two runs differ:\n%+v\n%+v", one, two)
		}
	})
}

// No server ever gets more than its pool's rate allows.
func TestAdmission(t *testing.T) {
	s := scenario(3000, 4)
	s.Pools[0].Admit = &ratelimit.Options{Rate: 20, Burst: 10, Queue: 5000, QueueTimeout: time.Minute}
	s.Clients[0].Timeout = time.Minute
	s.Events = []Event{{At: 10 * time.Second, Kill: &Kill{Servers: 2, Back: 0}}}
	seen := make([]int, 4) // so far
	asked := make([][]time.Duration, 4)
	r := run(t, s, func(w *world) {
		for i, b := range w.servers {
			if b.handshakes > seen[i] {
				for range b.handshakes - seen[i] {
					asked[i] = append(asked[i], w.now)
				}
				seen[i] = b.handshakes
			}
		}
	})
	if r.Missing > 0 || r.Closes != 1500 {
		t.Errorf("%d clients missing, %d sessions closed", r.Missing, r.Closes)
	}
	for i, at := range asked {
		for first := range at {
			for last := first; last < len(at); last++ {
				if most := 20*(at[last]-at[first]).Seconds() + 10; float64(last-first+1) > most+1e-6 {
					t.Fatalf("server %d was asked %d times in %v, want %.1f at most", i, last-first+1, at[last]-at[first], most)
				}
			}
		}
	}
}

// With backends of the rate R, N clients are back after N/R.
func TestTimeUntilAllAreBack(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *Scenario)
		want   time.Duration
	}{
		// One of two servers has 1,000 sessions; the other does 50 a second.
		"by capacity": {func(s *Scenario) { s.Servers.Backlog = 1000 }, 20 * time.Second},
		// It gets 25 a second and a burst of 10, of which 8 at once.
		"by admission": {func(s *Scenario) {
			s.Pools[0].Admit = &ratelimit.Options{Rate: 25, Burst: 10, Queue: 1000, QueueTimeout: time.Minute}
		}, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := scenario(2000, 2)
			s.Handshake, s.Clients[0].Timeout = time.Minute, time.Minute
			c.change(s)
			s.Events = []Event{{At: 10 * time.Second, Kill: &Kill{Servers: 1, Back: never}}}
			r := run(t, s, nil)
			// Clients come back a second after they were cut off, and two and a
			// half round trips.
			want := c.want + 1100*time.Millisecond
			if got := float64(r.AllBack); math.Abs(got-want.Seconds()) > 1 || r.Missing > 0 {
				t.Errorf("all are back after %.1f s (%d are not), want %v", got, r.Missing, want)
			}
		})
	}
}
