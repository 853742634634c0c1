package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A lease L is kept so that a server that crashed is known to be dead within
// L: it runs for 7/10 of L, is renewed each 2/10, and whose has run out is asked
// at the same interval. Three renewals may fail before others take this server
// for dead.
func (o RedisOptions) leaseTime() time.Duration    { return o.Lease * 7 / 10 }
func (o RedisOptions) beatInterval() time.Duration { return o.Lease * 2 / 10 }

// membersTTL is for how long Redis keeps the members of a room, in ms, if no
// server says that it is still there.
func (h *redisHub) membersTTL() int64 {
	return max(h.opts.HistoryTTL, 10*h.opts.Lease).Milliseconds()
}

// mostCalls bounds a pipeline.
const mostCalls = 200

// clerk does with Redis what nobody waits for: it syncs rooms, takes out
// memberships that have ended, renews the lease and what would expire.
type clerk struct {
	hub  *redisHub
	wake chan struct{}

	mu     sync.Mutex
	syncs  []*redisRoom
	leaves map[*redisRoom][]string // entries
	later  []laterWork

	begun   atomic.Bool // the lease has been taken, and it is known who is dead
	beating sync.Mutex
	mercy   time.Time // until then no server is taken for dead
}

type laterWork struct {
	due time.Time
	do  func()
}

func newClerk(h *redisHub) *clerk {
	return &clerk{hub: h, wake: make(chan struct{}, 1), leaves: make(map[*redisRoom][]string)}
}

// sync has a room synced soon. The caller has the room's mutex.
func (c *clerk) sync(r *redisRoom) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.syncs = append(c.syncs, r)
	c.signal()
}

// leave has an entry taken out of the room's members, however long that takes.
func (c *clerk) leave(r *redisRoom, entry string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaves[r] = append(c.leaves[r], entry)
	c.signal()
}

// after has something done when d has passed, and the next beat has come.
func (c *clerk) after(d time.Duration, do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later = append(c.later, laterWork{time.Now().Add(d), do})
}

func (c *clerk) doWhatIsDue() {
	c.mu.Lock()
	var due []func()
	c.later = slices.DeleteFunc(c.later, func(l laterWork) bool {
		is := !time.Now().Before(l.due)
		if is {
			due = append(due, l.do)
		}
		return is
	})
	c.mu.Unlock()
	for _, do := range due {
		do()
	}
}

func (c *clerk) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *clerk) run() {
	h := c.hub
	beat := time.NewTicker(h.opts.beatInterval())
	defer beat.Stop()
	touch := time.NewTicker(h.opts.HistoryTTL / 4)
	defer touch.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		work := c.work
		select {
		case <-h.ctx.Done():
			return
		case <-beat.C:
			work = c.regular
		case <-touch.C:
			work = c.touch
		case <-retry.C:
		case <-c.wake:
		}
		ctx, cancel := context.WithTimeout(h.ctx, h.opts.Timeout)
		err := work(ctx)
		cancel()
		if err != nil && h.ctx.Err() == nil {
			if h.link.up() {
				h.opts.Logger.Warn("hub: Redis failed, trying again", "error", err)
			}
			retry.Reset(jitter(time.Second))
		}
	}
}

// regular is what is done at the interval of the lease.
func (c *clerk) regular(ctx context.Context) error {
	c.hub.link.check(ctx)
	c.doWhatIsDue()
	return c.beat(ctx, false)
}

// work does a batch of what there is to do.
func (c *clerk) work(ctx context.Context) error {
	return errors.Join(c.leaveSome(ctx), c.syncSome(ctx))
}

func (c *clerk) leaveSome(ctx context.Context) error {
	var rooms []*redisRoom
	var calls []*call
	c.mu.Lock()
	taken := make(map[*redisRoom][]string)
	for r, entries := range c.leaves {
		if len(calls) == mostCalls {
			c.signal()
			break
		}
		args := []any{r.keys.channel}
		for _, e := range entries {
			args = append(args, e)
		}
		rooms = append(rooms, r)
		calls = append(calls, &call{keys: []string{r.keys.members}, args: args})
		taken[r] = entries
		delete(c.leaves, r)
	}
	c.mu.Unlock()
	if len(calls) == 0 {
		return nil
	}
	err := runAll(ctx, c.hub.client, leaveScript, calls)
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range rooms {
			c.leaves[r] = append(taken[r], c.leaves[r]...)
		}
	}
	return err
}

func (c *clerk) syncSome(ctx context.Context) error {
	c.mu.Lock()
	n := min(len(c.syncs), mostCalls)
	rooms := slices.Clone(c.syncs[:n])
	c.syncs = c.syncs[n:]
	if len(c.syncs) > 0 {
		c.signal()
	}
	c.mu.Unlock()
	if len(rooms) == 0 {
		return nil
	}
	rounds, calls := make([]int, len(rooms)), make([]*call, len(rooms))
	for i, r := range rooms {
		rounds[i], calls[i] = r.syncCall()
	}
	err := runAll(ctx, c.hub.client, syncScript, calls)
	for i, r := range rooms {
		reply, failed := calls[i].cmd.Result()
		var s snapshot
		if failed == nil {
			s, failed = r.toSnapshot(reply)
		}
		if failed == nil {
			r.synced(rounds[i], s)
			continue
		}
		err = failed
		c.sync(r)
	}
	return err
}

// beat renews the lease and buries the servers whose lease has run out. back
// says that Redis was away until now.
//
// Where this server could not renew its own lease, others could not either:
// they get the time of a lease to do so.
func (c *clerk) beat(ctx context.Context, back bool) error {
	c.beating.Lock()
	defer c.beating.Unlock()
	h := c.hub
	lease, keep := h.opts.leaseTime(), 2*h.membersTTL()
	reply, err := beatScript.Run(ctx, h.client, []string{h.opts.Prefix + "servers"},
		h.server, lease.Milliseconds(), keep).Slice()
	if err != nil {
		return err
	}
	if len(reply) != 2 {
		return errReply
	}
	lapsed := reply[0] == int64(1)
	list, ok := reply[1].([]any)
	if !ok {
		return errReply
	}
	dead := make(map[string]bool, len(list))
	for _, server := range list {
		if name, ok := server.(string); ok {
			dead[name] = true
		}
	}
	if c.begun.Load() && (back || lapsed) {
		c.mercy = time.Now().Add(lease)
	}
	rooms := h.allRooms()
	if lapsed {
		for _, r := range rooms {
			r.resync() // others may have taken our members out
		}
	}
	if time.Now().Before(c.mercy) {
		return nil
	}
	more, fewer := c.setDead(dead)
	for _, r := range rooms {
		if more {
			r.bury(dead)
		}
		if fewer {
			r.resync() // it may have been read without those who were alive
		}
	}
	c.begun.Store(true)
	return nil
}

// setDead reports whether some server is newly dead, and whether one is no
// more.
func (c *clerk) setDead(dead map[string]bool) (more, fewer bool) {
	before := c.hub.deadServers()
	c.hub.dead.Store(&dead)
	for server := range dead {
		more = more || !before[server]
	}
	for server := range before {
		fewer = fewer || !dead[server]
	}
	return more, fewer
}

// touch keeps what belongs to rooms with members here from expiring.
func (c *clerk) touch(ctx context.Context) error {
	h := c.hub
	ttl := time.Duration(h.membersTTL()) * time.Millisecond
	for rooms := range slices.Chunk(h.allRooms(), mostCalls) {
		p := h.client.Pipeline()
		for _, r := range rooms {
			p.PExpire(ctx, r.keys.members, ttl)
			p.PExpire(ctx, r.keys.stream, h.opts.HistoryTTL)
			p.PExpire(ctx, r.keys.keys, h.opts.HistoryTTL)
		}
		if _, err := p.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// goodbye tells others that this server is gone. The goroutines have ended.
func (c *clerk) goodbye() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.hub.opts.Timeout)
	defer cancel()
	for c.leaving() {
		if err := c.leaveSome(ctx); err != nil {
			return err
		}
	}
	// Dead at once, rather than unknown, which would count as alive.
	return beatScript.Run(ctx, c.hub.client, []string{c.hub.opts.Prefix + "servers"},
		c.hub.server, -1, 2*c.hub.membersTTL()).Err()
}

func (c *clerk) leaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.leaves) > 0
}
