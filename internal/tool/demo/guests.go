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

// Guests connect one after another, and reconnect after a random delay like pages.
const (
	guestsPerRoom = 10
	guestInterval = 10 * time.Millisecond
	maxGuestDelay = 2 * time.Second // at most
	guestTimeout  = 10 * time.Second
)

// guests are sessions that exist only so that there is something to watch. They join
// rooms of their own, post nothing, and resume like pages when their server changes.
type guests struct {
	url    string // of the chat's WebSocket
	number int

	sessions   atomic.Int64 // that have joined their room
	moves      atomic.Int64 // to another server, without a new connection
	reconnects atomic.Int64
}

type guestCounts struct {
	Sessions   int64 `json:"sessions"`
	Moves      int64 `json:"moves"`
	Reconnects int64 `json:"reconnects"`
}

// counts returns nil if there are no guests.
func (g *guests) counts() *guestCounts {
	if g.number == 0 {
		return nil
	}
	return &guestCounts{g.sessions.Load(), g.moves.Load(), g.reconnects.Load()}
}

// run runs the guests until ctx ends and all have disconnected.
func (g *guests) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for i := range g.number {
		running.Go(func() { g.runGuest(ctx, i) })
		if !sleep(ctx, guestInterval) {
			return
		}
	}
}

// runGuest runs one guest, which reconnects whenever its connection ends.
func (g *guests) runGuest(ctx context.Context, number int) {
	join := chat.Request{Type: "join", Who: chat.Who{
		Member: fmt.Sprintf("guest-%d", number+1),
		Name:   fmt.Sprintf("guest %d", number+1),
		Room:   fmt.Sprintf("guests %d", number/guestsPerRoom+1),
	}}
	for connected := false; ctx.Err() == nil; sleep(ctx, rand.N(maxGuestDelay)) {
		connecting, cancel := context.WithTimeout(ctx, guestTimeout)
		conn, _, err := websocket.Dial(connecting, g.url, nil)
		cancel()
		if err != nil {
			continue
		}
		if connected {
			g.reconnects.Add(1)
		}
		connected = true
		g.serveConn(ctx, conn, join)
	}
}

// serveConn handles one connection of a guest and closes it.
func (g *guests) serveConn(ctx context.Context, conn *websocket.Conn, join chat.Request) {
	defer conn.CloseNow()
	defer context.AfterFunc(ctx, func() { _ = conn.Close(websocket.StatusGoingAway, "the demo has ended") })()
	var joined bool
	defer func() {
		if joined {
			g.sessions.Add(-1)
		}
	}()
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
			if !joined {
				joined = true
				g.sessions.Add(1)
			}
		case "message":
			join.Since = in.ID
		}
	}
}

// sleep returns false if ctx ended before the time was over.
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
