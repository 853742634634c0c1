package hub

import "sync/atomic"

// Stats is how a hub is and what it has done, to be exported to whatever
// metrics a server has. Each number is right by itself; they are not read at one
// moment.
type Stats struct {
	// Rooms is how many rooms have members on this server now.
	Rooms int
	// Memberships is how many members are in them, one that is in two rooms
	// counted twice.
	Memberships int
	// Connected says whether there is a connection to Redis now, as far as is
	// known: one that has died is found out within two fifths of the lease.
	// Always true for Memory.
	Connected bool

	// The rest only grows, from when the hub was made.

	// Delivered is how many events Next has returned, of all kinds, to all
	// members.
	Delivered uint64
	// Dropped is how many events were thrown away because a member had too many
	// waiting: by DropOldest, or those of a membership that ended with ErrSlow.
	Dropped uint64
	// Slow is how many memberships ended with ErrSlow.
	Slow uint64
	// Gaps is how many of Delivered were a Gap.
	Gaps uint64
	// CatchUps is how often a room here has read from Redis what its channel
	// may not have brought: each room after a reconnect, and one whose
	// messages didn't follow one another.
	CatchUps uint64
	// Reconnects is how often there was a connection to Redis after there had
	// been none, or none at first.
	Reconnects uint64
}

// counters are what is counted for Stats.
type counters struct {
	rooms, memberships atomic.Int64

	delivered, dropped, slow, gaps, catchUps, reconnects atomic.Uint64
}

func (c *counters) stats(connected bool) Stats {
	return Stats{
		Rooms:       int(c.rooms.Load()),
		Memberships: int(c.memberships.Load()),
		Connected:   connected,
		Delivered:   c.delivered.Load(),
		Dropped:     c.dropped.Load(),
		Slow:        c.slow.Load(),
		Gaps:        c.gaps.Load(),
		CatchUps:    c.catchUps.Load(),
		Reconnects:  c.reconnects.Load(),
	}
}
