// Package server is the counterpart of the load generator: a WebSocket server
// that does as little as possible, so that what is measured is what stands
// before it.
package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/bench/wsconn"
	"github.com/holdfast-ws/holdfast/internal/frame"
	"github.com/holdfast-ws/holdfast/internal/httphead"
)

const (
	maxMessage       = 64 << 20
	handshakeTimeout = 10 * time.Second
	closeTimeout     = time.Second
)

// Server serves
//
//	/echo       every message comes back
//	/broadcast  every message goes to all clients of /broadcast, the sender too
//	/sink       messages are read and forgotten
//	/health     plain HTTP: 200
//
// The zero value is ready for one Serve.
type Server struct {
	mu          sync.Mutex
	closing     bool
	connections map[net.Conn]*wsconn.Conn // nil until the WebSocket is open
	listeners   map[*wsconn.Conn]struct{} // of broadcasts
	running     sync.WaitGroup
}

// Serve accepts connections until ctx is done. Then it closes them with 1001,
// waits a second for the answers, and returns nil once all are closed, l too.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.connections = map[net.Conn]*wsconn.Conn{}
	s.listeners = map[*wsconn.Conn]struct{}{}
	defer s.shutdown()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return nil
			}
			var temporary interface{ Temporary() bool }
			if errors.As(err, &temporary) && temporary.Temporary() {
				time.Sleep(5 * time.Millisecond) // no descriptors left, or the like
				continue
			}
			return err
		}
		s.mu.Lock()
		s.connections[c] = nil
		s.mu.Unlock()
		s.running.Go(func() {
			defer s.forget(c)
			s.serve(c)
		})
	}
}

func (s *Server) forget(c net.Conn) {
	c.Close()
	s.mu.Lock()
	delete(s.connections, c)
	s.mu.Unlock()
}

func (s *Server) shutdown() {
	s.mu.Lock()
	s.closing = true
	for c, ws := range s.connections {
		if ws == nil {
			c.Close()
		} else {
			_ = ws.SendClose(1001, "bench-server stopped")
		}
	}
	s.mu.Unlock()
	cut := time.AfterFunc(closeTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.connections {
			c.Close()
		}
	})
	defer cut.Stop()
	s.running.Wait()
}

// open answers a handshake and registers the WebSocket; it is false during
// shutdown, and where the client has gone. The next broadcast after its 101 is
// for a listener, and none comes before that.
func (s *Server) open(c net.Conn, ws *wsconn.Conn, answer []byte, listens bool) bool {
	if !listens {
		if _, err := c.Write(answer); err != nil {
			return false
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if listens {
		if _, err := c.Write(answer); err != nil {
			return false
		}
		s.listeners[ws] = struct{}{}
	}
	s.connections[c] = ws
	return !s.closing
}

var requests = sync.Pool{New: func() any { return new(httphead.Request) }}

// serve takes one request head, and then serves a WebSocket or one plain
// answer.
func (s *Server) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	head, rest, err := readHead(c)
	if err != nil {
		return
	}
	req := requests.Get().(*httphead.Request)
	handler, answer := s.route(req, head)
	requests.Put(req)
	if handler == nil {
		_, _ = c.Write(answer) // the connection is closed either way
		return
	}
	ws := wsconn.Accepted(c, rest, maxMessage)
	h := handler(ws)
	_, listens := h.(broadcast)
	if listens {
		defer s.leave(ws)
	}
	if !s.open(c, ws, answer, listens) {
		return
	}
	_ = c.SetDeadline(time.Time{})
	_ = ws.Serve(h)
}

func readHead(c net.Conn) (head, rest []byte, err error) {
	buf := make([]byte, 1<<10)
	for n := 0; ; {
		if n == len(buf) {
			if n > 64<<10 {
				return nil, nil, errors.New("the request's head is too long")
			}
			buf = append(buf, make([]byte, n)...)
		}
		k, err := c.Read(buf[n:])
		seen := n
		n += k
		if end := httphead.EndOfHead(buf[:n], seen); end > 0 {
			return buf[:end], buf[end:n], nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// echo is what answers on /echo. It doesn't read faster than the client does.
type echo struct{ conn *wsconn.Conn }

func (e echo) Message(op byte, payload []byte, _ time.Time) { _ = e.conn.SendWaiting(op, payload) }

type sink struct{}

func (sink) Message(byte, []byte, time.Time) {}

type broadcast struct{ s *Server }

// Message sends to all listeners. One that reads too slowly to be sent more is
// closed, rather than that it misses messages.
func (b broadcast) Message(op byte, payload []byte, _ time.Time) {
	f := wsconn.AppendFrame(make([]byte, 0, len(payload)+frame.MaxHead), op, payload)
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for ws := range b.s.listeners {
		if err := ws.SendFrame(f); errors.Is(err, wsconn.ErrBacklog) {
			_ = ws.SendClose(1008, "read too slowly")
		}
	}
}

// leave takes ws out of the listeners.
func (s *Server) leave(ws *wsconn.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ws)
}
