package relay

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/gonet"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Portable is the Engine on goroutines: two a session, each with a buffer. It
// is the transport.Network whose connections it takes, too.
type Portable struct {
	*gonet.Network
	log     *slog.Logger
	began   time.Time
	times   ticks
	ended   Ended
	traffic [2]struct{ messages, bytes atomic.Uint64 }
	readers sync.WaitGroup
	buffers sync.Pool // of *[]byte
	texts   texts
	turns   portableLine

	mu       sync.Mutex // guards the following
	sessions map[*portableSession]struct{}
	mover    Mover
}

const portableBuffer = 16 << 10

// NewPortable makes the engine; Close ends it.
func NewPortable(times Times, log *slog.Logger, ended Ended) *Portable {
	e := &Portable{Network: gonet.New(log), log: log, began: time.Now(), times: times.ticks(), ended: ended,
		sessions: map[*portableSession]struct{}{}}
	e.buffers.New = func() any { b := make([]byte, portableBuffer); return &b }
	return e
}

// Close implements Engine.
func (e *Portable) Close() {
	e.Abort(session.Shutdown) // before their Reattach fails
	e.Network.Close()
	e.Abort(session.Shutdown) // those that tasks have started meanwhile
	e.readers.Wait()
}

func (e *Portable) now() eventloop.Tick { return eventloop.TickAt(e.began) }

// Start implements Engine.
func (e *Portable) Start(client, backend transport.Conn, s Start) error {
	pair := [2]transport.Conn{client, backend}
	ps := &portableSession{engine: e, record: newRecord(&s, e.now())}
	ps.changed.L = &ps.mu
	if e.moverNow() == nil {
		ps.plan = 0
	}
	var early [2][]byte
	for i := range pair {
		c, ok := pair[i].(*gonet.Conn)
		if !ok {
			return errors.New("relay: not a connection of this engine's network")
		}
		early[i] = append(append(early[i], s.Early[i]...), c.First()...)
	}
	for i := range pair {
		nc, err := pair[i].Detach()
		if err != nil {
			if i == 1 {
				ps.conn[0].Close()
			}
			return err
		}
		ps.conn[i] = nc
	}
	e.mu.Lock()
	e.sessions[ps] = struct{}{}
	e.mu.Unlock()
	ps.mu.Lock()
	ps.timer = time.AfterFunc(time.Hour, ps.expire)
	ps.arm()
	ps.mu.Unlock()
	for i := range pair {
		side, conn := session.Side(i), ps.conn[i]
		e.readers.Go(func() { ps.read(side, conn, early[side]) })
	}
	return nil
}

// CloseSessions implements Engine.
func (e *Portable) CloseSessions(o Order) int {
	o.Reason = e.texts.reason(&o)
	all := oldest[*portableSession]{most: o.Most}
	for _, ps := range e.all() {
		ps.mu.Lock()
		if ps.chosen(&o) {
			all.add(ps.backend, ps.started, ps)
		}
		ps.mu.Unlock()
	}
	chosen := all.sorted()
	for i, c := range chosen {
		ps := c.session
		ps.mu.Lock()
		ps.schedule(&o, e.now(), o.Spread*time.Duration(i)/time.Duration(len(chosen)))
		if ps.phase == quitting {
			e.readers.Go(ps.settle)
		}
		ps.arm()
		ps.mu.Unlock()
	}
	return len(chosen)
}

// Leaving implements Engine.
func (e *Portable) Leaving() map[uint32]int {
	leaving := make(map[uint32]int)
	for _, ps := range e.all() {
		ps.mu.Lock()
		if ps.leaves() {
			leaving[ps.backend]++
		}
		ps.mu.Unlock()
	}
	return leaving
}

// Abort implements Engine.
func (e *Portable) Abort(cause session.Cause) {
	for _, ps := range e.all() {
		ps.mu.Lock()
		ps.end(cause, e.now())
		ps.finish()
		ps.mu.Unlock()
	}
}

// Each implements Engine.
func (e *Portable) Each(f func(session.Summary)) {
	for _, ps := range e.all() {
		ps.mu.Lock()
		s := ps.summary()
		ps.mu.Unlock()
		f(s)
	}
}

func (e *Portable) all() []*portableSession {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*portableSession, 0, len(e.sessions))
	for ps := range e.sessions {
		all = append(all, ps)
	}
	return all
}

// SpareProcessors implements Engine; goroutines share them all.
func (e *Portable) SpareProcessors(bool) {}

// Trim implements Engine; the collector does all there is to do.
func (e *Portable) Trim() {}

// Traffic implements Engine.
func (e *Portable) Traffic() (sum [2]session.Traffic) {
	for s := range sum {
		sum[s] = session.Traffic{Messages: e.traffic[s].messages.Load(), Bytes: e.traffic[s].bytes.Load()}
	}
	return sum
}

// Active implements Engine.
func (e *Portable) Active() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

// portableSession is a record with the goroutines around it.
//
// To write to a side, its out is locked first, then mu; mu is not held while
// writing, so that one blocked direction does not stop the other, or a timer.
type portableSession struct {
	engine  *Portable
	out     [2]sync.Mutex // held while frames are taken from the record and written to that side
	changed sync.Cond     // of a move: told with mu, of all that one may wait for

	mu        sync.Mutex // guards the following
	conn      [2]net.Conn
	m         *portableMove // while it is being moved
	relocates bool          // relocate runs, and tells of its move's end before another begins
	record                  // half.pending is 1 while a write to that side is under way
	timer     *time.Timer
	over      bool
}

// read carries over what comes from s, by conn, until its end.
func (ps *portableSession) read(s session.Side, conn net.Conn, early []byte) {
	buf := ps.engine.buffers.Get().(*[]byte)
	defer ps.engine.buffers.Put(buf)
	var scratch []byte
	if len(early) > 0 {
		ps.carry(s, conn, early, &scratch)
	}
	for {
		n, err := conn.Read(*buf)
		if n > 0 {
			ps.carry(s, conn, (*buf)[:n], &scratch)
		}
		if err == nil {
			continue
		}
		ps.mu.Lock()
		switch {
		case ps.conn[s] != conn: // another is in its place
		case errors.Is(err, io.EOF):
			ps.eof(s, ps.engine.now())
		default:
			ps.lose(s, ps.engine.now())
		}
		ps.mu.Unlock()
		ps.settle()
		return
	}
}

// carry returns when all of p has been carried over, which a client that is
// held waits for.
func (ps *portableSession) carry(s session.Side, conn net.Conn, p []byte, scratch *[]byte) {
	e, o, h := ps.engine, s.Other(), &ps.half[s]
	for len(p) > 0 {
		ps.out[o].Lock()
		ps.mu.Lock()
		var out, rest []byte
		before := *h
		switch {
		case ps.over || ps.conn[s] != conn: // its end has been told of, or it is not heard any more
		case ps.phase <= waiting:
			out = ps.pass(s, p, e.now(), scratch, &e.texts)
		default:
			if ps.m == nil {
				ps.m = &portableMove{}
			}
			out, rest = ps.passMoving(&ps.m.move, s, p, e.now(), scratch, &e.texts)
		}
		e.count(s, &before, h)
		ps.write(o, out)
		ps.mu.Unlock()
		ps.out[o].Unlock()
		ps.settle()
		if p = rest; len(p) > 0 {
			ps.mu.Lock()
			for ps.half[s].flags&isHeld != 0 && !ps.over {
				ps.changed.Wait()
			}
			ps.mu.Unlock()
		}
	}
}

// count adds to the traffic what s has sent since h was as before.
func (e *Portable) count(s session.Side, before, h *half) {
	e.traffic[s].bytes.Add(h.bytes - before.bytes)
	e.traffic[s].messages.Add(h.walker.Messages - before.walker.Messages)
}

// write writes p to s. It is called with out[s] and mu held and gives mu up
// meanwhile.
func (ps *portableSession) write(s session.Side, p []byte) {
	h := &ps.half[s]
	if len(p) == 0 || h.flags&isLost != 0 || ps.over {
		return
	}
	h.pending = 1
	before := ps.engine.now()
	h.acked = uint32(before)
	conn := ps.conn[s] // stays the one while out is held
	ps.mu.Unlock()
	_, err := conn.Write(p)
	ps.mu.Lock()
	h.pending = 0
	if now := ps.engine.now(); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		ps.unwritable(s, now)
	} else if err != nil {
		ps.lose(s, now)
	} else if now != before {
		h.lastIn = now // it took bytes that it had made us wait with
	}
}

// settle does what the record has come to want.
func (ps *portableSession) settle() {
	for ps.settleOnce() {
	}
	ps.engine.callNext()
}

func (ps *portableSession) settleOnce() (again bool) {
	for range 2 { // giving one side up may want a Close for the other
		for i := range ps.out {
			// Who holds out settles after it.
			if ps.out[i].TryLock() {
				ps.mu.Lock()
				ps.write(session.Side(i), ps.inject(session.Side(i), ps.engine.now(), nil, &ps.engine.texts))
				ps.mu.Unlock()
				ps.out[i].Unlock()
			}
		}
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.phase != staying && !ps.over {
		again = ps.settleMove()
	}
	if ps.cause == session.None || ps.over {
		return again
	}
	for i := range ps.half {
		h := &ps.half[i]
		if h.flags&isLost != 0 {
			ps.conn[i].Close() // wakes who reads or writes it
		} else if h.flags&(wantFin|finSent) == wantFin && drained(h) {
			h.flags |= finSent
			if w, ok := ps.conn[i].(interface{ CloseWrite() error }); ok {
				w.CloseWrite()
			}
		}
	}
	if ps.settled() {
		ps.finish()
		return false
	}
	ps.arm()
	return again
}

// finish closes both connections and tells of the end, once. mu is held.
func (ps *portableSession) finish() {
	if ps.over {
		return
	}
	ps.over = true
	ps.timer.Stop()
	if ps.m != nil {
		ps.endMove()
	}
	ps.changed.Broadcast()
	for i := range ps.conn {
		ps.conn[i].Close()
	}
	e := ps.engine
	e.mu.Lock()
	delete(e.sessions, ps)
	e.mu.Unlock()
	e.ended(ps.summary())
}

// arm sets the timer to when the record wants to be looked at. mu is held.
func (ps *portableSession) arm() {
	if ps.over {
		return
	}
	if due := ps.due(ps.engine.now(), ps.engine.times); due == eventloop.Never {
		ps.timer.Stop()
	} else {
		ps.timer.Reset(max(0, due.Duration()-time.Since(ps.engine.began)))
	}
}

// taking reports whether s, where it was not pinged, is only in the middle of
// a write that it has had little time to take. mu is held.
func (ps *portableSession) taking(s session.Side) bool {
	h := &ps.half[s]
	return h.flags&isPinged == 0 && ps.engine.now() < eventloop.Tick(h.acked)+ps.timeout
}

func (ps *portableSession) expire() {
	ps.mu.Lock()
	if !ps.over {
		if ps.m != nil {
			ps.waited(&ps.m.move, ps.engine.now())
		}
		ps.expired(ps.engine.now(), ps.engine.times, ps.taking)
		ps.arm() // a ping may be long in writing
	}
	ps.mu.Unlock()
	ps.settle()
	ps.mu.Lock()
	ps.arm()
	ps.mu.Unlock()
}
