package balance

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tester is what testing.T, testing.B and rapid.T have in common here.
type tester interface {
	Helper()
	Cleanup(func())
	Fatal(...any)
	Fatalf(string, ...any)
}

// world is a registry with one pool in it.
type world struct {
	registry *pool.Registry
	spec     pool.Spec
	members  []pool.Member
}

func newWorld(t tester, spec pool.Spec) *world {
	w := &world{registry: pool.New(pool.Options{}), spec: spec}
	t.Cleanup(w.registry.Close)
	w.spec.Name = "chat"
	w.apply()
	return w
}

// apply is a reload.
func (w *world) apply() {
	pools, _ := w.registry.Apply([]pool.Spec{w.spec})
	w.members = pools["chat"].Members
}

// weighted is a pool of backends b0, b1 and so on.
func weighted(weights ...int) (s pool.Spec) {
	for i, w := range weights {
		s.Backends = append(s.Backends, backend(i, w))
	}
	return s
}

func backend(i, weight int) pool.BackendSpec {
	return pool.BackendSpec{Name: fmt.Sprintf("b%d", i), Address: fmt.Sprintf("10.0.%d.%d:3000", i/250, i%250+1), Weight: weight}
}

func members(t tester, weights ...int) []pool.Member {
	return newWorld(t, weighted(weights...)).members
}

func equal(n int) []int { return slices.Repeat([]int{1}, n) }

func mustNew(t tester, o Options, m []pool.Member) Picker {
	t.Helper()
	p, err := New(o, m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustTake(t tester, p Picker, q Query) Choice {
	t.Helper()
	c, err := p.Take(&q)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func keyed(key uint64) Query { return Query{Key: key, Keyed: true} }

func without(indexes ...int) (q Query) {
	for _, i := range indexes {
		q.Tried.Add(i)
	}
	return q
}

// occupy takes n leases of a member directly, not through a picker.
func occupy(b *pool.Backend, n int) {
	for range n {
		b.TryAcquire()
	}
}

func release(b *pool.Backend, n int) {
	for range n {
		b.Release()
	}
}

// eject makes passive health eject a backend.
func eject(b *pool.Backend) {
	for range 3 {
		b.ConnectFailed("connection refused")
	}
}

// passive turns passive health on, so that eject works.
func passive(s pool.Spec) pool.Spec {
	s.MaxFails, s.FailTimeout = 3, 1<<40
	s.Checked = true // otherwise a reload would reset what SetOperational said
	return s
}

func sum(n []int) (total int) {
	for _, v := range n {
		total += v
	}
	return total
}

// inProportion fails unless counts are in the proportion of weights, within six
// times the standard deviation; chance exceeds that in one of 500 million cases.
func inProportion(t tester, counts, weights []int) {
	t.Helper()
	n := float64(sum(counts))
	for i, got := range counts {
		f := float64(weights[i]) / float64(sum(weights))
		if off := math.Abs(float64(got) - n*f); off > 6*math.Sqrt(n*f*(1-f))+1 {
			t.Fatalf("member %d came %d times, want about %.0f: %v for the weights %v", i, got, n*f, counts, weights)
		}
	}
}

var someWeights = rapid.SliceOfN(rapid.IntRange(1, 9), 1, 12)

func isFull(err error) bool { return errors.Is(err, ErrFull) }

func each(t *testing.T, kinds []string, f func(t *testing.T, kind string)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { f(t, kind) })
	}
}
