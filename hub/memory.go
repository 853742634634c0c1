package hub

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Memory is a hub whose rooms are in this process alone, for a service that has
// one server, for development and for tests. It never returns ErrUnavailable,
// and starts no goroutine. With the process its history is gone: who comes back
// with an older Since gets a Gap.
func Memory(o Options) Hub {
	return &memory{opts: o.withDefaults(), rooms: make(map[string]*memoryRoom)}
}

type memory struct {
	opts   Options
	counts counters

	mu     sync.Mutex // taken before that of a room
	rooms  map[string]*memoryRoom
	closed bool
}

type memoryRoom struct {
	audience
	history []*event
	newest  id
	joins   uint64
	keys    map[string]id // of PublishOnce, while the message is in the history
	keyOf   map[id]string
	expires time.Time   // if nobody is here then
	expiry  *time.Timer // calls expire
}

// locked is the room of that name with its mutex held, made if it isn't there.
func (h *memory) locked(name string) (*memoryRoom, error) {
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
		r = &memoryRoom{audience: audience{room: name, counts: &h.counts}}
		h.rooms[name] = r
	}
	r.mu.Lock()
	return r, nil
}

// release unlocks a room, and sets when it expires if nobody is in it.
func (h *memory) release(r *memoryRoom) {
	defer r.mu.Unlock()
	if len(r.here) > 0 {
		return
	}
	var lifetime time.Duration
	if len(r.history) > 0 {
		lifetime = h.opts.HistoryTTL
	}
	r.expires = time.Now().Add(lifetime)
	if r.expiry == nil {
		r.expiry = time.AfterFunc(lifetime, func() { h.expire(r) })
	} else {
		r.expiry.Reset(lifetime)
	}
}

func (h *memory) expire(r *memoryRoom) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.here) == 0 && !time.Now().Before(r.expires) && h.rooms[r.room] == r {
		delete(h.rooms, r.room)
	}
}

func (h *memory) Join(ctx context.Context, room string, m Member, j JoinOptions) (*Membership, error) {
	want, err := h.opts.checkJoin(room, m, j)
	if err := cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	r, err := h.locked(room)
	if err != nil {
		return nil, err
	}
	defer h.release(r)
	member := newMembership(room, m, h.opts, j, &h.counts, h.leave)
	member.begin(want.of(r.read(want), r.newest))
	r.attach(member)
	r.joins++
	member.entry = strconv.FormatUint(r.joins, 36)
	r.joined(member.entry, member.member)
	return member, nil
}

func (h *memory) leave(m *Membership) {
	r, err := h.locked(m.room)
	if err != nil {
		return // with the hub, all have left
	}
	defer h.release(r)
	r.remove(m)
	r.left(m.entry)
}

// read is what want asks for of the history.
func (r *memoryRoom) read(want resume) []*event {
	if !want.given {
		return r.history[max(0, len(r.history)-want.count):]
	}
	i, _ := slices.BinarySearchFunc(r.history, want.since, func(e *event, since id) int {
		if e.id.compare(since) <= 0 {
			return -1
		}
		return 1
	})
	return r.history[i:]
}

func (h *memory) Publish(ctx context.Context, room string, data []byte) (string, error) {
	return h.publish(ctx, room, "", data)
}

func (h *memory) PublishOnce(ctx context.Context, room, key string, data []byte) (string, error) {
	if err := checkName("key", key); err != nil {
		return "", err
	}
	return h.publish(ctx, room, key, data)
}

func (h *memory) publish(ctx context.Context, room, key string, data []byte) (string, error) {
	if err := cmp.Or(checkRoom(room), h.opts.checkData(data), ctx.Err()); err != nil {
		return "", err
	}
	r, err := h.locked(room)
	if err != nil {
		return "", err
	}
	defer h.release(r)
	if id, ok := r.keys[key]; ok {
		return id.String(), nil
	}
	e := newMessage(room, r.newest.next(uint64(time.Now().UnixMilli())), r.newest, slices.Clone(data))
	r.newest = e.id
	r.append(e, key, h.opts.History)
	r.push(e)
	return e.ID, nil
}

// append adds a message to the history and trims it.
func (r *memoryRoom) append(e *event, key string, most int) {
	r.history = append(r.history, e)
	if key != "" {
		if r.keys == nil {
			r.keys, r.keyOf = make(map[string]id), make(map[id]string)
		}
		r.keys[key], r.keyOf[e.id] = e.id, key
	}
	if len(r.history) > most {
		oldest := r.history[0].id
		r.history[0] = nil
		r.history = r.history[1:]
		if k, ok := r.keyOf[oldest]; ok {
			delete(r.keys, k)
			delete(r.keyOf, oldest)
		}
	}
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
		r.notice(slices.Clone(data))
	}
	return nil
}

func (h *memory) Members(ctx context.Context, room string) ([]Member, error) {
	if err := cmp.Or(checkRoom(room), ctx.Err()); err != nil {
		return nil, err
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

func (h *memory) Stats() Stats { return h.counts.stats(true) }

func (h *memory) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, r := range h.rooms {
		r.mu.Lock()
		r.close()
		if r.expiry != nil {
			r.expiry.Stop()
		}
		r.mu.Unlock()
	}
	clear(h.rooms)
	return nil
}
