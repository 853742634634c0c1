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
	kit := backend.New(backend.Options{DrainTimeout: 2 * time.Second})
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

// put and get try again, as a program with a database does.
func (s store) put(session string, n int) {
	for {
		request, _ := http.NewRequest("PUT", s.url+session, bytes.NewReader(strconv.AppendInt(nil, int64(n), 10)))
		_, err := s.ask(request)
		if err == nil {
			return
		}
		fmt.Println("storing a session's state:", err)
	}
}

func (s store) get(session string) int {
	for {
		request, _ := http.NewRequest("GET", s.url+session, nil)
		text, err := s.ask(request)
		if err == nil {
			n, err := strconv.Atoi(text)
			if err == nil {
				return n
			}
		}
		fmt.Println("reading a session's state:", text, err)
	}
}

var storeClient = http.Client{Timeout: time.Second}

func (s store) ask(request *http.Request) (string, error) {
	answer, err := storeClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
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
