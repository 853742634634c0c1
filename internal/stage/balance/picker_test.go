package balance

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"pgregory.net/rapid"
)

// A new picker doesn't always begin with the same member: otherwise reloads
// would send it more than its share.
func TestStartsAnywhere(t *testing.T) {
	m := members(t, 1, 1, 1)
	each(t, Algorithms(), func(t *testing.T, kind string) {
		seen := map[int]bool{}
		for range 200 {
			c := mustTake(t, mustNew(t, Options{Algorithm: kind}, m), Query{})
			c.Backend.Release()
			seen[c.Index] = true
		}
		want := 3
		if kind == "first" {
			want = 1
		}
		if len(seen) != want {
			t.Errorf("200 pickers began with %d of 3 members", len(seen))
		}
	})
}

// With several loops at once, each taking the least loaded, no member ever has
// more than one session above the least, and no lease is lost.
func TestConcurrentTakesDoNotHerd(t *testing.T) {
	m := members(t, 1, 1, 1, 1, 1)
	p := mustNew(t, Options{}, m).(*picker)
	const loops, each = 4, 2500
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			var q Query
			for range each {
				if _, err := p.Take(&q); err != nil {
					t.Error(err)
				}
				p.mu.Lock()
				n := sessionsOf(m)
				p.mu.Unlock()
				if slices.Max(n)-slices.Min(n) > 1 {
					t.Errorf("sessions %v", n)
				}
			}
		})
	}
	wg.Wait()
	for i, n := range sessionsOf(m) {
		if n != loops*each/len(m) {
			t.Errorf("member %d has %d sessions, want %d", i, n, loops*each/len(m))
		}
	}
}

// holders takes and releases from many goroutines through all pickers. It fails
// if a backend or the pool ever has more than its limit, by the backends'
// counts or by the number of leases that the goroutines hold. At the end
// nothing must be left.
func holders(t *testing.T, pickers []Picker, perBackend, perPool int64) {
	var held sync.Map // of *pool.Backend to *atomic.Int64
	var all atomic.Int64
	check := func(c Choice, err error) bool {
		if err != nil {
			if !isFull(err) {
				t.Error(err)
			}
			return false
		}
		n, _ := held.LoadOrStore(c.Backend, new(atomic.Int64))
		if now := max(n.(*atomic.Int64).Add(1), int64(c.Backend.Sessions())); now > perBackend {
			t.Errorf("a backend has %d sessions, its cap is %d", now, perBackend)
		}
		if now := all.Add(1); now > perPool {
			t.Errorf("the pool has %d sessions, its cap is %d", now, perPool)
		}
		return true
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			var mine []*pool.Backend
			give := func(i int) {
				n, _ := held.Load(mine[i])
				n.(*atomic.Int64).Add(-1)
				all.Add(-1)
				mine[i].Release()
				mine = slices.Delete(mine, i, i+1)
			}
			for range 1500 {
				p := pickers[rng.IntN(len(pickers))]
				q := Query{Key: uint64(rng.IntN(3)), Keyed: rng.IntN(4) > 0}
				var c Choice
				err := ErrFull
				if rng.IntN(4) == 0 {
					var ok bool
					if c, ok = p.TakeMember(rng.IntN(len(p.Members()))); ok {
						err = nil
					}
				} else {
					c, err = p.Take(&q)
				}
				if check(c, err) {
					mine = append(mine, c.Backend)
				}
				if len(mine) > 0 && rng.IntN(5) < 2 {
					give(rng.IntN(len(mine)))
				}
			}
			for len(mine) > 0 {
				give(0)
			}
		})
	}
	wg.Wait()
	for i, n := range sessionsOf(pickers[0].Members()) {
		if n != 0 {
			t.Errorf("member %d has %d sessions at the end", i, n)
		}
	}
}

// A reload has two pickers over the same backends for a while.
func TestCapsAreNeverPassed(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		for _, caps := range []struct{ backend, pool int }{{7, 0}, {0, 25}, {7, 25}} {
			spec := weighted(3, 1, 2, 1, 1)
			spec.MaxSessions = caps.pool
			for i := range spec.Backends {
				spec.Backends[i].MaxSessions = caps.backend
			}
			w := newWorld(t, spec)
			old := mustNew(t, Options{Algorithm: kind, Bound: 1.25}, w.members)
			slices.Reverse(w.spec.Backends)
			w.apply()
			p := mustNew(t, Options{Algorithm: kind, Bound: 1.25}, w.members)
			orMany := func(n int) int64 {
				if n == 0 {
					return 1 << 30
				}
				return int64(n)
			}
			holders(t, []Picker{old, p}, orMany(caps.backend), orMany(caps.pool))
			// All that is allowed can be taken.
			room := 5 * caps.backend
			if caps.pool > 0 && (room == 0 || room > caps.pool) {
				room = caps.pool
			}
			for n := range room {
				if _, err := p.Take(&Query{Key: 1, Keyed: true}); err != nil {
					t.Fatalf("%+v: %v after %d sessions, want %d", caps, err, n, room)
				}
			}
			if _, err := p.Take(&Query{}); !isFull(err) {
				t.Errorf("%+v: error %v with all taken, want %v", caps, err, ErrFull)
			}
		}
	})
}

// late fills the member that the algorithm has picked before it is leased, the
// first few times, as a picker of another generation may.
type late struct {
	algorithm
	times int
	full  []int
}

func (l *late) pick(p *picker, q *Query) int {
	i := l.algorithm.pick(p, q)
	if i >= 0 && l.times > 0 {
		l.times--
		l.full = append(l.full, i)
		occupy(p.members[i].Backend, 1)
	}
	return i
}

func TestOneThatFillsUpInBetween(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		for _, q := range []Query{{}, keyed(42)} {
			spec := weighted(3, 1, 2)
			for i := range spec.Backends {
				spec.Backends[i].MaxSessions = 1
			}
			p := mustNew(t, Options{Algorithm: kind, Bound: 1.25}, newWorld(t, spec).members).(*picker)
			l := &late{algorithm: p.algorithm, times: 2}
			p.algorithm = l
			if c := mustTake(t, p, q); slices.Contains(l.full, c.Index) || len(l.full) != 2 {
				t.Errorf("took %d, filled %v", c.Index, l.full)
			}
			for _, m := range p.Members() {
				release(m.Backend, m.Backend.Sessions())
			}
			l.times, l.full = 3, nil
			if c, err := p.Take(&q); !isFull(err) || len(l.full) != 3 {
				t.Errorf("took %+v, %v; filled %v", c, err, l.full)
			}
		}
	})
}

// Among members in any state, a choice goes only to those that the rules allow.
func TestWhoMayBeTaken(t *testing.T) {
	states := []string{"available", "ejected", "warming", "down", "draining", "drain", "maint", "left"}
	each(t, Algorithms(), func(t *testing.T, kind string) {
		rapid.Check(t, func(t *rapid.T) {
			weights := rapid.SliceOfN(rapid.IntRange(1, 9), 1, 6).Draw(t, "weights")
			spec := passive(weighted(weights...))
			for i := range spec.Backends {
				spec.Backends[i].MaxSessions = 1
			}
			w := newWorld(t, spec)
			m := w.members
			p := mustNew(t, Options{Algorithm: kind, Bound: rapid.SampledFrom([]float64{0, 1.25}).Draw(t, "bound"),
				MinHealthy: rapid.IntRange(0, 4).Draw(t, "min_healthy")}, m)
			availability := make([]pool.Availability, len(m))
			available, untried := 0, 0
			q := Query{Key: rapid.Uint64().Draw(t, "key"), Keyed: rapid.Bool().Draw(t, "keyed")}
			var stay []pool.BackendSpec
			for i := range m {
				b := m[i].Backend
				state := rapid.SampledFrom(states).Draw(t, "state")
				switch state {
				case "ejected":
					eject(b)
					availability[i] = pool.Ejected
				case "warming":
					b.SetOperational(pool.Warming, "")
					availability[i] = pool.Unhealthy
				case "down":
					b.SetOperational(pool.Down, "")
					availability[i] = pool.Unhealthy
				case "draining":
					b.SetOperational(pool.Draining, "")
					availability[i] = pool.Unavailable
				case "drain":
					b.SetAdmin(pool.Drain, "")
					availability[i] = pool.Unavailable
				case "maint":
					b.SetAdmin(pool.Maint, "")
					availability[i] = pool.Unavailable
				case "left":
					availability[i] = pool.Unavailable
				}
				if state != "left" {
					stay = append(stay, spec.Backends[i])
				}
				if rapid.IntRange(0, 3).Draw(t, "tried") == 0 {
					q.Tried.Add(i)
				}
				if rapid.IntRange(0, 3).Draw(t, "full") == 0 {
					occupy(b, 1)
				}
				if availability[i] == pool.Available {
					available++
					if !q.Tried.Has(i) {
						untried++
					}
				}
			}
			w.spec.Backends = stay
			w.apply()
			minHealthy := p.(*picker).minHealthy
			admitted := func(untried int) pool.Availability {
				switch {
				case available < minHealthy:
					return pool.Unhealthy
				case untried == 0:
					return pool.Ejected
				}
				return pool.Available
			}
			var may, full []int
			for i := range m {
				if q.Tried.Has(i) || availability[i] > admitted(untried) {
					continue
				}
				if m[i].Backend.Full() {
					full = append(full, i)
				} else {
					may = append(may, i)
				}
			}
			for i := range m {
				want := availability[i] <= admitted(available) && !m[i].Backend.Full()
				c, ok := p.TakeMember(i)
				if ok != want || ok && (c.Index != i || c.Backend != m[i].Backend || !c.Addr.TCP.IsValid()) {
					t.Fatalf("TakeMember(%d) = %+v, %v, want %v", i, c, ok, want)
				}
				if ok {
					c.Backend.Release()
				}
			}
			// Each has room for one: all that may be taken are taken, in turn.
			var taken []int
			for range may {
				c := mustTake(t, p, q)
				taken = append(taken, c.Index)
			}
			slices.Sort(taken)
			if !slices.Equal(taken, may) {
				t.Fatalf("took %v, want %v", taken, may)
			}
			want := ErrNoBackend
			if len(may)+len(full) > 0 {
				want = ErrFull
			}
			if c, err := p.Take(&q); err != want {
				t.Fatalf("took %+v, %v, want %v", c, err, want)
			}
		})
	})
}

// The panic threshold: below it all members that aren't closed share the load;
// at it the unhealthy ones get nothing.
func TestPanicThreshold(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		m := newWorld(t, passive(weighted(equal(5)...))).members
		p := mustNew(t, Options{Algorithm: kind, MinHealthy: 2}, m)
		spread := func() (taken []int) {
			seen := map[int]bool{}
			for key := range uint64(400) {
				seen[mustTake(t, p, keyed(key)).Index] = true
			}
			for i := range m {
				release(m[i].Backend, m[i].Backend.Sessions())
				if seen[i] {
					taken = append(taken, i)
				}
			}
			return taken
		}
		m[0].Backend.SetAdmin(pool.Maint, "")
		m[1].Backend.SetOperational(pool.Down, "no answer")
		eject(m[2].Backend)
		expect := func(want ...int) []int {
			if kind == "first" {
				return want[:1]
			}
			return want
		}
		if got, want := spread(), expect(3, 4); !slices.Equal(got, want) {
			t.Errorf("two available: took %v, want %v", got, want)
		}
		m[3].Backend.SetOperational(pool.Down, "no answer")
		if got, want := spread(), expect(1, 2, 3, 4); !slices.Equal(got, want) {
			t.Errorf("one available: took %v, want %v", got, want)
		}
	})
}

type noDNS struct{}

func (noDNS) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("no DNS here")
}

func TestSkipsWhatHasNoAddress(t *testing.T) {
	r := pool.New(pool.Options{Resolver: noDNS{}})
	t.Cleanup(r.Close)
	pools, _ := r.Apply([]pool.Spec{{Name: "chat", Backends: []pool.BackendSpec{
		{Name: "down", Address: "ws2.internal:3000", Weight: 100}, {Name: "up", Address: "10.0.0.1:3000"},
	}}})
	each(t, Algorithms(), func(t *testing.T, kind string) {
		p := mustNew(t, Options{Algorithm: kind, MinHealthy: 2}, pools["chat"].Members)
		for key := range uint64(5) {
			if c := mustTake(t, p, keyed(key)); c.Index != 1 || c.Addr.String() != "10.0.0.1:3000" {
				t.Errorf("took %+v, want the backend that is up", c)
			}
		}
		q := without(1)
		if c, err := p.Take(&q); err != ErrNoBackend {
			t.Errorf("took %+v, %v with none left", c, err)
		}
	})
}

func TestNoMembers(t *testing.T) {
	each(t, Algorithms(), func(t *testing.T, kind string) {
		p := mustNew(t, Options{Algorithm: kind, Bound: 1.25, MinHealthy: 1}, nil)
		for _, q := range []Query{{}, keyed(1)} {
			if _, err := p.Take(&q); err != ErrNoBackend {
				t.Errorf("Take: %v, want %v", err, ErrNoBackend)
			}
		}
		for _, i := range []int{-1, 0, 1} {
			if _, ok := p.TakeMember(i); ok {
				t.Errorf("TakeMember(%d) took one of no members", i)
			}
		}
		if i := p.Owner(1); i != -1 {
			t.Errorf("Home = %d, want -1", i)
		}
	})
}

func TestMembersAreItsOwn(t *testing.T) {
	m := members(t, 1, 2)
	p := mustNew(t, Options{}, m)
	want := slices.Clone(m)
	m[0].Weight = 7
	if !slices.Equal(p.Members(), want) {
		t.Errorf("members %+v, want %+v", p.Members(), want)
	}
}

func TestNewErrors(t *testing.T) {
	light := members(t, 1)
	light[0].Weight = 0
	for _, c := range []struct {
		o    Options
		m    []pool.Member
		want string
	}{
		{Options{Algorithm: "least_con"}, nil, `"least_con", want one of least_conn, round_robin, p2c, random, hash, first`},
		{Options{}, light, "backend b0 has weight 0"},
		{Options{Algorithm: "hash", Bound: 0.9}, nil, "bound of hash is 0.9, want 1 or more, or 0"},
	} {
		if _, err := New(c.o, c.m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}

func TestTriedIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tried Tried
		model := map[int]bool{}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, 300), 0, 20).Draw(t, "added") {
			tried.Add(i)
			model[i] = true
		}
		for i := range 301 {
			if tried.Has(i) != model[i] {
				t.Fatalf("Has(%d) = %v, want %v", i, tried.Has(i), model[i])
			}
		}
	})
}

// A draining member is kept for the clients that belong to it if that is
// configured, and for nobody else.
func TestKeepDraining(t *testing.T) {
	for _, keep := range []bool{false, true} {
		m := members(t, 1, 1)
		p := mustNew(t, Options{KeepDraining: keep}, m)
		b := m[0].Backend
		for _, c := range []struct {
			name string
			set  func()
			want bool
		}{
			{"drained", func() { b.SetAdmin(pool.Drain, "") }, keep},
			{"drained and down", func() { b.SetOperational(pool.Down, "") }, false},
			{"in maintenance", func() { b.SetAdmin(pool.Maint, "") }, false},
			{"ready and down", func() { b.SetAdmin(pool.Ready, "") }, false},
			{"answers 503", func() { b.SetOperational(pool.Draining, "") }, keep},
		} {
			c.set()
			if _, ok := p.TakeMember(0); ok != c.want {
				t.Errorf("keep %v, %s: taken %v", keep, c.name, ok)
			}
			if chosen, err := p.Take(&Query{}); err != nil || chosen.Index != 1 {
				t.Errorf("keep %v, %s: Take chose %+v, %v", keep, c.name, chosen, err)
			}
		}
	}
}
