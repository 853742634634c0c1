package backend_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// echoGorilla echoes with github.com/gorilla/websocket. Of its methods that
// write, only WriteControl may be called beside others. ReadMessage fails once
// the client has answered the Close.
func echoGorilla(kit *backend.Backend) http.HandlerFunc {
	var upgrader websocket.Upgrader
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		defer conn.Close()
		leave := kit.Join(r, func(code int, reason string) {
			message := websocket.FormatCloseMessage(code, reason)
			conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second))
		})
		defer leave()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if err := conn.WriteMessage(kind, message); err != nil {
				return
			}
		}
	}
}

func Example_gorilla() {
	kit := backend.New(backend.Options{MaxSessions: 10000})
	http.Handle("/ws", echoGorilla(kit))
	if err := kit.Run(context.Background(), ":3000", nil); err != nil {
		log.Fatal(err)
	}
}
