package relay

import (
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/netconn"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// Portable is the Engine on goroutines: two for each session, each with a
// buffer. It is also the transport.Network whose connections it takes.
type Portable struct {
	*netconn.Network
	log     *slog.Logger
	began   time.Time
	times   ticks
	ended   Ended
	traffic [2]struct{ messages, bytes atomic.Uint64 }
	readers sync.WaitGroup
	buffers sync.Pool // of *[]byte
	texts   texts
	queue   portableQueue
	held    atomic.Int64 // what is kept for all sides
	full    atomic.Bool  // a goroutine makes room

	mu         sync.Mutex // guards the following
	sessions   roster
	meters     map[uint32]*portableMeter // by backend
	reattacher Reattacher
}

const portableBuffer = 16 << 10

// NewPortable makes the engine; Close ends it.
func NewPortable(times Times, log *slog.Logger, ended Ended) *Portable {
	e := &Portable{Network: netconn.New(log), log: log, began: time.Now(), times: times.ticks(), ended: ended,
		meters: map[uint32]*portableMeter{}}
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

// SetReattacher implements Engine.
func (e *Portable) SetReattacher(r Reattacher) {
	e.mu.Lock()
	e.reattacher = r
	e.mu.Unlock()
}

// Start implements Engine.
func (e *Portable) Start(client, backend transport.Conn, s Start) error {
	pair := [2]transport.Conn{client, backend}
	ps := &portableSession{engine: e}
	ps.changed.L = &ps.mu
	var early [2][]byte
	for i := range pair {
		first, err := firstOf(pair[i])
		if err != nil {
			return err
		}
		early[i] = append(append(early[i], s.Early[i]...), first...)
	}
	for i := range pair {
		nc, err := pair[i].Detach()
		if err != nil {
			if i == 1 {
				ps.ends[0].conn.Close()
			}
			return err
		}
		ps.ends[i] = &connEnd{conn: nc}
		e.times.limitUnsent(nc)
	}
	ps.driver = driver{conns: ps, times: e.times.forDriver(), texts: &e.texts, ended: ps.reportEnd, log: e.log}
	ps.armed = eventloop.Never
	ps.timer = time.AfterFunc(time.Hour, func() {
		ps.do(func() {
			ps.armed = eventloop.Never
			if ps.r.live {
				ps.expired(0, &ps.r)
			}
		})
	})
	e.mu.Lock()
	ps.reattacher = e.reattacher
	ps.r = ps.newRecord(&s)
	if ps.r.marks&isLimited != 0 {
		b := newBudget(s.limits(), e.now())
		ps.limits = &b
	}
	e.sessions.add(ps)
	e.mu.Unlock()
	ps.do(func() {
		if !ps.r.live {
			return // Abort was called
		}
		for i := range pair {
			if len(early[i]) > 0 {
				ps.carry(0, &ps.r, session.Side(i), early[i])
			}
		}
		ps.settle(0, &ps.r)
		ps.rearm(0, &ps.r)
		for i := range pair {
			end := ps.ends[i]
			e.readers.Go(func() { ps.read(session.Side(i), end) })
		}
	})
	return nil
}

// firstOf is what was read of c's socket and not of c, unless Detach takes it along.
func firstOf(c transport.Conn) ([]byte, error) {
	nc, ok := transport.Socket(c).(*netconn.Conn)
	switch {
	case !ok:
		return nil, errors.New("relay: not a connection of this engine's network")
	case c != transport.Conn(nc):
		return nil, nil // a layer opens it
	}
	return append([]byte(nil), nc.First()...), nil
}

// Trim implements Engine. The garbage collector does everything.
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
	return e.sessions.len()
}

// Loops implements Engine; there are none.
func (e *Portable) Loops() (loops, processors int) { return 0, runtime.GOMAXPROCS(0) }

// SpareProcessors implements Engine. Goroutines share all processors.
func (e *Portable) SpareProcessors(bool) {}
