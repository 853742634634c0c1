package session

import "time"

// Reattach says when a live session is given another backend of its pool: the
// setting of a pool from the configuration to the relay. The servers must be
// able to take over a session. The tags name its keys in the configuration.
//
// Timeout limits each step of a move by itself: the wait for its turn, the search
// for another backend, and the time in which the old backend may send the rest and
// close. After a loss, all searches together have the time of one.
type Reattach struct {
	Drain     bool          `key:"on=drain" want:"drain, loss or rebalance, or a list of them" item:"drain, loss or rebalance" some:"nothing to reattach on"` // its backend is drained
	Loss      bool          `key:"on=loss"`                                                                                                                   // its backend is gone without a Close
	Rebalance bool          `key:"on=rebalance"`                                                                                                              // its backend has more than its fair share
	Timeout   time.Duration `key:"timeout" range:"1ms..1h"`                                                                                                   // of each step of a move
}

// Allows reports whether sessions are moved for a reason. A nil Reattach never
// does.
func (r *Reattach) Allows(why Why) bool {
	if r == nil {
		return false
	}
	switch why {
	case Drain:
		return r.Drain
	case Loss:
		return r.Loss
	}
	return r.Rebalance
}
