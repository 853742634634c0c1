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

	mu       sync.Mutex
	syncs    []*redisRoom            // rooms to synchronize
	removals map[*redisRoom][]string // entries to remove
	delayed  []delayedCall

	hasLease   atomic.Bool // a lease has been acquired, and the dead servers are known
	renewing   sync.Mutex
	graceUntil time.Time // until then, no server is considered dead; renewing guards it
}

type delayedCall struct {
	due time.Time
	f   func()
}

func newMaintainer(h *redisHub) *maintainer {
	return &maintainer{hub: h, wake: make(chan struct{}, 1), removals: make(map[*redisRoom][]string)}
}

// syncRoom schedules the synchronization of a room, whose mutex the caller
// holds.
func (m *maintainer) syncRoom(r *redisRoom) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs = append(m.syncs, r)
	m.signal()
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
	extend := time.NewTicker(h.opts.HistoryTTL / 4)
	defer extend.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		work := m.runScheduled
		select {
		case <-h.ctx.Done():
			return
		case <-renew.C:
			work = m.onInterval
		case <-extend.C:
			work = m.extendTTLs
		case <-retry.C:
		case <-m.wake:
		}
		ctx, cancel := context.WithTimeout(h.ctx, h.opts.Timeout)
		err := work(ctx)
		cancel()
		if err != nil && h.ctx.Err() == nil {
			if h.subscriber.connected() {
				h.opts.Logger.Warn("hub: Redis command failed, will retry", "error", err)
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

// runScheduled does one batch of the scheduled removals and synchronizations.
func (m *maintainer) runScheduled(ctx context.Context) error {
	return errors.Join(m.removeEntries(ctx), m.syncRooms(ctx))
}

func (m *maintainer) removeEntries(ctx context.Context) error {
	var rooms []*redisRoom
	var calls []*scriptCall
	m.mu.Lock()
	taken := make(map[*redisRoom][]string)
	for r, entries := range m.removals {
		if len(calls) == maxPipeline {
			m.signal()
			break
		}
		args := []any{m.hub.publishCommand(), r.keys.channel, m.hub.membersTTL()}
		for _, e := range entries {
			args = append(args, e)
		}
		rooms = append(rooms, r)
		calls = append(calls, &scriptCall{keys: []string{r.keys.members}, args: args})
		taken[r] = entries
		delete(m.removals, r)
	}
	m.mu.Unlock()
	if len(calls) == 0 {
		return nil
	}
	err := runAll(ctx, m.hub.client, leaveScript, calls)
	if err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, r := range rooms {
			m.removals[r] = append(taken[r], m.removals[r]...)
		}
	}
	return err
}

func (m *maintainer) syncRooms(ctx context.Context) error {
	m.mu.Lock()
	n := min(len(m.syncs), maxPipeline)
	rooms := slices.Clone(m.syncs[:n])
	m.syncs = m.syncs[n:]
	if len(m.syncs) > 0 {
		m.signal()
	}
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
		if failed == nil {
			r.onSynced(rounds[i], s)
			continue
		}
		err = failed
		r.onSyncFailed(err)
		m.syncRoom(r)
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

// extendTTLs extends the TTLs of the keys of rooms that have members here.
func (m *maintainer) extendTTLs(ctx context.Context) error {
	h := m.hub
	ttl := time.Duration(h.membersTTL()) * time.Millisecond
	for rooms := range slices.Chunk(h.allRooms(), maxPipeline) {
		p := h.client.Pipeline()
		for _, r := range rooms {
			p.PExpire(ctx, r.keys.members, ttl)
			p.PExpire(ctx, r.keys.stream, longer(r.opts.HistoryTTL))
			p.PExpire(ctx, r.keys.keys, longer(r.opts.HistoryTTL))
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
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
