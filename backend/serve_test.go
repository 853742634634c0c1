package backend_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// longTimeout is for what should happen soon, even on a busy machine.
const longTimeout = 2 * time.Minute

var libraries = map[string]func(*backend.Backend) http.HandlerFunc{
	"coder": echoCoder, "gorilla": echoGorilla, "hijack": echoHijack,
}

// served is a running server.
type served struct {
	t       *testing.T
	address string
	signals chan os.Signal
	cancel  context.CancelFunc
	ended   chan error // what Serve returned
}

func serve(t *testing.T, kit *backend.Backend, h http.Handler) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &served{t: t, address: l.Addr().String(), signals: make(chan os.Signal, 2), cancel: cancel, ended: make(chan error, 1)}
	go func() { s.ended <- kit.ServeUntil(ctx, l, h, s.signals) }()
	t.Cleanup(cancel)
	return s
}

func (s *served) dial() *websocket.Conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), longTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+s.address+"/ws", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.CloseNow() })
	return conn
}

// echo sends a message and waits until it comes back.
func (s *served) echo(conn *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), longTimeout)
	defer cancel()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		return err
	}
	_, got, err := conn.Read(ctx)
	if err == nil && string(got) != "hello" {
		err = errors.New("echoed " + string(got))
	}
	return err
}

func (s *served) health() (status int) {
	s.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: longTimeout}
	res, err := client.Get("http://" + s.address + "/health")
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func (s *served) end() error {
	s.t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(longTimeout):
		s.t.Fatal("still serving")
		return nil
	}
}

func options(o backend.Options) backend.Options {
	o.Log = slog.New(slog.DiscardHandler)
	return o
}

// With each library, sessions work during the notice, and then every client gets a
// Close with 1001.
func TestServe(t *testing.T) {
	for name, library := range libraries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit := backend.New(options(backend.Options{Notice: 2 * time.Second, DrainTimeout: 6 * time.Second}))
			mux := http.NewServeMux()
			mux.Handle("/ws", library(kit))
			s := serve(t, kit, mux)
			var clients []*websocket.Conn
			for range 5 {
				clients = append(clients, s.dial())
			}
			if got := s.health(); got != http.StatusOK {
				t.Errorf("health is %d", got)
			}
			s.signals <- syscall.SIGTERM
			for s.health() != http.StatusServiceUnavailable {
			}
			clients = append(clients, s.dial())
			for _, conn := range clients {
				if err := s.echo(conn); err != nil {
					t.Errorf("in the notice: %v", err)
				}
			}
			var reading sync.WaitGroup
			for _, conn := range clients {
				reading.Go(func() {
					_, _, err := conn.Read(t.Context())
					var closed websocket.CloseError
					if !errors.As(err, &closed) || closed.Code != 1001 || closed.Reason != "server is going away" {
						t.Errorf("a client saw %v", err)
					}
				})
			}
			reading.Wait()
			if err := s.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSecondSignalEndsServe(t *testing.T) {
	kit := backend.New(options(backend.Options{}))
	s := serve(t, kit, echoCoder(kit))
	conn := s.dial()
	if s.health(); s.echo(conn) != nil {
		t.Fatal("no echo")
	}
	s.signals <- os.Interrupt
	for s.health() != http.StatusServiceUnavailable {
	}
	s.signals <- syscall.SIGTERM
	if err := s.end(); !errors.Is(err, backend.ErrSignal) {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.address); err == nil {
		t.Error("still listening")
	}
}

// Without sessions and health checks, Serve returns at once, but plain requests in
// progress are completed.
func TestServeCompletesPlainRequests(t *testing.T) {
	kit := backend.New(options(backend.Options{}))
	begun, finish := make(chan struct{}), make(chan struct{})
	s := serve(t, kit, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
		io.WriteString(w, "done")
	}))
	answer := make(chan string)
	go func() {
		defer close(answer)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: longTimeout}
		res, err := client.Get("http://" + s.address + "/page")
		if err != nil {
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	<-begun
	s.cancel()
	for !kit.Draining() {
		time.Sleep(time.Millisecond)
	}
	close(finish)
	if got := <-answer; got != "done" {
		t.Errorf("the request in progress got %q", got)
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

func TestServeReturnsListenErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	kit := backend.New(options(backend.Options{}))
	if err := kit.Run(t.Context(), l.Addr().String(), nil); err == nil {
		t.Error("it serves on an address in use")
	}
	l.Close()
	if err := kit.Serve(t.Context(), l, nil); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
