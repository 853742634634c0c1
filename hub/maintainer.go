package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A crashed server must be noticed within RedisOptions.Lease. Its lease lasts
// 7/10 of that, and every server renews its own lease and looks for expired ones
// every 2/10. So up to three renewals may fail before a server is considered
// dead.
func (o RedisOptions) leaseTime() time.Duration     { return o.Lease * 7 / 10 }
func (o RedisOptions) renewInterval() time.Duration { return o.Lease * 2 / 10 }

// membersTTL is how long, in ms, Redis keeps a room's members if no server
// extends it.
func (h *redisHub) membersTTL() int64 {
	return max(h.opts.HistoryTTL, 10*h.opts.Lease).Milliseconds()
}

// maxPipeline limits the number of commands in a pipeline.
const maxPipeline = 200

// maintainer does the work on Redis in the background: it synchronizes rooms,
// removes the entries of memberships that have ended, and renews the server's
// lease and the TTLs of keys.
type maintainer struct {
	hub  *redisHub
	wake chan struct{}

	mu        sync.Mutex
	syncs     []*redisRoom            // rooms to synchronize
	removals  map[*redisRoom][]string // entries to remove
	additions map[*redisRoom][]string // entries to add again
	pages     []pageReader            // memberships that need more of the history
	delayed   []delayedCall

	scans []*scan // of members; only run uses it

	shortestTTL atomic.Int64 // of the rooms, in nanoseconds

	hasLease   atomic.Bool // a lease has been acquired, and the dead servers are known
	renewing   sync.Mutex
	graceUntil time.Time // until then, no server is considered dead; renewing guards it
}

type delayedCall struct {
	due time.Time
	f   func()
}

func newMaintainer(h *redisHub) *maintainer {
	m := &maintainer{
		hub:       h,
		wake:      make(chan struct{}, 1),
		removals:  make(map[*redisRoom][]string),
		additions: make(map[*redisRoom][]string),
	}
	m.shortestTTL.Store(int64(h.opts.HistoryTTL))
	return m
}

// syncRoom schedules the synchronization of a room, whose mutex the caller
// holds.
func (m *maintainer) syncRoom(r *redisRoom) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs = append(m.syncs, r)
	m.signal()
}

// syncAgain is like syncRoom after an attempt that has failed.
func (m *maintainer) syncAgain(r *redisRoom) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs = append(m.syncs, r)
}

// removeEntry schedules the removal of an entry from a room's members. It is
// retried until it succeeds.
func (m *maintainer) removeEntry(r *redisRoom, entry string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.removals[r] = append(m.removals[r], entry)
	m.signal()
}

// callAfter calls f at the first renewal interval after d has passed.
func (m *maintainer) callAfter(d time.Duration, f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delayed = append(m.delayed, delayedCall{time.Now().Add(d), f})
}

func (m *maintainer) runDelayed() {
	m.mu.Lock()
	var due []func()
	m.delayed = slices.DeleteFunc(m.delayed, func(c delayedCall) bool {
		isDue := !time.Now().Before(c.due)
		if isDue {
			due = append(due, c.f)
		}
		return isDue
	})
	m.mu.Unlock()
	for _, f := range due {
		f()
	}
}

func (m *maintainer) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *maintainer) run() {
	h := m.hub
	renew := time.NewTicker(h.opts.renewInterval())
	defer renew.Stop()
	extend := time.NewTimer(0)
	defer extend.Stop()
	var interval time.Duration // of extend
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		if d := m.extendInterval(); d != interval { // there is a room with a shorter TTL
			interval = d
			extend.Reset(d)
		}
		work := m.runScheduled
		select {
		case <-h.ctx.Done():
			return
		case <-renew.C:
			work = m.onInterval
		case <-extend.C:
			extend.Reset(interval)
			work = func(ctx context.Context) error {
				err := m.extendTTLs(ctx)
				if err != nil {
					extend.Reset(jitter(min(time.Second, interval/4)))
				}
				return err
			}
		case <-retry.C:
		case <-m.wake:
		}
		ctx, cancel := context.WithTimeout(h.ctx, h.opts.Timeout)
		err := work(ctx)
		cancel()
		if err != nil && h.ctx.Err() == nil {
			if h.subscriber.connected() {
				h.opts.Log.Warn("hub: Redis command failed, will retry", "error", err)
			}
			retry.Reset(jitter(time.Second))
		}
	}
}

// onInterval is called at renewInterval.
func (m *maintainer) onInterval(ctx context.Context) error {
	m.hub.subscriber.check(ctx)
	m.runDelayed()
	return m.renewLease(ctx, false)
}

// runScheduled does one batch of each kind of scheduled work.
func (m *maintainer) runScheduled(ctx context.Context) error {
	err := errors.Join(
		m.addLostEntries(ctx), m.removeEntries(ctx), m.syncRooms(ctx), m.scanMembers(ctx), m.readPages(ctx))
	if err == nil && m.hasScheduled() { // after an error, run waits before it tries again
		m.signal()
	}
	return err
}

func (m *maintainer) hasScheduled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.additions)+len(m.removals)+len(m.syncs)+len(m.scans)+len(m.pages) > 0
}

func (m *maintainer) removeEntries(ctx context.Context) error {
	batches := m.takeEntries(m.removals)
	if len(batches) == 0 {
		return nil
	}
	calls := make([]*scriptCall, len(batches))
	for i, b := range batches {
		args := []any{m.hub.publishCommand(), b.room.keys.channel, m.hub.membersTTL()}
		for _, e := range b.entries {
			args = append(args, e)
		}
		calls[i] = &scriptCall{keys: []string{b.room.keys.members()}, args: args}
	}
	err := runAll(ctx, m.hub.client, leaveScript, calls)
	if err != nil {
		m.putBack(m.removals, batches)
	}
	return err
}

func (m *maintainer) syncRooms(ctx context.Context) error {
	m.mu.Lock()
	n := min(len(m.syncs), maxPipeline)
	rooms := slices.Clone(m.syncs[:n])
	m.syncs = m.syncs[n:]
	m.mu.Unlock()
	if len(rooms) == 0 {
		return nil
	}
	rounds, calls := make([]int, len(rooms)), make([]*scriptCall, len(rooms))
	for i, r := range rooms {
		rounds[i], calls[i] = r.syncCall()
	}
	err := runAll(ctx, m.hub.client, syncScript, calls)
	for i, r := range rooms {
		reply, failed := calls[i].cmd.Result()
		var s snapshot
		if failed == nil {
			s, failed = r.parseSnapshot(reply)
		}
		if failed == nil && s.scan {
			m.scans = append(m.scans, &scan{room: r, round: rounds[i], snapshot: s})
			continue
		}
		if failed == nil {
			r.onSynced(rounds[i], s)
			continue
		}
		err = failed
		r.onSyncFailed(err)
		m.syncAgain(r)
	}
	return err
}

// renewLease renews this server's lease and removes the members of servers whose
// lease has expired. reconnected says that Redis was unreachable until now.
//
// If this server couldn't renew its own lease, others probably couldn't either.
// They then get the duration of a lease to do so before they are considered
// dead.
func (m *maintainer) renewLease(ctx context.Context, reconnected bool) error {
	m.renewing.Lock()
	defer m.renewing.Unlock()
	h := m.hub
	lease, keep := h.opts.leaseTime(), 2*h.membersTTL()
	reply, err := renewScript.Run(ctx, h.client, []string{h.opts.Prefix + "servers"},
		h.serverID, lease.Milliseconds(), keep).Slice()
	if err != nil {
		return err
	}
	if len(reply) != 2 {
		return errReply
	}
	expired := reply[0] == int64(1)
	list, ok := reply[1].([]any)
	if !ok {
		return errReply
	}
	dead := make(map[string]bool, len(list))
	for _, server := range list {
		if id, ok := server.(string); ok {
			dead[id] = true
		}
	}
	if m.hasLease.Load() && (reconnected || expired) {
		m.graceUntil = time.Now().Add(lease)
	}
	rooms := h.allRooms()
	if expired {
		for _, r := range rooms {
			r.resync() // others may have removed our members
		}
	}
	if time.Now().Before(m.graceUntil) {
		return nil
	}
	died, revived := m.setDead(dead)
	for _, r := range rooms {
		if died {
			r.removeDead(dead)
		}
		if revived {
			r.resync() // members of the revived servers may have been left out
		}
	}
	m.hasLease.Store(true)
	return nil
}

// setDead stores the set of dead servers. It reports whether there are servers
// that weren't dead before, and servers that are no longer dead.
func (m *maintainer) setDead(dead map[string]bool) (died, revived bool) {
	before := m.hub.deadServers()
	m.hub.dead.Store(&dead)
	for server := range dead {
		died = died || !before[server]
	}
	for server := range before {
		revived = revived || !dead[server]
	}
	return died, revived
}

// longer returns the TTL that publish.lua sets. The hub must not shorten it: the
// script doesn't extend it again with each message.
func longer(ttl time.Duration) time.Duration { return ttl * 9 / 8 }

// extendInterval is the interval of extendTTLs: short enough for all rooms.
func (m *maintainer) extendInterval() time.Duration {
	return time.Duration(m.shortestTTL.Load()) / 4
}

// addTTL is called with the HistoryTTL of each room.
func (m *maintainer) addTTL(ttl time.Duration) {
	for {
		shortest := m.shortestTTL.Load()
		if int64(ttl) >= shortest || m.shortestTTL.CompareAndSwap(shortest, int64(ttl)) {
			return
		}
	}
}

// extendTTLs extends the TTLs of the keys of rooms that have members here, if that was
// last done a quarter of their HistoryTTL ago.
func (m *maintainer) extendTTLs(ctx context.Context) error {
	h, now := m.hub, time.Now()
	ttl := time.Duration(h.membersTTL()) * time.Millisecond
	rooms := slices.DeleteFunc(h.allRooms(), func(r *redisRoom) bool {
		// An eighth less, since the timer may be early by the time that the last call took.
		return now.Sub(r.extended) < r.opts.HistoryTTL/4*7/8
	})
	for rooms := range slices.Chunk(rooms, maxPipeline) {
		p := h.client.Pipeline()
		for _, r := range rooms {
			p.PExpire(ctx, r.keys.members(), ttl)
			p.PExpire(ctx, r.keys.stream(), longer(r.opts.HistoryTTL))
			p.PExpire(ctx, r.keys.keys(), longer(r.opts.HistoryTTL))
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
		for _, r := range rooms {
			r.extended = now
		}
	}
	return nil
}

// deregister removes this server's entries and gives up its lease. It must be
// called after the hub's goroutines have ended.
func (m *maintainer) deregister() error {
	ctx, cancel := context.WithTimeout(context.Background(), m.hub.opts.Timeout)
	defer cancel()
	for m.hasRemovals() {
		if err := m.removeEntries(ctx); err != nil {
			return err
		}
	}
	// A lease that has already expired marks the server as dead. If it were
	// deleted instead, the server would be unknown, and unknown servers are
	// considered alive.
	return renewScript.Run(ctx, m.hub.client, []string{m.hub.opts.Prefix + "servers"},
		m.hub.serverID, -1, 2*m.hub.membersTTL()).Err()
}

func (m *maintainer) hasRemovals() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.removals) > 0
}
