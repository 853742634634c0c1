package hub

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Memory returns a hub whose rooms exist only in this process, for services
// with a single server, for development and for tests. It never returns
// ErrUnavailable, and it has no goroutines while nothing happens. When the process
// ends, the history is lost: a client that comes back with an older Since gets a
// Gap.
func Memory(o Options) Hub {
	return &memory{opts: o.withDefaults(), rooms: make(map[string]*memoryRoom)}
}

type memory struct {
	opts   Options
	counts counters
	users  users
	fanOut fanOut

	mu     sync.Mutex // locked before that of a room
	rooms  map[string]*memoryRoom
	closed bool
}

type memoryRoom struct {
	localRoom
	opts        RoomOptions
	history     []*event
	newest      id
	lastEntry   uint64
	idByKey     map[string]id // of the messages in the history
	keyByID     map[id]string
	expires     time.Time   // when to delete the room if it has no members
	expiryTimer *time.Timer // calls expire
}

// lockRoom returns the room with that name, which it creates if necessary, with
// its mutex locked.
func (h *memory) lockRoom(name string) (*memoryRoom, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	r := h.rooms[name]
	if r == nil {
		if len(h.rooms) >= h.opts.MaxRooms {
			return nil, ErrFull
		}
		r = &memoryRoom{localRoom: localRoom{room: name, counts: &h.counts, fanOut: &h.fanOut}, opts: h.opts.room(name)}
		h.rooms[name] = r
	}
	r.mu.Lock()
	return r, nil
}

// unlockRoom unlocks a room. If the room has no members, it first sets when it
// expires.
func (h *memory) unlockRoom(r *memoryRoom) {
	defer r.mu.Unlock()
	if len(r.memberships) > 0 {
		return
	}
	var ttl time.Duration
	if len(r.history) > 0 {
		ttl = r.opts.HistoryTTL
	}
	r.expires = time.Now().Add(ttl)
	if r.expiryTimer == nil {
		r.expiryTimer = time.AfterFunc(ttl, func() { h.expire(r) })
	} else {
		r.expiryTimer.Reset(ttl)
	}
}

func (h *memory) expire(r *memoryRoom) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.memberships) == 0 && !time.Now().Before(r.expires) && h.rooms[r.room] == r {
		delete(h.rooms, r.room)
	}
}

func (h *memory) Join(ctx context.Context, room string, m Member, j JoinOptions) (*Membership, error) {
	request, err := h.opts.checkJoin(room, m, j)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	r, err := h.lockRoom(room)
	if err != nil {
		return nil, err
	}
	defer h.unlockRoom(r)
	member := newMembership(room, m, &r.opts, j, &h.counts, h.leave)
	member.encode = h.opts.Encode
	member.start(request.page(r.read(request), r.newest))
	r.attach(member)
	r.lastEntry++
	member.entry = strconv.FormatUint(r.lastEntry, 36)
	if member.visible {
		r.addPresent(member.entry, member.member)
	}
	if j.place == nil {
		h.users.add(&member.user)
	}
	return member, nil
}

func (h *memory) leave(m *Membership) {
	h.users.remove(&m.user)
	r, err := h.lockRoom(m.room)
	if err != nil {
		return // the hub is closed, which has removed all members
	}
	defer h.unlockRoom(r)
	r.remove(m)
	r.removePresent(m.entry)
}

// read returns the messages of the history that were requested.
func (r *memoryRoom) read(request historyRequest) []*event {
	if !request.hasSince {
		return r.history[max(0, len(r.history)-request.count):]
	}
	i, _ := slices.BinarySearchFunc(r.history, request.since, func(e *event, since id) int {
		if e.id.compare(since) <= 0 {
			return -1
		}
		return 1
	})
	after := r.history[i:]
	return after[:min(len(after), request.count)]
}

func (h *memory) Publish(ctx context.Context, room string, data []byte) (string, error) {
	return h.PublishWith(ctx, room, data, PublishOptions{})
}

func (h *memory) PublishWith(ctx context.Context, room string, data []byte, o PublishOptions) (string, error) {
	if err := cmp.Or(h.opts.checkPublish(room, data, o), ctx.Err()); err != nil {
		return "", err
	}
	r, err := h.lockRoom(room)
	if err != nil {
		return "", err
	}
	defer h.unlockRoom(r)
	if id, ok := r.idByKey[o.Key]; ok {
		return id.String(), nil
	}
	e := newMessage(room, r.newest.next(uint64(time.Now().UnixMilli())), r.newest, o.Sender, slices.Clone(data))
	r.newest = e.id
	r.append(e, o.Key, r.opts.History)
	r.push(e)
	return e.ID, nil
}

// append adds a message to the history and trims it to limit messages.
func (r *memoryRoom) append(e *event, key string, limit int) {
	r.history = append(r.history, e)
	if key != "" {
		if r.idByKey == nil {
			r.idByKey, r.keyByID = make(map[string]id), make(map[id]string)
		}
		r.idByKey[key], r.keyByID[e.id] = e.id, key
	}
	if len(r.history) > limit {
		oldest := r.history[0].id
		r.history[0] = nil
		r.history = r.history[1:]
		if k, ok := r.keyByID[oldest]; ok {
			delete(r.idByKey, k)
			delete(r.keyByID, oldest)
		}
	}
}

func (h *memory) HistoryOf(ctx context.Context, room, since string, limit int) ([]Event, error) {
	request, err := h.opts.checkHistory(room, since, limit)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	page, err := h.historyPage(room, request)
	if err != nil {
		return nil, err
	}
	return page.list(room, h.opts.Encode), nil
}

func (h *memory) historyPage(room string, request historyRequest) (historyPage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return historyPage{}, ErrClosed
	}
	r := h.rooms[room]
	if r == nil {
		return request.page(nil, id{}), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return request.page(slices.Clone(r.read(request)), r.newest), nil
}

func (h *memory) Notify(ctx context.Context, room string, data []byte) error {
	if err := cmp.Or(checkRoom(room), h.opts.checkData(data), ctx.Err()); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if r := h.rooms[room]; r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pushNotice(slices.Clone(data))
	}
	return nil
}

func (h *memory) Members(ctx context.Context, room string) ([]Member, error) {
	if err := cmp.Or(checkRoom(room), ctx.Err()); err != nil {
		return nil, err
	}
	if h.opts.room(room).NoPresence {
		return nil, ErrNoPresence
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	r := h.rooms[room]
	if r == nil {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.presence.list(), nil
}

func (h *memory) Ready(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	return ctx.Err()
}

func (h *memory) Stats() Stats { return h.counts.stats(true) }

func (h *memory) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, r := range h.rooms {
		r.mu.Lock()
		r.closeAll()
		if r.expiryTimer != nil {
			r.expiryTimer.Stop()
		}
		r.mu.Unlock()
	}
	clear(h.rooms)
	h.users.close()
	return nil
}

func (h *memory) internals() (Options, *users, *counters) { return h.opts, &h.users, &h.counts }
