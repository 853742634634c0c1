//go:build unix

package kit

import (
	"errors"
	"net"
	"net/rpc"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// storeEnv is the address of a Store in which a backend keeps the state of its
// sessions, so that other backends can take them over.
const storeEnv = "HOLDFAST_E2E_STORE"

// progress is a server's state of a session with a Speaker. It is an alias
// because net/rpc takes only exported types.
type progress = struct {
	Sent, Received int
	Released       bool // another server may continue the session
}

// Store keeps the state of sessions while their servers come and go, as a Redis
// would.
type Store struct {
	address string

	mu       sync.Mutex // guards the following
	sessions map[string]progress
	waiting  map[string]chan struct{} // closed at the release
}

// StartStore starts a store that ends with the test.
func StartStore(t testing.TB) *Store {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Store{address: ln.Addr().String(), sessions: map[string]progress{}, waiting: map[string]chan struct{}{}}
	server := rpc.NewServer()
	if err := server.RegisterName("Store", &storeCalls{s}); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { server.ServeConn(conn) }) // until the server ends, which is before the store does
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return s
}

// Env returns the addition to the environment of backends that use the store.
func (s *Store) Env() string { return storeEnv + "=" + s.address }

// storeCalls are the remote calls of a store.
type storeCalls struct{ *Store }

// Save saves states.
func (s *storeCalls) Save(batch map[string]progress, _ *bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range batch {
		s.sessions[id] = p
		if c := s.waiting[id]; c != nil && p.Released {
			close(c)
			delete(s.waiting, id)
		}
	}
	return nil
}

// Load returns the state of a session whose server is dead.
func (s *storeCalls) Load(id string, p *progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*p = s.sessions[id]
	return nil
}

// Claim waits until the old server releases a session, and returns its state.
func (s *storeCalls) Claim(id string, p *progress) error {
	timeout := time.NewTimer(testkit.Patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		*p = s.sessions[id]
		if p.Released {
			p.Released = false
			s.sessions[id] = *p
			s.mu.Unlock()
			return nil
		}
		c := s.waiting[id]
		if c == nil {
			c = make(chan struct{})
			s.waiting[id] = c
		}
		s.mu.Unlock()
		select {
		case <-c:
		case <-timeout.C:
			return errors.New("the session was never released")
		}
	}
}

// storeClient is a server's connection to the store. It sends the states of all
// sessions together every few milliseconds.
type storeClient struct {
	rpc *rpc.Client

	mu      sync.Mutex // guards the following
	pending *batch
}

type batch struct {
	states map[string]progress
	done   chan struct{} // closed when err is set
	err    error
}

func newBatch() *batch { return &batch{states: map[string]progress{}, done: make(chan struct{})} }

func (b *batch) wait() error {
	<-b.done
	return b.err
}

// dialStore returns nil if the server saves nothing.
func dialStore() (*storeClient, error) {
	address := os.Getenv(storeEnv)
	if address == "" {
		return nil, nil
	}
	conn, err := rpc.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &storeClient{rpc: conn, pending: newBatch()}
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			c.flush()
		}
	}()
	return c, nil
}

func (c *storeClient) flush() {
	c.mu.Lock()
	b := c.pending
	due := len(b.states) > 0 // otherwise it goes on
	if due {
		c.pending = newBatch()
	}
	c.mu.Unlock()
	if due {
		b.err = c.rpc.Call("Store.Save", b.states, new(bool))
		close(b.done)
	}
}

// Ledger saves one session's state. A nil Ledger saves nothing.
type Ledger struct {
	client *storeClient
	id     string

	mu    sync.Mutex // guards the following
	state progress
}

// open returns the ledger of a session. reason is its Holdfast-Reattach, "" for a
// new session. If c is nil, the ledger is nil.
func (c *storeClient) open(id, reason string) (*Ledger, error) {
	if c == nil {
		return nil, nil
	}
	l := &Ledger{client: c, id: id}
	switch reason {
	case "":
		return l, nil
	case "loss":
		return l, c.rpc.Call("Store.Load", id, &l.state)
	default:
		return l, c.rpc.Call("Store.Claim", id, &l.state)
	}
}

// received saves that n messages came, without waiting until it is saved.
func (l *Ledger) received(n int) {
	if l != nil {
		l.note(func(p *progress) { p.Received = n })
	}
}

// sent saves that n messages were sent, counting one that is about to be sent,
// and waits until it is saved.
func (l *Ledger) sent(n int) error {
	if l == nil {
		return nil
	}
	return l.note(func(p *progress) { p.Sent = n }).wait()
}

// release lets another server claim the session, and waits until that is saved.
func (l *Ledger) release() error {
	return l.note(func(p *progress) { p.Released = true }).wait()
}

func (l *Ledger) note(change func(*progress)) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	b := l.client.pending
	b.states[l.id] = l.state
	return b
}
