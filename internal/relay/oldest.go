package relay

import (
	"cmp"
	"slices"
)

// oldest chooses the sessions of a request: of a backend with Bound.Most, the
// oldest ones up to that number, otherwise all that are added.
type oldest[T any] struct {
	bounds map[uint32]Bound // Selection.Backends
	rows   map[uint32]*row[T]
}

type row[T any] struct {
	list []aged[T]
	// latest is when the youngest session began that was left by the last cut.
	// Younger ones aren't added. 0 means that there was no cut.
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
	// Up to twice as many as wanted, so that the list is seldom sorted.
	if most := o.bounds[backend].Most; most > 0 && len(r.list)/2 >= most {
		r.cut(most)
	}
}

// cut keeps the oldest.
func (r *row[T]) cut(most int) {
	slices.SortFunc(r.list, byAge)
	if len(r.list) >= most {
		r.list = r.list[:most]
		r.latest = r.list[most-1].started
	}
}

// sorted returns the chosen sessions, the oldest first.
func (o *oldest[T]) sorted() (all []aged[T]) {
	for backend, r := range o.rows {
		if most := o.bounds[backend].Most; most > 0 {
			r.cut(most)
		}
		all = append(all, r.list...)
	}
	slices.SortFunc(all, byAge)
	return all
}

func byAge[T any](a, b aged[T]) int { return cmp.Compare(a.started, b.started) }
