package backend_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/holdfast-ws/holdfast/backend"
)

// With an HTTP server of your own, wrap its handler and call Drain before
// Shutdown.
func ExampleBackend_Handler() {
	kit := backend.New(backend.Options{MaxSessions: 10000, Log: slog.New(slog.DiscardHandler)})
	server := httptest.NewServer(kit.Handler(http.DefaultServeMux))
	defer server.Close()

	health := func() {
		res, err := http.Get(server.URL + "/health")
		if err != nil {
			fmt.Println(err)
			return
		}
		res.Body.Close()
		fmt.Println(res.StatusCode, "load", res.Header.Get("Holdfast-Load"))
	}
	health()
	go kit.Drain(context.Background()) // without sessions, it ends after the next health check
	for !kit.Draining() {              // only here, to know what the next health check gets
		time.Sleep(time.Millisecond)
	}
	health()
	// Output:
	// 200 load 0.000
	// 503 load 0.000
}

func ExampleReattach() {
	handle := func(w http.ResponseWriter, r *http.Request) {
		session := backend.Reattach(r)
		if session.Reattached() {
			fmt.Printf("session %s comes from %s (%s), move %d\n", session.ID, session.From, session.Why, session.Move)
		} else {
			fmt.Printf("session %s is new\n", session.ID)
		}
	}
	r := httptest.NewRequest("GET", "/ws", nil)
	r.Header.Set("Holdfast-Session", "01JD")
	handle(httptest.NewRecorder(), r)
	// The same session, when server a is drained.
	r.Header.Set("Holdfast-Reattach", "drain")
	r.Header.Set("Holdfast-From", "a")
	r.Header.Set("Holdfast-Move", "1")
	handle(httptest.NewRecorder(), r)
	// Output:
	// session 01JD is new
	// session 01JD comes from a (drain), move 1
}
