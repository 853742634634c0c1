package simulate

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// client wants a session, all the time.
type client struct {
	opened time.Duration // its session, where it has one
	since  time.Duration // it wants one
	turn   uint32        // grows with each change of state

	server  int32 // that has its session
	place   int32 // in the server's sessions
	attempt int32 // that is made for it at the balancer

	state    state
	failures uint8 // in a row
	ordered  bool  // its session has a turn in its server's order
}

// none stands for no server and no attempt.
const none = -1

type state uint8

const (
	away       state = iota // waits until it tries again
	connecting              // has sent a handshake and waits for the answer
	connected               // has its session
	states
)

// address is a client's own.
func address(c int32) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(c >> 16), byte(c >> 8), byte(c)})
}

// enter has a client change its state.
func (w *world) enter(i int32, s state) *client {
	c := &w.clients[i]
	w.count[c.state]--
	w.count[s]++
	c.state = s
	c.turn++
	return c
}

// roundTrip is a client's own, always the same.
func (w *world) roundTrip(i int32) time.Duration {
	// The multiplier spreads neighbours evenly: 2³² over the golden ratio.
	part := float64(uint32(i)*2654435769) / (1 << 32)
	return time.Duration((0.5 + part) * float64(w.s.RoundTrip))
}

// connect has a client begin a handshake. Its request is at the balancer after
// a round trip for TCP and half of one more.
func (w *world) connect(i int32) {
	c := w.enter(i, connecting)
	w.plan(w.now+w.roundTrip(i)*3/2, arrives, i, c.turn)
	w.planAfter(w.behaviour.Timeout, givesUp, i, c.turn)
}

// arrives is called when the request is there.
func (w *world) arrives(i int32) {
	a := w.newAttempt(i)
	w.clients[i].attempt = a.index
	w.begin(a)
}

// opened gives a client its session.
func (w *world) opened(i int32, s *server) {
	c := w.enter(i, connected)
	c.opened, c.failures = w.now, 0
	w.join(i, s)
	w.meter.back(w, w.now-c.since)
}

// failed is called when a client's handshake was refused.
func (w *world) failed(i int32) {
	c := w.enter(i, away)
	w.again(i, c)
	if c.failures < 255 {
		c.failures++
	}
}

// givesUp is called when a client has waited for as long as it does.
func (w *world) givesUp(i int32) {
	if a := w.clients[i].attempt; a != none {
		w.abandon(w.attempts.all[a])
	}
	w.meter.result.TimedOut++
	w.failed(i)
}

// again has a client come back once it has heard that it is to, half a round
// trip from now.
func (w *world) again(i int32, c *client) {
	b := w.behaviour
	delay := float64(b.Delay)
	for range c.failures {
		if delay *= b.Factor; delay >= float64(b.Most) {
			break
		}
	}
	delay = min(delay, float64(b.Most)) * (1 - b.Jitter*w.rand.Float64())
	w.plan(w.now+w.roundTrip(i)/2+time.Duration(delay), connects, i, c.turn)
}

// closed ends a client's session.
func (w *world) closed(i int32) {
	c := &w.clients[i]
	if c.attempt != none {
		w.abandon(w.attempts.all[c.attempt])
	}
	w.leave(i)
	c = w.enter(i, away)
	c.since = w.now
	w.meter.closed()
	w.again(i, c)
}

// lost is called when the server of a client's session has died.
func (w *world) lost(i int32, s *server) {
	switch c := &w.clients[i]; {
	case c.server != s.index:
	case w.pool.Reattach.Loss:
		w.move(i, &order{close: true, lost: true})
	default:
		w.closed(i)
	}
}

// move begins to give a session another backend, as an order says.
func (w *world) move(i int32, o *order) {
	c := &w.clients[i]
	if c.attempt != none { // it is being moved
		a := w.attempts.all[c.attempt]
		a.orClose = a.orClose || o.close
		if o.lost && !a.loss {
			a.loss, a.until = true, w.now+w.pool.Reattach.Timeout
		}
		return
	}
	a := w.newAttempt(i)
	c.attempt = a.index
	a.move, a.orClose, a.below, a.deadline = true, o.close, o.below, w.now+w.pool.Reattach.Timeout
	a.loss, a.until = o.lost, a.deadline
	a.tried.Add(int(c.server))
	w.begin(a)
}

// moved gives a session the backend that has answered.
func (w *world) moved(a *attempt, s *server) {
	w.leave(a.client)
	w.join(a.client, s)
	w.meter.result.Moved++
	w.drainer.Came(s.backend) // its drain may have begun meanwhile
}

func (w *world) notMoved(a *attempt) {
	if a.orClose {
		w.closed(a.client)
	} else {
		w.meter.result.NotMoved++
		if a.below {
			w.rebalancer.NotMoved(w.info(a.client))
		}
	}
}

// moveMissed is called when there is no more time for a move. The backend that
// was asked is not to blame.
func (w *world) moveMissed(a *attempt) {
	w.abandon(a)
	w.notMoved(a)
}

// join puts a session on a server, which has its lease.
func (w *world) join(i int32, s *server) {
	c := &w.clients[i]
	c.server, c.place, c.ordered = s.index, int32(len(s.sessions)), false
	s.sessions = append(s.sessions, i)
	s.aged = nil
}

// leave takes a session off its server, and gives its lease back.
func (w *world) leave(i int32) {
	c := &w.clients[i]
	s := w.servers[c.server]
	last := s.sessions[len(s.sessions)-1]
	s.sessions[c.place] = last
	w.clients[last].place = c.place
	s.sessions = s.sessions[:len(s.sessions)-1]
	c.server = none
	s.backend.Release()
}

// byAge lists the sessions of a server, the oldest first.
func (w *world) byAge(s *server) []int32 {
	list := slices.Clone(s.sessions)
	slices.SortFunc(list, func(a, b int32) int {
		return cmp.Or(cmp.Compare(w.clients[a].opened, w.clients[b].opened), cmp.Compare(a, b))
	})
	return list
}
