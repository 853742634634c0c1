package balance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/pool"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cleaner is what testing.T, testing.B and rapid.T have in common here.
type cleaner interface{ Cleanup(func()) }

// members makes backends of these weights, and a function that takes the i-th
// out of the configuration.
func members(t cleaner, weights ...int) ([]pool.Member, func(i int)) {
	r := pool.New(pool.Options{})
	t.Cleanup(r.Close)
	var backends []pool.BackendSpec
	for i, w := range weights {
		backends = append(backends, pool.BackendSpec{Address: fmt.Sprintf("10.0.%d.%d:3000", i/250, i%250+1), Weight: w})
	}
	pools, _ := r.Apply([]pool.Spec{{Name: "chat", Backends: backends}})
	return pools["chat"].Members, func(i int) {
		for j := range backends {
			if backends[j].Address == pools["chat"].Members[i].Backend.Address {
				backends = append(backends[:j:j], backends[j+1:]...)
				break
			}
		}
		r.Apply([]pool.Spec{{Name: "chat", Backends: backends}})
	}
}

func newPicker(t interface{ Fatal(...any) }, kind string, m []pool.Member) Picker {
	p, err := New(kind, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var someWeights = rapid.SliceOfN(rapid.IntRange(1, 9), 1, 12)

func TestRoundRobinFollowsWeightsExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		m, _ := members(t, weights...)
		p := newPicker(t, "round_robin", m)
		total := 0
		for _, w := range weights {
			total += w
		}
		for cycle := range 3 {
			count := make([]int, len(m))
			for range total {
				c, ok := p.Take(Tried{})
				if !ok {
					t.Fatal("nothing taken")
				}
				count[c.Index]++
			}
			for i, n := range count {
				if n != weights[i] {
					t.Fatalf("cycle %d: taken %v, want the weights %v", cycle, count, weights)
				}
			}
		}
	})
}

func TestRoundRobinIsSmooth(t *testing.T) {
	m, _ := members(t, 5, 1, 1)
	p := newPicker(t, "round_robin", m)
	run, longest := 0, 0
	for range 70 {
		c, _ := p.Take(Tried{})
		if c.Index == 0 {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	// a a b a c a a: at most four where two cycles meet
	if longest > 4 {
		t.Errorf("the heavy backend came %d times in a row", longest)
	}
}

// Whoever is down or tried, the others share by weight; when all are back, so
// does everyone, at once.
func TestRoundRobinAfterAnOutage(t *testing.T) {
	m, _ := members(t, 3, 2, 1)
	p := newPicker(t, "round_robin", m)
	var tried Tried
	tried.Add(0)
	count := make([]int, 3)
	for range 30 {
		c, _ := p.Take(tried)
		count[c.Index]++
	}
	if count[0] != 0 || count[1] != 20 || count[2] != 10 {
		t.Errorf("without the first: %v, want [0 20 10]", count)
	}
	clear(count)
	for range 60 {
		c, _ := p.Take(Tried{})
		count[c.Index]++
	}
	if count[0] != 30 || count[1] != 20 || count[2] != 10 {
		t.Errorf("all back: %v, want [30 20 10]", count)
	}
}

// After the choice no other member could have been less loaded by it.
func TestLeastConnTakesTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := someWeights.Draw(t, "weights")
		m, remove := members(t, weights...)
		p := newPicker(t, "least_conn", m)
		var held []*pool.Backend
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				remove(rapid.IntRange(0, len(m)-1).Draw(t, "removed"))
			case 1, 2, 3:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(t, "ended")
					held[i].Release()
					held = append(held[:i], held[i+1:]...)
				}
			default:
				var tried Tried
				for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(m)-1), 0, 3).Draw(t, "tried") {
					tried.Add(i)
				}
				before := make([]int, len(m))
				candidates := 0
				for i := range m {
					before[i] = m[i].Backend.Sessions()
					if !tried.Has(i) && m[i].Backend.Fitness() == pool.Fit {
						candidates++
					}
				}
				c, ok := p.Take(tried)
				if ok != (candidates > 0) {
					t.Fatalf("taken: %v, with %d candidates", ok, candidates)
				}
				if !ok {
					continue
				}
				held = append(held, c.Backend)
				if tried.Has(c.Index) || c.Backend.Removed() || c.Backend != m[c.Index].Backend {
					t.Fatalf("took %+v", c)
				}
				if c.Backend.Sessions() != before[c.Index]+1 {
					t.Fatal("taken without its lease")
				}
				for i := range m {
					if tried.Has(i) || m[i].Backend.Removed() {
						continue
					}
					if (before[i]+1)*weights[c.Index] < (before[c.Index]+1)*weights[i] {
						t.Fatalf("took %d of sessions %v, weights %v; %d is less loaded", c.Index, before, weights, i)
					}
				}
			}
		}
	})
}

func TestLeastConnTiesGoRound(t *testing.T) {
	m, _ := members(t, 1, 1, 1, 1)
	p := newPicker(t, "least_conn", m)
	count := make([]int, len(m))
	for range 40 {
		c, _ := p.Take(Tried{})
		count[c.Index]++
		c.Backend.Release() // each session ends before the next: always a tie
	}
	for _, n := range count {
		if n != 10 {
			t.Fatalf("taken %v, want 10 each", count)
		}
	}
}

// A fresh picker doesn't begin with the same member each time: reloads would
// send it more than its share.
func TestStartsAnywhere(t *testing.T) {
	m, _ := members(t, 1, 1, 1)
	for _, kind := range Kinds() {
		seen := map[int]bool{}
		for range 200 {
			c, _ := newPicker(t, kind, m).Take(Tried{})
			c.Backend.Release()
			seen[c.Index] = true
		}
		if len(seen) != 3 {
			t.Errorf("%s: 200 pickers began with %d of 3 members", kind, len(seen))
		}
	}
}

// Several loops at once, of which each takes the least: no moment shows a
// member more than one session over the least, nor a lease lost.
func TestConcurrentTakesDoNotHerd(t *testing.T) {
	m, _ := members(t, 1, 1, 1, 1, 1)
	p := newLeastConn(m)
	const loops, each = 4, 2500
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for range each {
				if _, ok := p.Take(Tried{}); !ok {
					t.Error("nothing taken")
				}
				p.mu.Lock()
				least, most := m[0].Backend.Sessions(), m[0].Backend.Sessions()
				for i := range m {
					least, most = min(least, m[i].Backend.Sessions()), max(most, m[i].Backend.Sessions())
				}
				p.mu.Unlock()
				if most-least > 1 {
					t.Errorf("between %d and %d sessions a member", least, most)
				}
			}
		})
	}
	wg.Wait()
	for i := range m {
		if got := m[i].Backend.Sessions(); got != loops*each/len(m) {
			t.Errorf("member %d has %d sessions, want %d", i, got, loops*each/len(m))
		}
	}
}

func TestConcurrentTakesAndReleases(t *testing.T) {
	for _, kind := range Kinds() {
		m, _ := members(t, 3, 2, 1)
		p := newPicker(t, kind, m)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				var held []*pool.Backend
				for i := range 3000 {
					c, ok := p.Take(Tried{})
					if !ok {
						t.Error("nothing taken")
						return
					}
					held = append(held, c.Backend)
					if i%3 > 0 {
						held[0].Release()
						held = held[1:]
					}
				}
				for _, b := range held {
					b.Release()
				}
			})
		}
		wg.Wait()
		for i := range m {
			if n := m[i].Backend.Sessions(); n != 0 {
				t.Errorf("%s: member %d has %d sessions at the end", kind, i, n)
			}
		}
	}
}

type noDNS struct{}

func (noDNS) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("no DNS here")
}

func TestSkipsWhatIsDown(t *testing.T) {
	r := pool.New(pool.Options{Resolver: noDNS{}})
	t.Cleanup(r.Close)
	pools, _ := r.Apply([]pool.Spec{{Name: "chat", Backends: []pool.BackendSpec{
		{Name: "down", Address: "ws2.internal:3000", Weight: 100}, {Name: "up", Address: "10.0.0.1:3000"},
	}}})
	for _, kind := range Kinds() {
		p := newPicker(t, kind, pools["chat"].Members)
		for range 5 {
			c, ok := p.Take(Tried{})
			if !ok || c.Index != 1 || c.Addr.String() != "10.0.0.1:3000" {
				t.Errorf("%s: took %+v, %v, want the one that is up", kind, c, ok)
			}
		}
		var tried Tried
		tried.Add(1)
		if c, ok := p.Take(tried); ok {
			t.Errorf("%s: took %+v with none left", kind, c)
		}
		if _, ok := newPicker(t, kind, nil).Take(Tried{}); ok {
			t.Errorf("%s: took one of no members", kind)
		}
	}
}

func TestNewErrors(t *testing.T) {
	if _, err := New("least_con", nil); err == nil || !strings.Contains(err.Error(), `"least_con", want one of least_conn, round_robin`) {
		t.Errorf("unknown kind: %v", err)
	}
	m, _ := members(t, 1)
	m[0].Weight = 0
	if _, err := New("", m); err == nil || !strings.Contains(err.Error(), "weight 0") {
		t.Errorf("weight 0: %v", err)
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

func TestTakeDoesNotAllocate(t *testing.T) {
	m, _ := members(t, 1, 2, 3)
	for _, kind := range Kinds() {
		p := newPicker(t, kind, m)
		if n := testing.AllocsPerRun(100, func() {
			var tried Tried
			tried.Add(1)
			c, _ := p.Take(tried)
			c.Backend.Release()
		}); n != 0 {
			t.Errorf("%s: %v allocations a Take", kind, n)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, kind := range Kinds() {
		for _, n := range []int{3, 20, 200} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				weights := make([]int, n)
				for i := range weights {
					weights[i] = i%3 + 1
				}
				m, _ := members(b, weights...)
				p := newPicker(b, kind, m)
				b.ReportAllocs()
				for b.Loop() {
					c, _ := p.Take(Tried{})
					c.Backend.Release()
				}
			})
		}
	}
}
