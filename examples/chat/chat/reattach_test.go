package chat

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// The balancer's part is played by the test: it opens the second connection
// while the first one lives, and then says that one's Close.
func TestASessionGoesOnWithAnotherServer(t *testing.T) {
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
			eventually(t, "the old server is rid of the session", func() bool { return one.kit.Sessions() == 0 })
			bob.post("k2", "meanwhile")
			bob.wantText("meanwhile")

			// The page doesn't know yet, and posts before it resumes.
			moved.post("k3", "after")
			moved.post("k1", "before") // it may have been lost
			if m := bob.wantText("after"); m.Post.Name != "Ann" || m.Post.Server != "chat-2" {
				t.Errorf("%+v", m)
			}
			moved.say(Request{Type: "resume", Since: last.ID})
			if joined := moved.want("joined"); joined.Room != "lobby" || len(joined.People) != 2 {
				t.Errorf("joined %+v", joined)
			}
			moved.wantText("meanwhile")
			moved.wantText("after")

			// Bob saw nobody go and come.
			moved.post("k4", "the end")
			bob.wantText("the end")
			moved.wantText("the end")
		})
	}
}

// What the page says last to the old server holds with the new one: it is read
// when the page speaks, not in the handshake.
func TestTheLastJoinCounts(t *testing.T) {
	c := newCluster(t)
	one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
	ann, _ := enter(t, one, fromBalancer("s1", "", 0), "Ann", "lobby", "")
	moved := open(t, two, fromBalancer("s1", "drain", 1))
	moved.want("hello")
	ann.say(Request{Type: "join", Who: Who{"Ann", "Anna", "attic"}})
	ann.want("joined")
	ann.conn.Close(1012, "")
	moved.say(Request{Type: "resume"})
	if joined := moved.want("joined"); joined.Room != "attic" || len(joined.People) != 1 || joined.People[0].Name != "Anna" {
		t.Errorf("joined %+v", joined)
	}
	eventually(t, "nobody in the lobby", func() bool {
		people, err := c.rooms.Members(t.Context(), "lobby")
		return err == nil && len(people) == 0
	})
}

func TestASessionThatIsNotKnownIsRefused(t *testing.T) {
	c := newCluster(t)
	s := c.serve(t, "chat-1")
	if _, res, err := dial(t, s, fromBalancer("unheard", "loss", 2)); err == nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v: want 404", res, err)
	}
	// One that never joined is as little known.
	p := open(t, s, fromBalancer("silent", "", 0))
	p.want("hello")
	if _, res, err := dial(t, s, fromBalancer("silent", "drain", 1)); err == nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v: want 404", res, err)
	}
}

// forgetfulSessions loses what is saved first, as a Redis does that comes back
// with nothing.
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

func TestASessionIsSavedAgainWhenMessagesWereLost(t *testing.T) {
	c := newCluster(t)
	c.sessions = &forgetfulSessions{Sessions: c.sessions}
	one, two := c.serve(t, "chat-1"), c.serve(t, "chat-2")
	ann, _ := enter(t, one, fromBalancer("s1", "", 0), "Ann", "lobby", "1-1")
	ann.want("gap")
	moved := open(t, two, fromBalancer("s1", "drain", 1))
	moved.want("hello")
	moved.say(Request{Type: "resume"})
	if joined := moved.want("joined"); joined.Room != "lobby" {
		t.Errorf("joined %+v", joined)
	}
}

// awaySessions is a Redis that can't be reached.
type awaySessions struct{}

var errAway = errors.New("away")

func (awaySessions) Save(context.Context, string, Who) error   { return errAway }
func (awaySessions) Load(context.Context, string) (Who, error) { return Who{}, errAway }
func (awaySessions) Touch(context.Context, string) error       { return errAway }

func TestWithoutSessionsNothingIsPromised(t *testing.T) {
	c := newCluster(t)
	c.sessions = awaySessions{}
	s := c.serve(t, "chat-1")
	if _, res, err := dial(t, s, fromBalancer("s1", "loss", 1)); err == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%v, %v: want 503", res, err)
	}
	p := open(t, s, fromBalancer("s1", "", 0))
	p.want("hello")
	p.say(Request{Type: "join", Who: Who{"Ann", "Ann", "lobby"}})
	p.wantClose(websocket.StatusTryAgainLater)
}
