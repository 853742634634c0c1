package simulate

import "time"

// order is what is to be done with sessions of a server, one after the other
// and evenly over a while, as relay.Order has engines do it.
type order struct {
	sessions    []int32
	done        int
	began       time.Duration
	spread      time.Duration
	move, close bool // to be moved; or, where that fails or isn't asked for, closed
	below       bool // to backends below their fair shares
	lost        bool // their server has died
	number      int  // tells it from those before
}

// due is when the i-th is due.
func (o *order) due(i int) time.Duration {
	return o.began + part(o.spread, i, len(o.sessions))
}

// cancel takes back what has not been done.
func (o *order) cancel(clients []client) {
	for _, i := range o.sessions[o.done:] {
		clients[i].ordered = false
	}
	*o = order{number: o.number + 1}
}

// give has sessions of s closed or moved over spread and returns how many. It
// takes the place of an order before.
func (w *world) give(s *server, sessions []int32, o order) (n int) {
	s.order.cancel(w.clients)
	for _, i := range sessions {
		w.clients[i].ordered = true
	}
	o.sessions, o.began, o.number = sessions, w.now, s.order.number
	s.order = o
	w.proceed(s, o.number)
	return len(sessions)
}

// late carries out an order at once on those sessions of s that have no turn.
func (w *world) late(s *server, o order) (n int) {
	for _, i := range w.byAge(s) {
		if !w.clients[i].ordered {
			w.carryOut(&o, s, i)
			n++
		}
	}
	return n
}

// proceed does what is due of an order.
func (w *world) proceed(s *server, number int) {
	o := &s.order
	for o.number == number && o.done < len(o.sessions) {
		if due := o.due(o.done); due > w.now {
			w.at(due, func() { w.proceed(s, number) })
			return
		}
		i := o.sessions[o.done]
		o.done++
		if c := &w.clients[i]; c.ordered && c.server == s.index {
			c.ordered = false
			w.carryOut(o, s, i)
		}
	}
}

func (w *world) carryOut(o *order, s *server, i int32) {
	switch {
	case w.clients[i].server != s.index:
	case o.move:
		w.move(i, o)
	default:
		w.closed(i)
	}
}
