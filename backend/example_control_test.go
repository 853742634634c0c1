package backend_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// counts stands for a database shared by all servers. It has the number of messages
// of each session by its ID.
type counts struct{ sync.Map }

func (c *counts) get(session string) (n int, known bool) {
	v, known := c.Load(session)
	if known {
		n = v.(int)
	}
	return n, known
}

// countMessages answers each message with its number after some time, and loses
// nothing when the session moves. All work for a session is done in steps by one
// goroutine. Closing the session is a step too, so it comes last.
func countMessages(kit *backend.Backend, states *counts, work time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from := backend.Reattach(r)
		if !from.Reattached() {
			states.Store(from.ID, 0)
		} else if _, known := states.get(from.ID); !known {
			http.Error(w, "no such session", http.StatusNotFound) // the balancer asks another server
			return
		}
		control := kit.Control(w.Header(), r)
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			OnPingReceived: func(_ context.Context, payload []byte) bool {
				control.Ping(payload)
				return true
			},
		})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		steps := make(chan func(), 16)
		do := func(step func()) {
			select {
			case steps <- step:
			case <-ctx.Done():
			}
		}
		n := 0
		go func() {
			select {
			case <-control.Begun(): // the old server has stored the final state
			case <-ctx.Done():
				return
			}
			n, _ = states.get(from.ID)
			if from.Reattached() {
				conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "continued from %d", n)) // of its own accord
			}
			for {
				select {
				case step := <-steps:
					step()
				case <-ctx.Done():
					return
				}
			}
		}()
		leave := control.Join(func(code int, reason string) {
			do(func() { conn.Close(websocket.StatusCode(code), reason) })
		})
		defer leave()
		for {
			_, message, err := conn.Read(ctx)
			if err != nil {
				return
			}
			control.Begin() // for balancers without notices
			do(func() {
				time.Sleep(work)
				n++
				states.Store(from.ID, n)
				conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "%d: %s", n, message))
			})
		}
	}
}

func ExampleControl() {
	kit := backend.New(backend.Options{MaxSessions: 10000})
	http.Handle("/ws", countMessages(kit, new(counts), 300*time.Millisecond))
	if err := kit.Run(context.Background(), ":3000", nil); err != nil {
		log.Fatal(err)
	}
}
