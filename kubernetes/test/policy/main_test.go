//go:build linux

package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestMain is also the start of the server that runs in pods: the test binary with its name
// as the first argument.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "echo" {
		echo()
		return
	}
	lab.Main(m)
}

// echo is a server that knows nothing of balancers: it answers each message with its pod's
// name and the message, and ends at SIGTERM as most do.
func echo() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pod := os.Getenv("POD")
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprintln(w, pod)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for {
			kind, message, err := c.Read(ctx)
			if ctx.Err() != nil {
				c.Close(websocket.StatusGoingAway, "the server ends")
			}
			if err != nil || c.Write(ctx, kind, fmt.Appendf(nil, "%s %s", pod, message)) != nil {
				return
			}
		}
	})
	s := &http.Server{Addr: ":8080", Handler: mux}
	go func() {
		<-ctx.Done()
		s.Close()
	}()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Println(err)
		os.Exit(1)
	}
}
