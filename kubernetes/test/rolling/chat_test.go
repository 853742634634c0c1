//go:build linux

package rolling

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// chat is the program of the pods. It answers the nth message of a session with "n POD: "
// and the message. It counts in a state that all pods share, so that a session continues
// where it was on another pod: a message that is lost or arrives twice makes the count
// another than the client's.
func chat() {
	notice, err := time.ParseDuration(os.Getenv("NOTICE"))
	if err != nil {
		fmt.Println("NOTICE:", err)
		os.Exit(2)
	}
	kit := backend.New(backend.Options{Notice: notice, DrainTimeout: notice * 2})
	state := store{"http://" + os.Getenv("STATE") + "/"}
	pod := os.Getenv("POD")
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { talk(kit, state, pod, w, r) })
	if err := kit.Run(context.Background(), ":8080", mux); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// talk is one session, or a part of one.
func talk(kit *backend.Backend, state store, pod string, w http.ResponseWriter, r *http.Request) {
	from := backend.Reattach(r)
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
	var mu sync.Mutex // held for a message, and for the last step
	n, known, left := 0, !from.Reattached(), false
	leave := control.Join(func(code int, reason string) {
		mu.Lock()
		defer mu.Unlock()
		left = true
		state.put(from.ID, n)
		go conn.Close(websocket.StatusCode(code), reason)
	})
	defer leave()
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		control.Begin()
		<-control.Begun()
		mu.Lock()
		if !known {
			n, known = state.get(from.ID), true
		}
		if left {
			mu.Unlock()
			return
		}
		n++
		err = conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "%d %s: %s", n, pod, message))
		mu.Unlock()
		if err != nil {
			return
		}
	}
}

// store is what pods share: a number for each session.
type store struct{ url string }

func (s store) put(session string, n int) {
	request, _ := http.NewRequest("PUT", s.url+session, bytes.NewReader(strconv.AppendInt(nil, int64(n), 10)))
	if answer, err := http.DefaultClient.Do(request); err == nil {
		answer.Body.Close()
	}
}

func (s store) get(session string) int {
	answer, err := http.Get(s.url + session)
	if err != nil {
		return -1
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return -1
	}
	return n
}

// keepState serves the store until the test ends.
func keepState(t *testing.T) {
	var numbers sync.Map
	listener, err := net.Listen("tcp", stateAddress)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			text, _ := io.ReadAll(r.Body)
			numbers.Store(r.URL.Path, text)
		} else if text, ok := numbers.Load(r.URL.Path); ok {
			w.Write(text.([]byte))
		}
	})}
	done := make(chan struct{})
	go func() { server.Serve(listener); close(done) }()
	t.Cleanup(func() { server.Close(); <-done })
}
