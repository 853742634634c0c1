package demo

import (
	"context"
	"sync"

	"github.com/coder/websocket"
)

// room is what a server knows of the chat, and who listens to it there.
type room struct {
	mu      sync.Mutex
	epoch   string // of the hub; empty until it was reached first
	history history
	clients map[*client]bool
	ready   chan struct{} // closed while the hub is connected
	closed  bool
}

func newRoom() *room {
	return &room{clients: make(map[*client]bool), ready: make(chan struct{})}
}

// last is the newest message's ID.
func (r *room) last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.last()
}

// receive takes what the hub sent and hands it to all clients.
func (r *room) receive(b batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch == "" {
		r.epoch = b.Epoch
	}
	if r.epoch != b.Epoch {
		return errOtherHub
	}
	for _, m := range b.Messages {
		if m.ID <= r.history.last() {
			continue
		}
		if m.ID != r.history.last()+1 {
			// This server was away for longer than the hub's history. It
			// keeps none with a gap, so that clients are told of it.
			r.history = history{}
		}
		r.history.add(m)
		for c := range r.clients {
			c.offer(m)
		}
	}
	if !r.isReady() {
		close(r.ready)
	}
	return nil
}

// hubAway sends the clients to a server that has a hub, and lets newcomers
// wait until this one has it again.
func (r *room) hubAway() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isReady() {
		r.ready = make(chan struct{})
	}
	for c := range r.clients {
		c.end(websocket.StatusTryAgainLater, "the server lost its hub")
	}
}

// isReady is called with mu held.
func (r *room) isReady() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// connected tells whether the hub is connected.
func (r *room) connected() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.isReady()
}

// wait waits until the hub is connected.
func (r *room) wait(ctx context.Context) error {
	r.mu.Lock()
	ready := r.ready
	r.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds c, which gets every message newer than after from now on, those
// already here first. An after of another epoch means nothing. It returns the
// epoch and how many messages newer than after are gone.
func (r *room) join(c *client, epoch string, after uint64) (string, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch != r.epoch {
		after = 0
	}
	var lost uint64
	if after > 0 {
		lost = r.history.lost(after)
	}
	// after may be ahead of this server, which then skips what the client
	// had from another one.
	c.last = after
	for _, m := range r.history.after(after) {
		c.offer(m)
	}
	r.clients[c] = true
	if r.closed {
		c.end(websocket.StatusGoingAway, closingReason)
	}
	return r.epoch, lost
}

func (r *room) leave(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.clients, c)
}

const closingReason = "the server is shutting down"

// close ends all clients, and those who join later.
func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for c := range r.clients {
		c.end(websocket.StatusGoingAway, closingReason)
	}
}
