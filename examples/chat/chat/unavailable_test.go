package chat

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/hub"
)

// unavailableHub is a hub whose Redis can be made unavailable.
type unavailableHub struct {
	hub.Hub
	unavailable atomic.Bool
}

func (h *unavailableHub) Join(ctx context.Context, room string, m hub.Member, o hub.JoinOptions) (*hub.Membership, error) {
	if h.unavailable.Load() {
		return nil, hub.ErrUnavailable
	}
	return h.Hub.Join(ctx, room, m, o)
}

func (h *unavailableHub) PublishWith(ctx context.Context, room string, data []byte, o hub.PublishOptions) (string, error) {
	if h.unavailable.Load() {
		return "", hub.ErrUnavailable
	}
	return h.Hub.PublishWith(ctx, room, data, o)
}

// Notify delivers on this server even if Redis is unavailable.
func (h *unavailableHub) Notify(ctx context.Context, room string, data []byte) error {
	err := h.Hub.Notify(ctx, room, data)
	if h.unavailable.Load() {
		return hub.ErrUnavailable
	}
	return err
}

func TestRedisIsLostAndComesBack(t *testing.T) {
	c := newCluster(t)
	redis := &unavailableHub{Hub: c.rooms}
	c.rooms = redis
	s := c.serve(t, "chat-1")
	ann, _ := enter(t, s, nil, "Ann", "lobby", "")

	redis.unavailable.Store(true)
	ann.post("k", "hello")
	if f := ann.want("refused"); f.Key != "k" || !f.Retry || f.Reason != "messages can't be stored now" {
		t.Errorf("%+v", f)
	}
	ann.send(Request{Type: "typing"})
	ann.want("typing")
	bob := open(t, s, nil)
	bob.want("hello")
	bob.send(Request{Type: "join", Who: Who{"Bob", "Bob", "lobby"}})
	bob.wantClose(websocket.StatusTryAgainLater)

	redis.unavailable.Store(false)
	ann.post("k", "hello")
	ann.wantText("hello")
}
