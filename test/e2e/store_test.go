//go:build unix

package e2e

import (
	"errors"
	"net"
	"net/rpc"
	"os"
	"sync"
	"testing"
	"time"
)

// storeEnv has a backend server keep the state of its sessions in the store at
// that address, as servers do whose sessions can be taken over.
const storeEnv = "HOLDFAST_E2E_STORE"

// progress is a server's state of a session that a speaker is on. Without a
// name of its own, since net/rpc takes no types that aren't exported.
type progress = struct {
	Sent, Received int
	Released       bool // it is another server's turn
}

// store outlives the servers, as a Redis would.
type store struct {
	address string

	mu       sync.Mutex // guards the following
	sessions map[string]progress
	waiting  map[string]chan struct{} // closed at the release
}

// startStore starts one, which ends with the test.
func startStore(t testing.TB) *store {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{address: ln.Addr().String(), sessions: map[string]progress{}, waiting: map[string]chan struct{}{}}
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

func (s *store) env() string { return storeEnv + "=" + s.address }

// storeCalls are what servers call of a store.
type storeCalls struct{ *store }

// Save returns when what it was given is safe.
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

// Load is for a session whose server is dead.
func (s *storeCalls) Load(id string, p *progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*p = s.sessions[id]
	return nil
}

// Claim is for a session whose server still works: it waits for the release.
func (s *storeCalls) Claim(id string, p *progress) error {
	timeout := time.NewTimer(patience)
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

// storeClient is a server's connection to the store. What its sessions have to
// note is sent together every few milliseconds.
type storeClient struct {
	rpc *rpc.Client

	mu      sync.Mutex // guards the following
	pending *batch
}

type batch struct {
	states map[string]progress
	done   chan struct{} // closed when err stands
	err    error
}

func newBatch() *batch { return &batch{states: map[string]progress{}, done: make(chan struct{})} }

func (b *batch) wait() error {
	<-b.done
	return b.err
}

// dialStore returns nil where the server is to keep nothing.
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
	if len(b.states) > 0 {
		c.pending = newBatch()
	}
	c.mu.Unlock()
	if len(b.states) > 0 {
		b.err = c.rpc.Call("Store.Save", b.states, new(bool))
		close(b.done)
	}
}

// ledger is where one session's state is kept. A nil one keeps nothing.
type ledger struct {
	client *storeClient
	id     string

	mu    sync.Mutex // guards the following
	state progress
}

// open returns the ledger of a session that came for a reason, which is "" for
// a new one. It returns nil where c is nil.
func (c *storeClient) open(id, reason string) (*ledger, error) {
	if c == nil {
		return nil, nil
	}
	l := &ledger{client: c, id: id}
	switch reason {
	case "":
		return l, nil
	case "loss":
		return l, c.rpc.Call("Store.Load", id, &l.state)
	default:
		return l, c.rpc.Call("Store.Claim", id, &l.state)
	}
}

// received notes that n messages came, and doesn't wait until that is safe.
func (l *ledger) received(n int) {
	if l != nil {
		l.note(func(p *progress) { p.Received = n })
	}
}

// sent returns when it is safe that n messages are sent, counting one that is
// about to be.
func (l *ledger) sent(n int) error {
	if l == nil {
		return nil
	}
	return l.note(func(p *progress) { p.Sent = n }).wait()
}

// release returns when another server may claim the session.
func (l *ledger) release() error {
	return l.note(func(p *progress) { p.Released = true }).wait()
}

func (l *ledger) note(change func(*progress)) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.state)
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	b := l.client.pending
	b.states[l.id] = l.state
	return b
}
