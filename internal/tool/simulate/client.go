package simulate

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// client wants a session, all the time.
type client struct {
	opened time.Duration // when its session opened, if it has one
	since  time.Duration // when it began to want one
	gen    uint32        // grows with each change of state

	server  int32 // that has its session
	slot    int32 // in the server's sessions
	attempt int32 // that the balancer makes for it

	state    state
	failures uint8 // in a row
	inBatch  bool  // its session is to be closed or moved by its server's batch
}

// none means no server or no attempt.
const none = -1

type state uint8

const (
	away       state = iota // waits before it tries again
	connecting              // has sent a handshake and waits for the response
	connected               // has its session
	states
)

// address is a client's address.
func address(c int32) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(c >> 16), byte(c >> 8), byte(c)})
}

// setState changes a client's state.
func (w *world) setState(i int32, s state) *client {
	c := &w.clients[i]
	w.clientsByState[c.state]--
	w.clientsByState[s]++
	c.state = s
	c.gen++
	return c
}

// roundTrip is a client's round-trip time; it is always the same.
func (w *world) roundTrip(i int32) time.Duration {
	// The multiplier spreads neighbours evenly: 2³² divided by the golden ratio.
	part := float64(uint32(i)*2654435769) / (1 << 32)
	return time.Duration((0.5 + part) * float64(w.s.RoundTrip))
}

// connect starts a client's handshake. The request arrives after a round trip for
// TCP and half of another.
func (w *world) connect(i int32) {
	c := w.setState(i, connecting)
	w.schedule(w.now+w.roundTrip(i)*3/2, requestArrives, i, c.gen)
	w.scheduleTimeout(w.behaviour.Timeout, clientGivesUp, i, c.gen)
}

// requestArrived is called when a client's request is at the balancer.
func (w *world) requestArrived(i int32) {
	a := w.newAttempt(i)
	w.clients[i].attempt = a.index
	w.start(a)
}

// sessionOpened gives a client its session.
func (w *world) sessionOpened(i int32, s *server) {
	c := w.setState(i, connected)
	c.opened, c.failures = w.now, 0
	w.attach(i, s)
	w.meter.countReconnect(w, w.now-c.since)
}

// handshakeFailed is called when a client's handshake has failed.
func (w *world) handshakeFailed(i int32) {
	c := w.setState(i, away)
	w.scheduleReconnect(i, c)
	if c.failures < 255 {
		c.failures++
	}
}

// clientGaveUp is called when a client has waited for its Timeout.
func (w *world) clientGaveUp(i int32) {
	if a := w.clients[i].attempt; a != none {
		w.abandon(w.attempts.all[a])
	}
	w.meter.result.TimedOut++
	w.handshakeFailed(i)
}

// scheduleReconnect lets a client come back, its delay after it has heard of its
// failure, which is half a round trip from now.
func (w *world) scheduleReconnect(i int32, c *client) {
	b := w.behaviour
	delay := float64(b.Delay)
	for range c.failures {
		if delay *= b.Factor; delay >= float64(b.Most) {
			break
		}
	}
	delay = min(delay, float64(b.Most)) * (1 - b.Jitter*w.rand.Float64())
	w.schedule(w.now+w.roundTrip(i)/2+time.Duration(delay), clientConnects, i, c.gen)
}

// closeSession ends a client's session.
func (w *world) closeSession(i int32) {
	c := &w.clients[i]
	if c.attempt != none {
		w.abandon(w.attempts.all[c.attempt])
	}
	w.detach(i)
	c = w.setState(i, away)
	c.since = w.now
	w.meter.countClose()
	w.scheduleReconnect(i, c)
}

// sessionLostServer is called when the server of a client's session has died.
func (w *world) sessionLostServer(i int32, s *server) {
	switch c := &w.clients[i]; {
	case c.server != s.index:
	case w.pool.Reattach.Loss:
		w.startMove(i, &batch{close: true, lost: true})
	default:
		w.closeSession(i)
	}
}

// startMove begins to move a session to another backend, as its batch says.
func (w *world) startMove(i int32, o *batch) {
	c := &w.clients[i]
	if c.attempt != none { // it is being moved
		a := w.attempts.all[c.attempt]
		a.closeOnFailure = a.closeOnFailure || o.close
		if o.lost && !a.lost {
			a.lost, a.searchUntil = true, w.now+w.pool.Reattach.Timeout
			a.belowFairShare = false
		}
		return
	}
	a := w.newAttempt(i)
	c.attempt = a.index
	a.move, a.closeOnFailure, a.belowFairShare, a.deadline = true, o.close, o.belowFairShare, w.now+w.pool.Reattach.Timeout
	a.lost, a.searchUntil = o.lost, a.deadline
	a.tried.Add(int(c.server))
	w.start(a)
}

// sessionMoved gives a session the backend that has responded.
func (w *world) sessionMoved(a *attempt, s *server) {
	w.detach(a.client)
	w.attach(a.client, s)
	w.meter.result.Moved++
	w.drainer.SessionArrived(s.backend) // its drain may have begun meanwhile
}

func (w *world) moveFailed(a *attempt) {
	if a.closeOnFailure {
		w.closeSession(a.client)
	} else {
		w.meter.result.NotMoved++
		if a.belowFairShare {
			w.rebalancer.MoveFailed(w.info(a.client))
		}
	}
}

// moveTimedOut is called when the time of a move is over. This doesn't count against
// the backend.
func (w *world) moveTimedOut(a *attempt) {
	w.abandon(a)
	w.moveFailed(a)
}

// attach puts a session on a server. The session holds a lease already.
func (w *world) attach(i int32, s *server) {
	c := &w.clients[i]
	c.server, c.slot, c.inBatch = s.index, int32(len(s.sessions)), false
	s.sessions = append(s.sessions, i)
	// A new session is the youngest. One that was moved isn't.
	if n := len(s.byAge); n > 0 && s.byAge[n-1].opened < c.opened {
		s.byAge = append(s.byAge, aged{i, c.opened})
	} else {
		s.byAge = nil
	}
}

// detach takes a session off its server, and gives its lease back.
func (w *world) detach(i int32) {
	c := &w.clients[i]
	s := w.servers[c.server]
	last := s.sessions[len(s.sessions)-1]
	s.sessions[c.slot] = last
	w.clients[last].slot = c.slot
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
