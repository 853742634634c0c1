package backend_test

import (
	"context"
	"log"
	"net/http"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// echoCoder echoes messages with github.com/coder/websocket, whose Close waits for
// the client's answer while another goroutine reads. It echoes each message before
// it reads the next, so there is no pending work when a session leaves.
func echoCoder(kit *backend.Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		control := kit.Control(w.Header(), r)
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			OnPingReceived: func(_ context.Context, payload []byte) bool {
				control.Ping(payload)
				return true // answer with a pong
			},
		})
		if err != nil {
			return // Accept has sent the response
		}
		defer conn.CloseNow()
		leave := control.Join(func(code int, reason string) {
			conn.Close(websocket.StatusCode(code), reason)
		})
		defer leave()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if err := conn.Write(r.Context(), kind, message); err != nil {
				return
			}
		}
	}
}

func Example_coder() {
	kit := backend.New(backend.Options{MaxSessions: 10000})
	http.Handle("/ws", echoCoder(kit))
	if err := kit.Run(context.Background(), ":3000", nil); err != nil {
		log.Fatal(err)
	}
}
