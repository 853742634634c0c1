package relay_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// mover is a relay.Mover that dials a backend of the test's, and keeps the
// leases as a pool would.
type mover struct {
	r    *rig
	done chan moved // as Moved was told

	mu       sync.Mutex // guards the following
	to       *station
	reattach func(near transport.Conn, m relay.Moving) (relay.Found, error) // nil is m.dial
	delay    func(relay.Moving) (time.Duration, error)                      // nil is not at all
	delayed  int                                                            // calls of Delay
	looks    map[session.ID]bool                                            // Reattach was called, and Moved not yet
	leases   map[uint32]int
	with     map[session.ID]uint32
	begun    int // calls of Reattach
	found    int // that returned a connection
}

type moved struct {
	relay.Moving
	to  uint32
	gap time.Duration
	err error
}

// station is a backend beside the rig's own.
type station struct {
	*net.TCPListener
	r  *rig
	id uint32
}

func (r *rig) station(id uint32) *station {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { ln.Close() })
	return &station{ln.(*net.TCPListener), r, id}
}

func (s *station) accept() *peer {
	s.r.t.Helper()
	s.SetDeadline(time.Now().Add(patience))
	c, err := s.Accept()
	if err != nil {
		s.r.t.Fatal(err)
	}
	return newPeer(s.r.t, session.Backend, c)
}

// newMoveRig is a rig whose sessions are movable, to the station it returns.
func newMoveRig(t *testing.T, e engine, times relay.Times, limits relay.Limits) (*rig, *station) {
	t.Helper()
	r := &rig{t: t, limits: limits}
	r.onLoss.Store(true)
	r.moveTimeout.Store(int64(patience))
	to := r.station(8)
	r.mover = &mover{to: to, done: make(chan moved, 100_000), looks: map[session.ID]bool{}, leases: map[uint32]int{}, with: map[session.ID]uint32{}}
	return newRigWith(t, e, times, r), to
}

func (m *mover) Delay(mv relay.Moving) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delayed++
	if m.looks[mv.Info.ID] && !mv.Again {
		m.r.t.Error("a move begins before the one before it has ended")
	}
	if m.delay == nil {
		return 0, nil
	}
	return m.delay(mv)
}

func (m *mover) Reattach(near transport.Conn, mv relay.Moving) (relay.Found, error) {
	m.mu.Lock()
	reattach := m.reattach
	m.begun++
	m.looks[mv.Info.ID] = true
	m.mu.Unlock()
	if reattach == nil {
		reattach = m.dial
	}
	f, err := reattach(near, mv)
	if err == nil {
		m.mu.Lock()
		m.leases[f.ID]++
		m.found++
		m.mu.Unlock()
	}
	return f, err
}

func (m *mover) dial(near transport.Conn, mv relay.Moving) (relay.Found, error) {
	m.mu.Lock()
	to := m.to
	m.mu.Unlock()
	c, err := m.r.engine.Dial(near, to.Addr().(*net.TCPAddr).AddrPort(), mv.Deadline)
	return relay.Found{Backend: c, ID: to.id}, err
}

func (m *mover) sendTo(to *station) {
	m.mu.Lock()
	m.to = to
	m.mu.Unlock()
}

func (m *mover) use(f func(transport.Conn, relay.Moving) (relay.Found, error)) {
	m.mu.Lock()
	m.reattach = f
	m.mu.Unlock()
}

func (m *mover) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.begun
}

func (m *mover) wait(f func(relay.Moving) (time.Duration, error)) {
	m.mu.Lock()
	m.delay = f
	m.mu.Unlock()
}

// asks is how often Delay was called.
func (m *mover) asks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.delayed
}

func (m *mover) Moved(mv relay.Moving, to uint32, gap time.Duration, err error) {
	m.mu.Lock()
	delete(m.looks, mv.Info.ID)
	switch {
	case err == nil:
		m.leases[mv.Info.Backend]--
		m.with[mv.Info.ID] = to
	case to != 0:
		m.leases[to]--
	}
	m.mu.Unlock()
	m.done <- moved{mv, to, gap, err}
}

func (m *mover) take(id uint32) {
	m.mu.Lock()
	m.leases[id]++
	m.mu.Unlock()
}

func (m *mover) giveBack(id uint32) {
	m.mu.Lock()
	m.leases[id]--
	m.mu.Unlock()
}

// at is the backend that a session should be with.
func (m *mover) at(i session.Info) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, ok := m.with[i.ID]; ok {
		return id
	}
	return i.Backend
}

// check is called when all has ended.
func (m *mover) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.leases {
		if n != 0 {
			m.r.t.Errorf("%d leases of backend %d are left", n, id)
		}
	}
}

var errNoOther = errors.New("no other backend")

func refuse(transport.Conn, relay.Moving) (relay.Found, error) { return relay.Found{}, errNoOther }

// dialAndRead is dial, and has that backend say a byte before it is found.
func (m *mover) dialAndRead(near transport.Conn, mv relay.Moving) (relay.Found, error) {
	f, err := m.dial(near, mv)
	if err == nil {
		_, err = f.Backend.Read(make([]byte, 1))
	}
	return f, err
}

// hang waits in the task until it is killed or its deadline has come.
func (m *mover) hang(near transport.Conn, mv relay.Moving) (relay.Found, error) {
	f, err := m.dial(near, mv)
	if err == nil {
		f.Backend.SetDeadline(time.Time{})
		_, err = f.Backend.Read(make([]byte, 1))
		f.Backend.Close()
	}
	return relay.Found{}, errors.Join(errors.New("hung up on"), err)
}

var drain = relay.Order{Cause: session.BackendDrained, Code: relay.CodeGoingAway, Reason: relay.GoingAway, Move: true, Why: session.Drain}

func moveOnly() relay.Order {
	return relay.Order{Cause: session.Rebalanced, Code: relay.CodeServiceRestart, MoveOnly: true, Why: session.Rebalance}
}

// moved waits for the end of a move, and checks what is said of it.
func (r *rig) moved(why session.Why, to uint32, err error) moved {
	r.t.Helper()
	m := r.nextMove()
	if m.Why != why || m.to != to || !errors.Is(m.err, err) {
		r.t.Errorf("a move for %s to %d ended with %v; want %s, %d, %v", m.Why, m.to, m.err, why, to, err)
	}
	return m
}

// nextMove waits for the end of a move.
func (r *rig) nextMove() moved {
	r.t.Helper()
	select {
	case m := <-r.mover.done:
		return m
	case <-time.After(patience):
		r.t.Fatalf("no move has ended; there are %d sessions, and another backend was asked for %d times, after %d calls of Delay",
			r.engine.Active(), r.mover.asked(), r.mover.asks())
		panic("unreachable")
	}
}

// bye is a backend that is sent our Close and answers it.
func (p *peer) bye() {
	p.t.Helper()
	p.want(fin|opClose, "\x03\xf4session moved")
	p.close(1012)
}

// through sends a message each way.
func through(c, b *peer, text string) {
	c.t.Helper()
	c.text("up " + text)
	b.text("down " + text)
	b.wantText("up " + text)
	c.wantText("down " + text)
}

// finish ends the one session there is.
func (r *rig) finish(c, b *peer) {
	r.t.Helper()
	c.close(1000)
	b.wantClose(1000)
	b.close(1000)
	c.wantClose(1000)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.ClientClosed, 1000)
}
