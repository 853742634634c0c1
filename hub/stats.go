package hub

import "sync/atomic"

// Stats has the state and counters of a hub, for a server to export as metrics.
// The numbers aren't read atomically as a whole. Those from Delivered on are
// counters since the hub was created.
type Stats struct {
	// Rooms is the number of rooms that have members on this server.
	Rooms int
	// Memberships is the number of memberships on this server. A member in
	// two rooms counts twice.
	Memberships int
	// Sessions is the number of sessions on this server that aren't closed.
	Sessions int
	// Connected reports whether the hub is connected to Redis. A dead
	// connection is detected within 2/5 of RedisOptions.Lease. It is always
	// true for Memory.
	Connected bool

	// Delivered counts events of all kinds returned by Next.
	Delivered uint64
	// Dropped counts events that were discarded because a member's queue was
	// full: by DropOldest, or because its membership ended with ErrSlow.
	Dropped uint64
	// Slow counts memberships that ended with ErrSlow.
	Slow uint64
	// Gaps counts the delivered events that were a Gap.
	Gaps uint64
	// CatchUps counts how often a room has read from Redis what it may have
	// missed on its channel: every room after a reconnect, and a room that has
	// noticed a missing message.
	CatchUps uint64
	// Reconnects counts connections to Redis made after one was lost or
	// couldn't be made at first.
	Reconnects uint64
}

// counters are the values behind Stats.
type counters struct {
	rooms, memberships, sessions atomic.Int64

	delivered, dropped, slow, gaps, catchUps, reconnects atomic.Uint64
}

func (c *counters) stats(connected bool) Stats {
	return Stats{
		Rooms:       int(c.rooms.Load()),
		Memberships: int(c.memberships.Load()),
		Sessions:    int(c.sessions.Load()),
		Connected:   connected,
		Delivered:   c.delivered.Load(),
		Dropped:     c.dropped.Load(),
		Slow:        c.slow.Load(),
		Gaps:        c.gaps.Load(),
		CatchUps:    c.catchUps.Load(),
		Reconnects:  c.reconnects.Load(),
	}
}
