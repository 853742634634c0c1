package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/holdfast-ws/holdfast/examples/chat/chat"
)

// Guests come one after another, and after a loss as pages do: soon, but not
// all at once.
const (
	guestsPerRoom = 10
	guestGap      = 10 * time.Millisecond
	guestReturn   = 2 * time.Second // at most
	guestPatience = 10 * time.Second
)

// guests are sessions that are there so that there are some. They sit in rooms
// of their own, say nothing, and go on as pages do when their server changes.
type guests struct {
	url    string // of the chat's WebSocket
	number int

	sessions   atomic.Int64 // now
	moves      atomic.Int64 // to another server, without a new connection
	reconnects atomic.Int64
}

type guestCounts struct {
	Sessions   int64 `json:"sessions"`
	Moves      int64 `json:"moves"`
	Reconnects int64 `json:"reconnects"`
}

// counts is nil where there are no guests.
func (g *guests) counts() *guestCounts {
	if g.number == 0 {
		return nil
	}
	return &guestCounts{g.sessions.Load(), g.moves.Load(), g.reconnects.Load()}
}

// run has the guests there until ctx is done and all have gone.
func (g *guests) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for i := range g.number {
		running.Go(func() { g.stay(ctx, i) })
		if !sleep(ctx, guestGap) {
			return
		}
	}
}

// stay has one guest there, by as many connections as it takes.
func (g *guests) stay(ctx context.Context, number int) {
	join := chat.Request{Type: "join", Who: chat.Who{
		Member: fmt.Sprintf("guest-%d", number+1),
		Name:   fmt.Sprintf("guest %d", number+1),
		Room:   fmt.Sprintf("guests %d", number/guestsPerRoom+1),
	}}
	for been := false; ctx.Err() == nil; sleep(ctx, rand.N(guestReturn)) {
		connecting, cancel := context.WithTimeout(ctx, guestPatience)
		conn, _, err := websocket.Dial(connecting, g.url, nil)
		cancel()
		if err != nil {
			continue
		}
		if been {
			g.reconnects.Add(1)
		}
		been = true
		g.sessions.Add(1)
		g.visit(ctx, conn, join)
		g.sessions.Add(-1)
	}
}

// visit is one connection. It closes it.
func (g *guests) visit(ctx context.Context, conn *websocket.Conn, join chat.Request) {
	defer conn.CloseNow()
	defer context.AfterFunc(ctx, func() { _ = conn.Close(websocket.StatusGoingAway, "the demo ends") })()
	var joined bool
	for {
		var in struct{ Type, Reattach, ID string }
		_, data, err := conn.Read(context.WithoutCancel(ctx))
		if err != nil || json.Unmarshal(data, &in) != nil {
			return
		}
		switch in.Type {
		case "hello":
			if in.Reattach != "" {
				g.moves.Add(1)
			}
			request := join
			if joined {
				request = chat.Request{Type: "resume", Since: join.Since}
			}
			if wsjson.Write(ctx, conn, request) != nil {
				return
			}
		case "joined":
			joined = true
		case "message":
			join.Since = in.ID
		}
	}
}

// sleep returns false if ctx was done before the time was over.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
