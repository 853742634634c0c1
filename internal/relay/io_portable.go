package relay

import (
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// portableSession is a session of the portable engine, with a driver of its own
// and two goroutines, which read one side each. What the driver sends is put into
// the buffer of that side. It is written without the lock: by the goroutine that
// reads the other side, or by one that is started for this. So no goroutine waits
// for a peer while it holds the lock, and the driver works as on an event loop.
type portableSession struct {
	engine *Portable
	slot   int // in engine.sessions, which guards it

	mu      sync.Mutex // guards the following
	changed sync.Cond  // signals all that readers wait for
	driver
	r       record
	ends    [2]*connEnd
	timer   *time.Timer
	armed   eventloop.Tick // when timer expires
	limits  *budget        // nil if there is none
	woken   bool           // advance must be called
	meter   *portableMeter // of backend metered; nil at first
	metered uint32
}

// connEnd is the connection of one side, with the bytes to be written to it. A new
// backend gets a new connEnd.
type connEnd struct {
	conn    net.Conn
	buf     []byte         // written next
	spare   []byte         // for the next buf, while no write uses it
	writing bool           // a goroutine writes
	held    int            // bytes of buf, and of a write that isn't done
	since   eventloop.Tick // when there were some, after there were none
	began   eventloop.Tick // when the write began, or must
}

// lastWrite is how long attach waits for an old backend to take the last bytes.
const lastWrite = 10 * time.Millisecond

// maxSpare is the size of the buffers that an idle session keeps.
const maxSpare = 1 << 10

// do runs f, which may call the driver, and then everything that follows from it. The
// caller must not hold any session's lock.
func (ps *portableSession) do(f func()) {
	ps.mu.Lock()
	ps.locked(f)
	ps.mu.Unlock()
	ps.engine.serveQueue()
}

// locked is do for a caller that holds the lock of this session.
func (ps *portableSession) locked(f func()) {
	f()
	for ps.woken {
		ps.woken = false
		ps.advance(0, &ps.r)
	}
	for i, end := range ps.ends {
		if len(end.buf) > 0 && !end.writing {
			end.writing = true
			ps.engine.readers.Go(func() { ps.write(session.Side(i), end) })
		}
	}
	ps.changed.Broadcast()
}

// read passes on what side s sends on the connection, until its end.
func (ps *portableSession) read(s session.Side, end *connEnd) {
	buf := ps.engine.buffers.Get().(*[]byte)
	defer ps.engine.buffers.Put(buf)
	for {
		most := ps.mayRead(s, end, len(*buf))
		if most == 0 {
			return
		}
		n, err := end.conn.Read((*buf)[:most])
		var write *connEnd
		ps.do(func() {
			if !ps.r.live || ps.ends[s] != end { // another is in its place
				return
			}
			if ps.r.sides[s].flags&isLost != 0 {
				return // given up during the Read; what came since is too late
			}
			if n > 0 {
				ps.carry(0, &ps.r, s, (*buf)[:n])
			}
			if errors.Is(err, io.EOF) {
				ps.r.eof(s, ps.Now())
			} else if err != nil {
				ps.lose(0, &ps.r, s, err)
			}
			ps.settle(0, &ps.r)
			if o := ps.ends[s.Other()]; len(o.buf) > 0 && !o.writing {
				o.writing, write = true, o
			}
		})
		if write != nil {
			ps.write(s.Other(), write)
		}
		if err != nil {
			return
		}
	}
}

// mayRead waits until side s must be read, and returns how many bytes at most. It
// returns 0 if that never happens again.
func (ps *portableSession) mayRead(s session.Side, end *connEnd, most int) int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for ps.r.live && ps.ends[s] == end {
		h, o := &ps.r.sides[s], &ps.r.sides[s.Other()]
		switch {
		case h.flags&isLost != 0:
			return 0
		case o.pending == 0 && (h.flags&readPaused == 0 || !ps.keeps()) && !ps.r.isThrottling(s):
			if b := ps.budgetOf(0, &ps.r, s); b != nil {
				most = b.allowance(&h.walker, most, ps.Now())
			}
			return most
		}
		ps.changed.Wait()
	}
	return 0
}

// keeps reports whether bytes of the client wait for the end of a move. If not, a
// paused client is read nevertheless, to notice its end.
func (ps *portableSession) keeps() bool {
	m := ps.moves[0]
	return m != nil && len(m.kept) > 0
}

// write writes what is in the buffer of side s, until it is empty. The caller has set
// end.writing.
func (ps *portableSession) write(s session.Side, end *connEnd) {
	for more := true; more; {
		ps.mu.Lock()
		p, began := end.buf, ps.Now()
		end.buf, end.spare = end.spare[:0], nil
		end.began = began
		ps.mu.Unlock()
		_, err := end.conn.Write(p)
		ps.do(func() {
			if cap(p) <= maxSpare {
				end.spare = p[:0]
			}
			more = ps.wrote(s, end, began, err)
			end.writing = more
		})
	}
}

// wrote is called after a write to side s, and reports whether there is more to
// write.
func (ps *portableSession) wrote(s session.Side, end *connEnd, began eventloop.Tick, err error) (more bool) {
	ps.hold(end, len(end.buf)-end.held)
	if !ps.r.live || ps.ends[s] != end {
		return false
	}
	switch {
	case err != nil:
		ps.forget(end)
		ps.writeFailed(0, &ps.r, s, err)
	case ps.Now() != began: // the write had to wait, and now s has taken the bytes
		ps.took(&ps.r, s)
	}
	if len(end.buf) == 0 {
		ps.r.sides[s].pending = 0
	}
	ps.settle(0, &ps.r)
	return len(end.buf) > 0
}

// Now implements connections, as the following methods do.
func (ps *portableSession) Now() eventloop.Tick { return ps.engine.now() }

func (ps *portableSession) send(_ int32, r *record, s session.Side, p []byte) {
	h := &r.sides[s]
	if h.flags&isLost != 0 {
		return
	}
	end := ps.ends[s]
	end.buf = append(end.buf, p...)
	if h.pending == 0 {
		h.pending = 1
		end.since, end.began = ps.Now(), ps.Now()
		ps.waits(0, r)
	}
	if ps.hold(end, len(p)) {
		ps.engine.makeRoom()
	}
}

// discard closes the connection as well, to end a write. With TLS there is no
// close_notify, since the peer must see that something is missing.
func (ps *portableSession) discard(_ int32, r *record, s session.Side) {
	below(ps.ends[s].conn).Close()
	ps.forget(ps.ends[s])
	ps.ends[s] = &connEnd{conn: ps.ends[s].conn} // the result of the write is ignored
	r.sides[s].pending = 0
}

func (ps *portableSession) shutdown(_ int32, r *record, s session.Side) {
	c := ps.ends[s].conn
	if r.isCut(s) {
		c = below(c)
	}
	w, ok := c.(interface{ CloseWrite() error })
	if _, layered := c.(interface{ NetConn() net.Conn }); layered && ok {
		ps.engine.readers.Go(func() { w.CloseWrite() }) // it writes a close_notify, which may wait
	} else if ok {
		w.CloseWrite()
	}
}

func (ps *portableSession) hangUp(_ int32, _ *record, s session.Side) { ps.ends[s].conn.Close() }

// resume does nothing: after each change, readers check whether they may read.
func (ps *portableSession) resume(int32, *record, session.Side) {}

// below is the socket of c, which may have TLS on it.
func below(c net.Conn) net.Conn {
	if layer, ok := c.(interface{ NetConn() net.Conn }); ok {
		return layer.NetConn()
	}
	return c
}

// taking reports whether a write to s began a short time ago, and s was not pinged.
func (ps *portableSession) taking(_ int32, r *record, s session.Side) bool {
	h := &r.sides[s]
	return h.flags&isPinged == 0 && ps.Now() < ps.ends[s].began+ps.times.timeoutsOf(r).timeout
}

func (ps *portableSession) schedule(_ int32, _ *record, at eventloop.Tick) {
	if ps.armed = at; at == eventloop.Never {
		ps.timer.Stop()
	} else {
		ps.timer.Reset(max(0, at.Duration()-time.Since(ps.engine.began)))
	}
}

func (ps *portableSession) hasten(slot int32, r *record, at eventloop.Tick) {
	if at < ps.armed {
		ps.schedule(slot, r, at)
	}
}

func (ps *portableSession) budget(int32) *budget { return ps.limits }

func (ps *portableSession) waiting(_ int32, _ *record, s session.Side) eventloop.Tick {
	return ps.ends[s].since
}

func (ps *portableSession) remove(_ int32, r *record) {
	r.live = false
	ps.timer.Stop()
	for s, end := range ps.ends {
		if above, ok := end.conn.(interface{ NetConn() net.Conn }); ok && r.isCut(session.Side(s)) {
			above.NetConn().Close()
		}
		end.conn.Close()
		ps.forget(end)
	}
}

// reportEnd is the driver's ended. Until then Portable.Active counts the session.
func (ps *portableSession) reportEnd(s session.Summary) {
	ps.engine.mu.Lock()
	ps.engine.sessions.remove(ps)
	ps.engine.mu.Unlock()
	ps.engine.ended(s)
}

func (ps *portableSession) enqueue(_ int32, ahead bool) { ps.engine.queue.join(ps, ahead) }

func (ps *portableSession) leaveQueue() { ps.engine.queue.leave() }

func (ps *portableSession) advanceSoon(int32) { ps.woken = true }

func (ps *portableSession) spawn(_ int32, work func(parent transport.Conn), done func()) (cancel func(), ok bool) {
	p := ps.engine.NewParent()
	ps.engine.readers.Go(func() {
		defer ps.do(done)
		defer p.Close()
		defer func() {
			if v := recover(); v != nil {
				ps.engine.log.Error("panic while a session is moved; it is not", "panic", v, "stack", string(debug.Stack()))
			}
		}()
		work(p)
	})
	return func() { p.Close() }, true
}

// dialledConn implements dialled.
type dialledConn struct {
	net.Conn
	early []byte
}

func (ps *portableSession) release(parent, c transport.Conn) (dialled, error) {
	if c == nil {
		return nil, errors.New("relay: no connection")
	}
	early, err := firstOf(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	parent.(*netconn.Parent).Release()
	conn, err := c.Detach()
	if err != nil {
		return nil, err
	}
	return &dialledConn{conn, early}, nil
}

func (ps *portableSession) attach(_ int32, r *record, d dialled) (early []byte, err error) {
	const s = session.Backend
	dc, old := d.(*dialledConn), ps.ends[s]
	if len(old.buf) > 0 && !old.writing { // the Close that the driver has just sent
		old.conn.SetWriteDeadline(time.Now().Add(lastWrite))
		old.conn.Write(old.buf)
	}
	old.conn.Close() // ends whatever reads or writes it
	ps.forget(old)
	end := &connEnd{conn: dc.Conn}
	ps.ends[s] = end
	r.sides[s].flags &^= isReadable | isEnded
	ps.engine.times.limitUnsent(dc.Conn)
	ps.engine.readers.Go(func() { ps.read(s, end) })
	return dc.early, nil
}

// portableQueue is the reattach queue of the whole engine.
type portableQueue struct {
	some atomic.Bool // a session may wait
	mu   sync.Mutex  // guards the following; no other lock is taken while it is held
	line reattachQueue[*portableSession]
}

func (q *portableQueue) join(ps *portableSession, ahead bool) {
	q.mu.Lock()
	q.line.join(ps, ahead)
	q.some.Store(true)
	q.mu.Unlock()
}

func (q *portableQueue) next() (ps *portableSession, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ps, ok = q.line.next()
	q.some.Store(q.line.waits())
	return ps, ok
}

func (q *portableQueue) leave() {
	q.mu.Lock()
	q.line.leave()
	q.mu.Unlock()
}

// serveQueue gives sessions their turn to search for another backend. No
// session's lock may be held.
func (e *Portable) serveQueue() {
	for e.queue.some.Load() {
		ps, ok := e.queue.next()
		if !ok {
			return
		}
		ps.mu.Lock()
		ps.locked(func() {
			if !ps.dequeued(0, &ps.r) {
				e.queue.leave()
			}
		})
		ps.mu.Unlock()
	}
}
