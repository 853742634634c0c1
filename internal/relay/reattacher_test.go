package relay_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// reattacher is a relay.Reattacher that dials a backend of the test, and counts leases
// as a pool does.
type reattacher struct {
	r    *fixture
	done chan moved // the calls of Moved

	mu        sync.Mutex // guards the following
	to        *station
	reattach  func(near transport.Conn, m relay.ReattachRequest) (relay.NewBackend, error) // nil means m.dial
	delay     func(relay.ReattachRequest) (time.Duration, error)                           // nil means none
	reserved  int                                                                          // calls of Reserve
	searching map[session.ID]bool                                                          // Reattach was called, Moved was not yet
	leases    map[uint32]int
	with      map[session.ID]uint32
	begun     int // calls of Reattach
	found     int // calls of Reattach that returned a connection
}

type moved struct {
	relay.ReattachRequest
	to  uint32
	gap time.Duration
	err error
}

// station is another backend than the fixture's own.
type station struct {
	*net.TCPListener
	r  *fixture
	id uint32
}

func (r *fixture) station(id uint32) *station {
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
	return s.r.peer(session.Backend, c)
}

// newMoveFixture is a fixture whose sessions can be moved, to the returned station.
func newMoveFixture(t *testing.T, e engine, times relay.Times, limits relay.Limits) (*fixture, *station) {
	t.Helper()
	r := &fixture{t: t, limits: limits}
	r.onLoss.Store(true)
	r.moveTimeout.Store(int64(patience))
	to := r.station(8)
	r.reattacher = &reattacher{to: to, done: make(chan moved, 100_000), searching: map[session.ID]bool{}, leases: map[uint32]int{}, with: map[session.ID]uint32{}}
	return newFixtureWith(t, e, times, r), to
}

func (m *reattacher) Reserve(mv relay.ReattachRequest) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reserved++
	if m.searching[mv.Info.ID] && !mv.Again {
		m.r.t.Error("a move begins before the last one has ended")
	}
	if m.delay == nil {
		return 0, nil
	}
	return m.delay(mv)
}

func (m *reattacher) Reattach(near transport.Conn, mv relay.ReattachRequest) (relay.NewBackend, error) {
	m.mu.Lock()
	reattach := m.reattach
	m.begun++
	m.searching[mv.Info.ID] = true
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

func (m *reattacher) dial(near transport.Conn, mv relay.ReattachRequest) (relay.NewBackend, error) {
	m.mu.Lock()
	to := m.to
	m.mu.Unlock()
	c, err := m.r.engine.Dial(near, hostport.At(to.Addr().(*net.TCPAddr).AddrPort()), mv.Deadline)
	if err == nil {
		c, err = m.r.secure(c, session.Backend)
	}
	return relay.NewBackend{Conn: c, ID: to.id}, err
}

func (m *reattacher) sendTo(to *station) {
	m.mu.Lock()
	m.to = to
	m.mu.Unlock()
}

func (m *reattacher) onReattach(f func(transport.Conn, relay.ReattachRequest) (relay.NewBackend, error)) {
	m.mu.Lock()
	m.reattach = f
	m.mu.Unlock()
}

// searches is how often Reattach was called.
func (m *reattacher) searches() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.begun
}

func (m *reattacher) onReserve(f func(relay.ReattachRequest) (time.Duration, error)) {
	m.mu.Lock()
	m.delay = f
	m.mu.Unlock()
}

// reserves is how often Reserve was called.
func (m *reattacher) reserves() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reserved
}

func (m *reattacher) Swapped(mv relay.ReattachRequest, to uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leases[mv.Info.Backend]--
	m.with[mv.Info.ID] = to
}

func (m *reattacher) Moved(mv relay.ReattachRequest, to uint32, gap time.Duration, err error) {
	m.mu.Lock()
	delete(m.searching, mv.Info.ID)
	if err != nil && err != relay.ErrRejected && to != 0 {
		m.leases[to]--
	}
	m.mu.Unlock()
	m.done <- moved{mv, to, gap, err}
}

func (m *reattacher) take(id uint32) {
	m.mu.Lock()
	m.leases[id]++
	m.mu.Unlock()
}

// sessionEnded is called for each relay.Ended.
func (m *reattacher) sessionEnded(s session.Summary) {
	m.mu.Lock()
	m.leases[s.Backend]--
	if m.searching[s.ID] {
		m.r.t.Errorf("the end of session %s is reported before that of its move", s.ID)
	}
	m.mu.Unlock()
}

// at is the backend that a session must have at its end.
func (m *reattacher) at(i session.Info) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, ok := m.with[i.ID]; ok {
		return id
	}
	return i.Backend
}

// check is called when all sessions have ended.
func (m *reattacher) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.leases {
		if n != 0 {
			m.r.t.Errorf("%d leases of backend %d are left", n, id)
		}
	}
}

var errNoOther = errors.New("no other backend")

func refuse(transport.Conn, relay.ReattachRequest) (relay.NewBackend, error) {
	return relay.NewBackend{}, errNoOther
}

// dialAndRead is dial, but waits for a byte from that backend.
func (m *reattacher) dialAndRead(near transport.Conn, mv relay.ReattachRequest) (relay.NewBackend, error) {
	f, err := m.dial(near, mv)
	if err == nil {
		_, err = f.Conn.Read(make([]byte, 1))
	}
	return f, err
}

// hang waits until the task is cancelled.
func (m *reattacher) hang(near transport.Conn, mv relay.ReattachRequest) (relay.NewBackend, error) {
	f, err := m.dial(near, mv)
	if err == nil {
		f.Conn.SetDeadline(time.Time{})
		_, err = f.Conn.Read(make([]byte, 1))
		f.Conn.Close()
	}
	return relay.NewBackend{}, errors.Join(errors.New("cancelled"), err)
}

var drain = relay.MoveRequest{Why: session.Drain,
	OrClose: &relay.Close{Cause: session.BackendDrained, Code: relay.CodeGoingAway, Reason: relay.GoingAway}}

func moveOnly() relay.MoveRequest { return relay.MoveRequest{Why: session.Rebalance} }

// moved waits for the end of a move, and checks its result.
func (r *fixture) moved(why session.Why, to uint32, err error) moved {
	r.t.Helper()
	m := r.nextMove()
	if m.Why != why || m.to != to || !errors.Is(m.err, err) {
		r.t.Errorf("a move for %s to %d ended with %v; want %s, %d, %v", m.Why, m.to, m.err, why, to, err)
	}
	return m
}

// nextMove waits for the end of a move.
func (r *fixture) nextMove() moved {
	r.t.Helper()
	select {
	case m := <-r.reattacher.done:
		return m
	case <-time.After(patience):
		r.t.Fatalf("no move has ended; there are %d sessions, and %d searches, after %d calls of Reserve",
			r.engine.Active(), r.reattacher.searches(), r.reattacher.reserves())
		panic("unreachable")
	}
}

// answerClose reads our Close of a move and answers it.
func (p *peer) answerClose() {
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

// finish ends the only session.
func (r *fixture) finish(c, b *peer) {
	r.t.Helper()
	c.close(1000)
	b.wantClose(1000)
	b.close(1000)
	c.wantClose(1000)
	b.TCPConn.Close()
	c.wantEnd()
	r.end(session.ClientClosed, 1000)
}
