package hub

import (
	"context"
	"strings"
)

// redisRoom is a room as this server follows it on its channel.
//
//	lost ──subscribed──▶ syncing ──synced──▶ live
//	  ▲                     ▲   a gap seen     │
//	  │                     └──────────────────┤
//	  └──────── the connection broke ──────────┘
//
// What comes on the channel is taken only when live, and kept while syncing.
type redisRoom struct {
	hub  *redisHub
	keys roomKeys

	users int // memberships, and joins under way; needs redisHub.mu

	audience // the rest needs its mutex

	state   roomState
	isLive  chan struct{} // closed when live
	round   int           // of syncing: what an earlier one has read is too old
	kept    []string      // payloads that came while syncing
	began   bool          // last has a meaning
	last    id            // the newest message that members here have been given
	version uint64        // of presence
	epoch   string        // likewise
	ended   bool          // the hub is closed
}

type roomState uint8

const (
	lost roomState = iota
	syncing
	live
)

// mostKept bounds what is kept of a channel while its room is synced. What is
// beyond is read from the stream, but for notices.
const mostKept = 1024

func newRedisRoom(h *redisHub, name string) *redisRoom {
	return &redisRoom{
		hub:      h,
		keys:     keysOf(h.opts.Prefix, name),
		audience: audience{room: name, counts: &h.counts},
		isLive:   make(chan struct{}),
	}
}

// join makes m a member. Until the room is live there would be nothing to
// deliver to it; from then on it gets what comes, while its history is read.
func (r *redisRoom) join(ctx context.Context, m *Membership, want resume) error {
	if err := r.awaitLive(ctx); err != nil {
		return err
	}
	if !r.admit(m) {
		return ErrClosed
	}
	p, err := r.enter(ctx, m, want)
	if err != nil {
		// Redis may yet come to do it, after the leave that follows.
		r.hub.clerk.after(r.hub.opts.Lease, func() { r.hub.clerk.leave(r, m.entry) })
		return err
	}
	m.begin(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	m.entered = true
	r.joined(m.entry, m.member) // without waiting for the channel to say so
	return nil
}

// admit attaches m, unless the hub has been closed.
func (r *redisRoom) admit(m *Membership) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.attach(m)
	}
	return !r.ended
}

func (r *redisRoom) awaitLive(ctx context.Context) error {
	r.mu.Lock()
	ready := r.isLive
	r.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.hub.ctx.Done():
		return ErrClosed
	}
}

// detach has m get nothing more. When nobody can tell this server, it tells
// the members here by itself who has left.
func (r *redisRoom) detach(m *Membership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(m)
	if r.state == lost {
		r.left(m.entry)
	}
}

// noticeIfAlone delivers a notice to the members here while the channel can't.
func (r *redisRoom) noticeIfAlone(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == lost {
		r.notice(data)
	}
}

// members lists who is there, if this server has ever known.
func (r *redisRoom) members() ([]Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.presence.list(), r.began
}

// lose is called when the connection that the channel comes on has broken.
func (r *redisRoom) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.become(lost)
}

// subscribed is called when Redis has confirmed the subscription: from here on
// nothing is missed, and what was before is in Redis to be read.
func (r *redisRoom) subscribed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.become(syncing)
}

func (r *redisRoom) become(s roomState) {
	switch {
	case s == live:
		close(r.isLive)
	case r.state == live:
		r.isLive = make(chan struct{})
	}
	r.state = s
	if s != live {
		r.kept = nil // it will be read
	}
	if s == syncing {
		r.round++
		r.hub.clerk.sync(r)
	}
}

// receive takes what came on the channel.
func (r *redisRoom) receive(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == live:
		if !r.take(text) {
			r.become(syncing)
			r.kept = append(r.kept, text)
		}
	case r.state == lost: // on a connection that is given up
	case len(r.kept) < mostKept:
		r.kept = append(r.kept, text)
	default:
		r.become(syncing)
	}
}

// take delivers a payload. It reports false if something before it is missing.
func (r *redisRoom) take(text string) bool {
	p, err := parsePayload(text)
	if err != nil {
		r.hub.opts.Logger.Warn("hub: another program publishes on a room's channel", "room", r.room, "error", err)
		return true
	}
	switch p.kind {
	case 'm':
		return r.takeMessage(newMessage(r.room, p.id, p.prev, []byte(p.data)))
	case 'n':
		r.notice([]byte(p.data))
		return true
	}
	if p.version <= r.version {
		return true
	}
	if p.version != r.version+1 {
		return false
	}
	r.version = p.version
	switch {
	case p.kind == '+':
		r.joined(p.entry, p.member)
	case serverOf(p.entry) == r.hub.server && r.own()[p.entry] != nil:
		// Somebody took this server for dead: enter it again.
		r.hub.clerk.after(0, r.resync)
	default:
		r.left(p.entry)
	}
	return true
}

func (r *redisRoom) takeMessage(e *event) bool {
	switch {
	case e.id.compare(r.last) <= 0:
		return true
	case e.prev.compare(r.last) > 0:
		return false
	case e.prev != r.last:
		r.push(r.gap(true)) // Redis has lost what we have
	}
	r.last = e.id
	r.push(e)
	return true
}

func (r *redisRoom) gap(reset bool) *event {
	return &event{Event: Event{Kind: Gap, Room: r.room}, reset: reset}
}

// synced takes what sync.lua has read in a round.
func (r *redisRoom) synced(round int, s snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != syncing || r.round != round {
		return
	}
	again := r.began
	r.catchUpWith(s)
	r.takePresence(s)
	if len(s.missed) >= r.hub.opts.History {
		r.become(syncing) // there may be more
		return
	}
	if again {
		r.hub.counts.catchUps.Add(1)
	}
	kept := r.kept
	r.become(live)
	for i, text := range kept {
		if !r.take(text) {
			r.become(syncing)
			r.kept = kept[i:]
			return
		}
	}
	r.kept = nil
}

// catchUpWith delivers the messages that the channel didn't bring.
func (r *redisRoom) catchUpWith(s snapshot) {
	if !r.began {
		r.began, r.last = true, s.newest
		return
	}
	var events []*event
	switch {
	case len(s.missed) > 0 && s.missed[0].prev != r.last:
		// Trimmed, or lost.
		events = append(events, r.gap(s.missed[0].prev.compare(r.last) < 0))
	case s.newest.compare(r.last) < 0:
		events = append(events, r.gap(true))
		r.last = s.newest
	}
	events = append(events, s.missed...)
	if n := len(s.missed); n > 0 {
		r.last = s.missed[n-1].id
	}
	if len(events) > 0 {
		r.catchUp(events)
	}
}

// takePresence takes over who is there. Of this server's own memberships it
// knows best itself.
func (r *redisRoom) takePresence(s snapshot) {
	mine, dead := r.own(), r.hub.deadServers()
	for entry := range s.entries {
		// Of servers that are dead, since nobody was here when they died; Redis
		// forgets in the end that they are.
		if server := serverOf(entry); dead[server] || server == r.hub.server && mine[entry] == nil {
			delete(s.entries, entry)
			r.hub.clerk.leave(r, entry)
		}
	}
	for entry, m := range mine {
		if m.entered {
			s.entries[entry] = m.member
		}
	}
	if r.epoch != "" && r.epoch != s.epoch {
		// The other servers have yet to enter theirs again.
		for entry, m := range r.presence.entries {
			if server := serverOf(entry); server != r.hub.server && !dead[server] {
				s.entries[entry] = m
			}
		}
		r.hub.clerk.after(r.hub.opts.leaseTime(), r.resync)
	}
	r.version, r.epoch = s.version, s.epoch
	joined, left := r.presence.replace(s.entries)
	for _, m := range joined {
		r.tell(Joined, m)
	}
	for _, m := range left {
		r.tell(Left, m)
	}
}

// own is the memberships here by their entries.
func (r *redisRoom) own() map[string]*Membership {
	own := make(map[string]*Membership, len(r.here))
	for m := range r.here {
		own[m.entry] = m
	}
	return own
}

// bury takes out who was on servers that are dead.
func (r *redisRoom) bury(dead map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for entry := range r.presence.entries {
		if dead[serverOf(entry)] {
			r.left(entry)
			r.hub.clerk.leave(r, entry)
		}
	}
}

// resync has a room that is live read everything anew.
func (r *redisRoom) resync() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == live {
		r.become(syncing)
	}
}

// end closes the memberships and returns their entries.
func (r *redisRoom) end() (entries []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	for m := range r.here {
		entries = append(entries, m.entry)
	}
	r.close()
	return entries
}

func serverOf(entry string) string {
	server, _, _ := strings.Cut(entry, "/")
	return server
}
