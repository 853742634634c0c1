package simulate

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/spread"
)

// batch is sessions of a server that are closed or moved one after the other, evenly
// over a time, as the relay does for a relay.CloseRequest.
type batch struct {
	sessions       []int32
	done           int
	began          time.Duration
	spread         time.Duration
	move, close    bool // move them; close them if that fails or move isn't set
	belowFairShare bool // only to backends below their fair shares
	lost           bool // their server has died
	number         int  // distinguishes it from earlier batches
}

// due is the time of the i-th session.
func (o *batch) due(i int) time.Duration {
	return o.began + spread.Part(o.spread, i, len(o.sessions))
}

// cancel takes back what has not been done.
func (o *batch) cancel(clients []client) {
	for _, i := range o.sessions[o.done:] {
		clients[i].inBatch = false
	}
	*o = batch{number: o.number + 1}
}

// startBatch closes or moves sessions of s over o.spread and returns how many. It
// replaces the previous batch.
func (w *world) startBatch(s *server, sessions []int32, o batch) (n int) {
	s.batch.cancel(w.clients)
	for _, i := range sessions {
		w.clients[i].inBatch = true
	}
	o.sessions, o.began, o.number = sessions, w.now, s.batch.number
	s.batch = o
	w.continueBatch(s, o.number)
	return len(sessions)
}

// applyNow closes or moves at once those sessions of s that are in no batch.
func (w *world) applyNow(s *server, o batch) (n int) {
	for _, i := range w.byAge(s) {
		if !w.clients[i].inBatch {
			w.closeOrMove(&o, s, i)
			n++
		}
	}
	return n
}

// continueBatch does what is due of a batch.
func (w *world) continueBatch(s *server, number int) {
	o := &s.batch
	for o.number == number && o.done < len(o.sessions) {
		if due := o.due(o.done); due > w.now {
			w.callAt(due, func() { w.continueBatch(s, number) })
			return
		}
		i := o.sessions[o.done]
		o.done++
		if c := &w.clients[i]; c.inBatch && c.server == s.index {
			c.inBatch = false
			w.closeOrMove(o, s, i)
		}
	}
}

func (w *world) closeOrMove(o *batch, s *server, i int32) {
	switch {
	case w.clients[i].server != s.index:
	case o.move:
		w.startMove(i, o)
	default:
		w.closeSession(i)
	}
}
