package simulate

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// Which servers a scale-in removes.
const (
	// Emptiest are those with the fewest sessions, as the figures of the last full minute say: a
	// controller of Kubernetes writes them as pods' deletion costs, at most once a minute.
	Emptiest = "emptiest"
	// Newest are those that started last, as a ReplicaSet does without deletion costs if pods' ages
	// differ much.
	Newest = "newest"
	// Random is what a ReplicaSet does without deletion costs if pods are about equally old.
	Random = "random"
)

const (
	costInterval = time.Minute     // between two updates of deletion costs
	beforeKill   = 2 * time.Second // that a drain ends before its server is killed
)

// scaleTo makes n the number of servers that stay.
func (w *world) scaleTo(o *Scale) {
	var staying []*server
	for _, s := range w.servers {
		if !s.leaving {
			staying = append(staying, s)
		}
	}
	switch n := o.To - len(staying); {
	case n > 0:
		w.join(n, o)
	case n < 0:
		for _, s := range w.leastCostly(staying)[:-n] {
			w.remove(s, o.Grace)
		}
	}
}

// join lets n servers join, one after the other.
func (w *world) join(n int, o *Scale) {
	atOnce := 1
	if o.Every == 0 {
		atOnce = n
	}
	if err := w.addServers(atOnce, o.Warm); err != nil {
		panic(err) // the same options were valid before
	}
	if n > atOnce {
		w.callAt(w.now+o.Every, func() { w.join(n-1, o) })
	}
}

// staying counts the servers that no scale-in has removed.
func (w *world) staying() (n int) {
	for _, s := range w.servers {
		if !s.leaving {
			n++
		}
	}
	return n
}

// leastCostly sorts servers by the order in which they are removed: those that are down first.
func (w *world) leastCostly(list []*server) []*server {
	order := make([]int, len(w.servers))
	if w.pool.ScaleIn == Random {
		order = w.rand.Perm(len(w.servers))
	}
	slices.SortFunc(list, func(a, b *server) int {
		if a.up != b.up {
			if b.up {
				return -1
			}
			return 1
		}
		by := 0
		switch w.pool.ScaleIn {
		case Emptiest:
			by = cmp.Compare(a.cost, b.cost)
		case Random:
			by = cmp.Compare(order[a.index], order[b.index])
		}
		return cmp.Or(by, cmp.Compare(b.started, a.started), cmp.Compare(b.index, a.index))
	})
	return list
}

// updateCosts keeps the deletion costs up to date.
func (w *world) updateCosts() {
	for _, s := range w.servers {
		s.cost = s.backend.Sessions()
	}
	w.callAt(w.now+costInterval, w.updateCosts)
}

// remove does what happens to a pod that is deleted: it is drained within its grace period, ends
// when it is empty, and is killed if it isn't by then.
func (w *world) remove(s *server, grace time.Duration) {
	s.leaving = true
	if err := w.newPicker(w.picker.Members()); err != nil { // min_healthy can be a percentage
		panic(err)
	}
	w.drainer.Drain(s.backend, min(w.pool.Drain.Timeout, max(grace-beforeKill, 0)), "scale-in")
	gone := false
	end := func() {
		if !gone {
			gone = true
			w.kill(s, never)
		}
	}
	w.whenEmpty(s, end)
	w.callAt(w.now+grace, end)
}

// warmed is called when the checks of a server that has joined pass.
func (w *world) warmed(s *server) {
	s.backend.SetOperational(pool.Up, "its checks pass")
}
