package backend_test

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// echoGorilla echoes messages with github.com/gorilla/websocket. WriteControl is
// the only method that may be called concurrently with other writes. ReadMessage
// fails after the client has answered the Close.
func echoGorilla(kit *backend.Backend) http.HandlerFunc {
	var upgrader websocket.Upgrader
	return func(w http.ResponseWriter, r *http.Request) {
		answer := http.Header{}
		control := kit.Control(answer, r)
		conn, err := upgrader.Upgrade(w, r, answer)
		if err != nil {
			return // Upgrade has sent the response
		}
		defer conn.Close()
		pong := conn.PingHandler()
		conn.SetPingHandler(func(payload string) error {
			control.Ping([]byte(payload))
			return pong(payload)
		})
		leave := control.Join(func(code int, reason string) {
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
