package relay

import (
	"cmp"
	"slices"
)

// oldest collects the sessions that an Order is for: all it is given or, with
// most, the oldest so many of each backend.
type oldest[T any] struct {
	most map[uint32]int // Order.Most
	rows map[uint32]*row[T]
}

type row[T any] struct {
	list []aged[T]
	// Of most that were on the list at one time, the youngest had begun then:
	// who is younger has no place. 0 is not known yet.
	latest int64
}

type aged[T any] struct {
	started int64 // Unix nanoseconds
	session T
}

func (o *oldest[T]) add(backend uint32, started int64, session T) {
	if o.rows == nil {
		o.rows = make(map[uint32]*row[T])
	}
	r := o.rows[backend]
	if r == nil {
		r = &row[T]{}
		o.rows[backend] = r
	}
	if r.latest != 0 && started >= r.latest {
		return
	}
	r.list = append(r.list, aged[T]{started, session})
	// Twice as many as are wanted, so that the list is seldom sorted.
	if most := o.most[backend]; most > 0 && len(r.list) >= 2*most {
		r.cut(most)
	}
}

func (r *row[T]) cut(most int) {
	slices.SortFunc(r.list, byAge)
	if len(r.list) >= most {
		r.list = r.list[:most]
		r.latest = r.list[most-1].started
	}
}

// sorted returns them, the oldest first.
func (o *oldest[T]) sorted() (all []aged[T]) {
	for backend, r := range o.rows {
		if most := o.most[backend]; most > 0 {
			r.cut(most)
		}
		all = append(all, r.list...)
	}
	slices.SortFunc(all, byAge)
	return all
}

func byAge[T any](a, b aged[T]) int { return cmp.Compare(a.started, b.started) }
