package chat

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// The test acts as the balancer: it opens the second connection while the first
// one is open, and then closes the first.
func TestSessionMovesToAnotherServer(t *testing.T) {
	for _, why := range []string{"drain", "loss", "rebalance"} {
		t.Run(why, func(t *testing.T) {
			c := newCluster(t)
			one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
			ann, _ := enter(t, one, fromBalancer("s1", "", 0), "Ann", "lobby", "")
			bob, _ := enter(t, two, nil, "Bob", "lobby", "")
			ann.want("here")
			ann.post("k1", "before")
			last := ann.wantText("before")
			bob.wantText("before")

			moved := open(t, two, fromBalancer("s1", why, 1))
			if hello := moved.want("hello"); hello.Reattach != why || hello.Session != "s1" || hello.Server != "chat-2" {
				t.Errorf("hello %+v", hello)
			}
			if why == "loss" {
				ann.conn.CloseNow()
			} else {
				ann.conn.Close(1012, "")
			}
			testkit.Eventually(t, "the old server has no sessions", func() bool { return one.kit.Sessions() == 0 })
			bob.post("k2", "meanwhile")
			bob.wantText("meanwhile")

			// The page posts before it resumes.
			moved.post("k3", "after")
			moved.post("k1", "before") // sent again, in case it was lost
			if m := bob.wantText("after"); m.Post.Name != "Ann" || m.Post.Server != "chat-2" {
				t.Errorf("%+v", m)
			}
			moved.send(Request{Type: "resume", Since: last.ID})
			if joined := moved.want("joined"); joined.Room != "lobby" || len(joined.People) != 2 {
				t.Errorf("joined %+v", joined)
			}
			moved.wantText("meanwhile")
			moved.wantText("after")

			// Bob didn't see Ann leave and join.
			moved.post("k4", "the end")
			bob.wantText("the end")
			moved.wantText("the end")
		})
	}
}

// The new server loads the state when the page sends its first message, not in the
// handshake. So a late join on the old server isn't lost.
func TestLateJoinOnOldServer(t *testing.T) {
	c := newCluster(t)
	one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
	ann, _ := enter(t, one, fromBalancer("s1", "", 0), "Ann", "lobby", "")
	moved := open(t, two, fromBalancer("s1", "drain", 1))
	moved.want("hello")
	ann.send(Request{Type: "join", Who: Who{"Ann", "Anna", "attic"}})
	ann.want("joined")
	ann.conn.Close(1012, "")
	moved.send(Request{Type: "resume"})
	if joined := moved.want("joined"); joined.Room != "attic" || len(joined.People) != 1 || joined.People[0].Name != "Anna" {
		t.Errorf("joined %+v", joined)
	}
	testkit.Eventually(t, "nobody in the lobby", func() bool {
		people, err := c.rooms.Members(t.Context(), "lobby")
		return err == nil && len(people) == 0
	})
}

func TestUnknownSessionIsRefused(t *testing.T) {
	c := newCluster(t)
	s := c.serve(t, "chat-1")
	if _, res, err := dial(t, s, fromBalancer("unknown", "loss", 2)); err == nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v: want 404", res, err)
	}
	// A session that never joined isn't stored.
	p := open(t, s, fromBalancer("silent", "", 0))
	p.want("hello")
	if _, res, err := dial(t, s, fromBalancer("silent", "drain", 1)); err == nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v: want 404", res, err)
	}
}

// forgetfulSessions loses the first Save, like a Redis that restarts without its
// data.
type forgetfulSessions struct {
	Sessions
	saved atomic.Bool
}

func (s *forgetfulSessions) Save(ctx context.Context, session string, w Who) error {
	if s.saved.Swap(true) {
		return s.Sessions.Save(ctx, session, w)
	}
	return nil
}

func TestSessionIsSavedAgainAfterGap(t *testing.T) {
	c := newCluster(t)
	c.sessions = &forgetfulSessions{Sessions: c.sessions}
	one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
	ann, _ := enter(t, one, fromBalancer("s1", "", 0), "Ann", "lobby", "1-1")
	ann.want("gap")
	moved := open(t, two, fromBalancer("s1", "drain", 1))
	moved.want("hello")
	moved.send(Request{Type: "resume"})
	if joined := moved.want("joined"); joined.Room != "lobby" {
		t.Errorf("joined %+v", joined)
	}
}

// unavailableSessions is a Redis that can't be reached.
type unavailableSessions struct{}

var errUnavailable = errors.New("unavailable")

func (unavailableSessions) Save(context.Context, string, Who) error   { return errUnavailable }
func (unavailableSessions) Load(context.Context, string) (Who, error) { return Who{}, errUnavailable }
func (unavailableSessions) Touch(context.Context, string) error       { return errUnavailable }

func TestUnavailableSessions(t *testing.T) {
	c := newCluster(t)
	c.sessions = unavailableSessions{}
	s := c.serve(t, "chat-1")
	if _, res, err := dial(t, s, fromBalancer("s1", "loss", 1)); err == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%v, %v: want 503", res, err)
	}
	p := open(t, s, fromBalancer("s1", "", 0))
	p.want("hello")
	p.send(Request{Type: "join", Who: Who{"Ann", "Ann", "lobby"}})
	p.wantClose(websocket.StatusTryAgainLater)
}
