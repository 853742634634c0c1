package hub

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxInline is the number of members up to which the goroutine that has
	// received an event delivers it itself.
	maxInline = 32
	// maxOutbox limits the events that wait for the members of a room. Beyond
	// it, the goroutine that has received the next event delivers them all, so
	// an overloaded server receives less.
	maxOutbox = 256
	// maxVisits limits the members to which a room's event is delivered before
	// it is another room's turn.
	maxVisits = 256
	// manyMembers is the number of members on this server beyond which the fan-out
	// waits after it has woken fewer of them.
	manyMembers = 1000
	// maxPace is how long the fan-out waits at most for the goroutines it has
	// woken. They may be slow to run because the machine is overloaded.
	maxPace = 5 * time.Millisecond
)

// fanOut delivers the events of large rooms. It has a goroutine only while there is
// something to deliver.
//
// If all members of a large room were woken at once, their goroutines would run
// before anything else that becomes ready: members of other rooms, and the
// goroutines that read from Redis and from clients. So fanOut wakes a few at a
// time, waits until they have run, and continues with the next room.
//
// It is woken through a pipe, because Go's scheduler looks for connections that
// have become readable only when it has nothing to run. A channel would always give
// it something to run: the next few.
type fanOut struct {
	mu      sync.Mutex
	rooms   []*localRoom // with an outbox that isn't empty
	running bool
}

// delivery is an event, or several that were caught up, on its way to the members
// of a room.
type delivery struct {
	number      uint64 // counts the deliveries of the room
	events      []*event
	caughtUp    bool
	more        bool // others follow them in the history
	forWatchers bool // only to members who want presence events
}

// deliver delivers d to the members, or puts it into the outbox. It requires r.mu.
func (r *localRoom) deliver(d delivery) {
	r.deliveries++
	d.number = r.deliveries
	to := r.memberships
	if d.forWatchers {
		to = r.watching
	}
	if len(r.outbox) == 0 && len(to) <= maxInline {
		for m := range to {
			d.to(m)
		}
		return
	}
	if len(r.outbox) >= maxOutbox {
		r.flush()
	}
	r.outbox = append(r.outbox, d)
	if len(r.outbox) == 1 {
		r.fanOut.add(r)
	}
}

func (d delivery) to(m *Membership) {
	switch {
	case m.attachedAt >= d.number: // joined later
	case d.caughtUp:
		m.catchUp(d.events, d.more)
	default:
		m.push(d.events[0])
	}
}

// flush delivers everything in the outbox at once. It requires r.mu.
func (r *localRoom) flush() {
	for len(r.outbox) > 0 {
		r.deliverSome(nil, len(r.memberships)+1)
	}
}

// deliverSome delivers the first delivery of the outbox to up to limit members. If
// p isn't nil, it ends earlier when p is full. It requires r.mu.
func (r *localRoom) deliverSome(p *pacer, limit int) {
	d := r.outbox[0]
	if r.targets == nil {
		from := r.memberships
		if d.forWatchers {
			from = r.watching
		}
		r.targets = make([]*Membership, 0, len(from))
		for m := range from {
			r.targets = append(r.targets, m)
		}
	}
	for range limit {
		if len(r.targets) == 0 {
			break
		}
		m := r.targets[len(r.targets)-1]
		r.targets = r.targets[:len(r.targets)-1]
		d.to(m)
		if p != nil && m.pace(p) && p.full() {
			break
		}
	}
	if len(r.targets) == 0 {
		r.targets = nil
		r.outbox[0] = delivery{}
		r.outbox = r.outbox[1:]
		if len(r.outbox) == 0 {
			r.outbox = nil
		}
	}
}

// add makes the goroutine deliver what is in a room's outbox.
func (f *fanOut) add(r *localRoom) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rooms = append(f.rooms, r)
	if !f.running {
		f.running = true
		go f.run()
	}
}

// run takes the rooms in turn, until nothing is left to deliver.
func (f *fanOut) run() {
	wake := newWakePipe()
	defer wake.close()
	for {
		f.mu.Lock()
		if len(f.rooms) == 0 {
			f.running, f.rooms = false, nil
			f.mu.Unlock()
			return
		}
		r := f.rooms[0]
		f.rooms = f.rooms[1:]
		f.mu.Unlock()

		p := &pacer{wake: wake}
		p.waiting.Store(1)
		r.mu.Lock()
		p.most = wokenAtOnce(len(r.memberships))
		if len(r.outbox) > 0 {
			r.deliverSome(p, maxVisits)
		}
		if len(r.outbox) > 0 {
			f.add(r)
		}
		r.mu.Unlock()
		if p.yield {
			runtime.Gosched()
		}
		if !p.waiting.CompareAndSwap(1, 0) {
			p.ran()
			wake.wait(maxPace)
		}
	}
}

// wakePipe wakes the goroutine of fanOut.
type wakePipe struct {
	mu   sync.Mutex
	r, w *os.File // nil if no pipe could be created, or after close
}

func newWakePipe() *wakePipe {
	p := &wakePipe{}
	if r, w, err := os.Pipe(); err == nil {
		p.r, p.w = r, w
	}
	return p
}

func (p *wakePipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		_, _ = p.w.Write([]byte{0})
	}
}

// wait returns after wake, or after the timeout at the latest. A wake that came too
// late for one wait may end the next one early.
func (p *wakePipe) wait(timeout time.Duration) {
	if p.r == nil || p.r.SetReadDeadline(time.Now().Add(timeout)) != nil {
		time.Sleep(time.Millisecond)
		return
	}
	_, _ = p.r.Read(make([]byte, 16))
}

func (p *wakePipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil {
		_, _ = p.w.Close(), p.r.Close()
		p.w = nil
	}
}

// pacer counts goroutines that were woken and haven't run yet.
type pacer struct {
	woken   int          // by the fan-out
	most    int          // it wakes so many, and then waits
	yield   bool         // some aren't waited for, so let others run
	waiting atomic.Int32 // woken and not run yet, plus one for the fan-out
	wake    *wakePipe
}

// full reports whether so many were woken that the fan-out must wait.
func (p *pacer) full() bool { return p.woken >= p.most }

// wokenAtOnce returns how many members of a room are woken before the fan-out waits: some
// for each processor, so that those are busy while it continues. To wait costs about as much
// as waking ten, so more are woken in rooms that are soon done.
func wokenAtOnce(members int) int {
	if members > manyMembers {
		return 8 * runtime.GOMAXPROCS(0)
	}
	return 32 * runtime.GOMAXPROCS(0)
}

// ran is called when one of them has run.
func (p *pacer) ran() {
	if p.waiting.Add(-1) == 0 {
		p.wake.wake()
	}
}

// pace counts m in p if what was just queued has woken Next. It reports whether
// it has.
func (m *Membership) pace(p *pacer) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.waiting || len(m.queue)+len(m.backlog) == 0 {
		return false
	}
	m.waiting = false
	p.woken++
	if m.place != nil {
		// The session may be busy with another room, so don't wait for it.
		p.yield = true
		return true
	}
	m.pacer = p
	p.waiting.Add(1)
	return true
}

// setWaiting is called by Next: with true before it waits, and with false when it
// has something to return. It requires m.mu.
func (m *Membership) setWaiting(waiting bool) {
	m.waiting = waiting
	if m.pacer != nil {
		m.pacer.ran()
		m.pacer = nil
	}
}
