package hub

import (
	"context"
	"time"
)

// redisRoom follows a room on its channel.
//
//	disconnected ──onSubscribed──▶ syncing ──onSynced──▶ live
//	     ▲                            ▲    a gap found     │
//	     │                            └────────────────────┤
//	     └───────────── onDisconnect ──────────────────────┘
//
// Payloads of the channel are applied while the room is live and buffered while
// it is syncing.
type redisRoom struct {
	hub  *redisHub
	keys roomKeys
	opts RoomOptions
	sub  subscription // to the channel

	extended time.Time // when the TTLs were last extended; only maintainer.run uses it

	refs int // memberships and Joins in progress; redisHub.mu guards it

	localRoom // its mutex guards the fields below

	state    roomState
	ready    chan struct{}          // closed when live
	round    int                    // counts the changes to syncing; results of an earlier round are obsolete
	buffered []string               // payloads received while syncing
	size     int                    // bytes of buffered
	synced   bool                   // was live before, so that last, version and epoch are set
	last     id                     // the newest message delivered to members here
	version  uint64                 // of presence, zero if nobody was present: any version may follow
	epoch    string                 // of presence
	syncErr  error                  // of the last attempt to synchronize, nil if it succeeded
	closed   bool                   // the hub is closed
	byEntry  map[string]*Membership // of memberships, nil in a small room
}

// alwaysReady is a closed channel.
var alwaysReady = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

type roomState uint8

const (
	disconnected roomState = iota
	syncing
	live
)

// maxBuffered limits the bytes of the payloads buffered while a room is syncing.
// Beyond it, the room syncs again, and only notices are lost.
const maxBuffered = 4 << 20

func newRedisRoom(h *redisHub, name string) *redisRoom {
	r := &redisRoom{
		hub:       h,
		keys:      keysOf(h.opts.Prefix, name),
		opts:      h.opts.room(name),
		extended:  time.Now(), // by sync.lua
		localRoom: localRoom{room: name, counts: &h.counts, fanOut: &h.fanOut},
		ready:     make(chan struct{}),
	}
	r.sub = subscription{channel: r.keys.channel, listener: r}
	h.maintainer.addTTL(r.opts.HistoryTTL)
	return r
}

// join makes m a member. It waits until the room is live, and attaches m before
// it reads the history, so that no message is missed in between.
func (r *redisRoom) join(ctx context.Context, m *Membership, request historyRequest) error {
	if err := r.awaitLive(ctx); err != nil {
		return err
	}
	m.pager = r
	started, err := r.attachIfOpen(m, request)
	if started || err != nil {
		return err
	}
	if !m.visible {
		p, err := r.hub.readHistory(ctx, r.room, request)
		if err == nil {
			m.start(p)
		}
		return err
	}
	p, err := r.register(ctx, m, request)
	if err != nil {
		// Redis may still execute the command, after the removal that the
		// caller schedules. So schedule another.
		r.hub.maintainer.callAfter(r.hub.opts.Lease, func() { r.hub.maintainer.removeEntry(r, m.entry) })
		return err
	}
	m.start(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	m.registered = true
	r.addPresent(m.entry, m.member) // without waiting for the channel
	return nil
}

// attachIfOpen attaches m, unless the hub is closed. It reports true if nothing needs
// to be written to Redis or read from there, so that the membership has started.
func (r *redisRoom) attachIfOpen(m *Membership, request historyRequest) (started bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false, ErrClosed
	}
	m.recovery = recovery{more: true, reading: true}
	r.attach(m)
	if r.byEntry != nil {
		r.byEntry[m.entry] = m
	}
	if r.state != live || m.visible || request.hasSince && request.since != r.last || request.count > 0 && !request.hasSince {
		return false, nil
	}
	m.start(historyPage{after: r.last, newest: r.last})
	return true, nil
}

// readMore implements pager.
func (r *redisRoom) readMore(m *Membership) { r.hub.maintainer.readPage(r, m) }

// detach removes m from the room. While disconnected, the members here can't
// learn from the channel that m has left, so detach notifies them itself.
func (r *redisRoom) detach(m *Membership) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(m)
	delete(r.byEntry, m.entry)
	if r.state == disconnected {
		r.removePresent(m.entry)
	}
}

// noticeIfDisconnected delivers a notice to the members here if the channel
// can't.
func (r *redisRoom) noticeIfDisconnected(data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == disconnected {
		r.pushNotice(data)
	}
}

// members lists who is present. It reports false if the room has never been
// synced.
func (r *redisRoom) members() ([]Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.presence.list(), r.synced
}

// onDisconnect is called when the connection for pub/sub has broken.
func (r *redisRoom) onDisconnect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setState(disconnected)
}

// onSubscribed is called when Redis has confirmed the subscription. From here
// on the channel misses nothing, and what happened before can be read from
// Redis.
func (r *redisRoom) onSubscribed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setState(syncing)
}

func (r *redisRoom) setState(s roomState) {
	switch {
	case s == live:
		close(r.ready)
		r.ready = alwaysReady // one for all rooms that are live
	case r.state == live:
		r.ready = make(chan struct{})
	}
	r.state = s
	if s != live {
		r.buffered, r.size = nil, 0 // syncing reads it from Redis
	}
	if s == syncing {
		r.round++
		r.hub.maintainer.syncRoom(r)
	}
}

// onPayload is called for everything received on the channel.
func (r *redisRoom) onPayload(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.state == live:
		if !r.apply(text) {
			r.setState(syncing)
			r.buffer(text)
		}
	case r.state == disconnected: // received on a connection that is being closed
	case r.size < maxBuffered:
		r.buffer(text)
	default:
		r.setState(syncing)
	}
}

func (r *redisRoom) buffer(text string) {
	r.buffered = append(r.buffered, text)
	r.size += len(text)
}

// apply delivers a payload. It reports false if something before it is missing.
func (r *redisRoom) apply(text string) bool {
	p, err := parsePayload(text)
	if err != nil {
		r.hub.opts.Log.Warn("hub: ignoring an invalid payload on a room's channel", "room", r.room, "error", err)
		return true
	}
	switch p.kind {
	case 'm':
		return r.applyMessage(newMessage(r.room, p.id, p.prev, p.sender, []byte(p.data)))
	case 'n':
		r.pushNotice([]byte(p.data))
		return true
	}
	if p.version <= r.version {
		return true
	}
	if r.version == 0 {
		r.epoch = epochBefore(p.version)
	} else if p.version != r.version+1 {
		return false
	}
	r.version = p.version
	switch {
	case p.kind == '+':
		r.addPresent(p.entry, p.member)
	case serverOf(p.entry) == r.hub.serverID && r.ownEntry(p.entry) != nil:
		// Another server considered this one dead. Syncing adds the entry again.
		r.hub.maintainer.callAfter(0, r.resync)
	default:
		r.removePresent(p.entry)
	}
	return true
}

func (r *redisRoom) applyMessage(e *event) bool {
	switch {
	case e.id.compare(r.last) <= 0:
		return true
	case e.prev.compare(r.last) > 0:
		return false
	case e.prev != r.last:
		r.push(r.gap(true)) // Redis has lost messages that were delivered here
	}
	r.last = e.id
	r.push(e)
	return true
}

func (r *redisRoom) gap(reset bool) *event {
	e := newGap(r.room)
	e.reset = reset
	return e
}

// onSynced is called with the snapshot that was read in a round of syncing.
func (r *redisRoom) onSynced(round int, s snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != syncing || r.round != round {
		return
	}
	if !r.applyBuffered(&s) {
		r.setState(syncing)
		return
	}
	again := r.synced
	r.syncErr = nil
	r.deliverMissed(s)
	r.replacePresence(s)
	if again {
		r.hub.counts.catchUps.Add(1)
	}
	buffered := r.buffered
	r.setState(live)
	for i, text := range buffered {
		if !r.apply(text) {
			r.setState(syncing)
			for _, rest := range buffered[i:] {
				r.buffer(rest)
			}
			return
		}
	}
	r.buffered, r.size = nil, 0
}

// inRound reports whether the room is still in that round of syncing.
func (r *redisRoom) inRound(round int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == syncing && r.round == round
}

// deliverMissed delivers the messages that weren't received on the channel.
func (r *redisRoom) deliverMissed(s snapshot) {
	if !r.synced {
		r.synced, r.last = true, s.newest
		return
	}
	var events []*event
	switch {
	case len(s.missed) > 0 && s.missed[0].prev != r.last:
		// Messages were trimmed, or Redis has lost some.
		events = append(events, r.gap(s.missed[0].prev.compare(r.last) < 0))
	case s.newest.compare(r.last) < 0:
		events = append(events, r.gap(true))
	}
	events = append(events, s.missed...)
	r.last = s.newest
	if len(events) > 0 {
		page := historyPage{events: s.missed, newest: s.newest}
		r.catchUp(events, page.more())
	}
}

// resync makes a live room read everything again.
func (r *redisRoom) resync() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == live {
		r.setState(syncing)
	}
}

// close ends the memberships and returns their entries.
func (r *redisRoom) close() (entries []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for m := range r.memberships {
		if m.visible {
			entries = append(entries, m.entry)
		}
	}
	r.closeAll()
	return entries
}
