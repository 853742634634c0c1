package backend_test

import (
	"context"
	"log"
	"net/http"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// echoCoder echoes with github.com/coder/websocket, whose Close awaits the
// client's answer while another goroutine reads.
func echoCoder(kit *backend.Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // Accept has answered
		}
		defer conn.CloseNow()
		leave := kit.Join(r, func(code int, reason string) {
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
