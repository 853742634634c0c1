package chat

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/hub"
)

// awayHub is a hub whose Redis can be away.
type awayHub struct {
	hub.Hub
	away atomic.Bool
}

func (h *awayHub) Join(ctx context.Context, room string, m hub.Member, o hub.JoinOptions) (*hub.Membership, error) {
	if h.away.Load() {
		return nil, hub.ErrUnavailable
	}
	return h.Hub.Join(ctx, room, m, o)
}

func (h *awayHub) PublishOnce(ctx context.Context, room, key string, data []byte) (string, error) {
	if h.away.Load() {
		return "", hub.ErrUnavailable
	}
	return h.Hub.PublishOnce(ctx, room, key, data)
}

// Notify delivers on this server all the same.
func (h *awayHub) Notify(ctx context.Context, room string, data []byte) error {
	err := h.Hub.Notify(ctx, room, data)
	if h.away.Load() {
		return hub.ErrUnavailable
	}
	return err
}

func TestRedisIsLostAndBack(t *testing.T) {
	c := newCluster(t)
	redis := &awayHub{Hub: c.rooms}
	c.rooms = redis
	s := c.serve(t, "chat-1")
	ann, _ := enter(t, s, nil, "Ann", "lobby", "")

	redis.away.Store(true)
	ann.post("k", "hello")
	if f := ann.want("refused"); f.Key != "k" || !f.Retry || f.Reason != "messages can't be stored now" {
		t.Errorf("%+v", f)
	}
	ann.say(Request{Type: "typing"})
	ann.want("typing")
	bob := open(t, s, nil)
	bob.want("hello")
	bob.say(Request{Type: "join", Who: Who{"Bob", "Bob", "lobby"}})
	bob.wantClose(websocket.StatusTryAgainLater)

	redis.away.Store(false)
	ann.post("k", "hello")
	ann.wantText("hello")
}
