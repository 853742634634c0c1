// Package server implements `holdfast bench-server`, a WebSocket server for
// benchmarks. It does as little as possible, so that a benchmark measures what is in
// front of it.
package server

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

const (
	maxMessage       = 64 << 20
	handshakeTimeout = 10 * time.Second
	closeTimeout     = time.Second
)

// Server serves these paths:
//
//	/echo       sends every message back
//	/broadcast  sends every message to all clients of /broadcast, including the sender
//	/sink       discards messages
//	/health     returns 200 to plain HTTP requests
//
// The zero value is ready for one call of Serve.
type Server struct {
	mu          sync.Mutex
	closing     bool
	connections map[net.Conn]*wsconn.Conn // nil until the WebSocket is open
	listeners   map[*wsconn.Conn]struct{} // clients of /broadcast
	running     sync.WaitGroup
}

// Serve accepts connections on l until ctx ends. Then it closes l and all connections
// with 1001, waits up to a second for the answers, and returns nil.
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
				time.Sleep(5 * time.Millisecond) // for example out of descriptors
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

// open answers a handshake and registers the WebSocket. It returns false during
// shutdown, or if the client has disconnected. A listener gets all broadcasts after
// its 101 and none before.
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

// serve reads a request, and serves a WebSocket or sends a plain response.
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
				return nil, nil, errors.New("the request head is too long")
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

// echo handles /echo. It doesn't read faster than the client does.
type echo struct{ conn *wsconn.Conn }

func (e echo) Message(op byte, payload []byte, _ time.Time) { _ = e.conn.SendWaiting(op, payload) }

type sink struct{}

func (sink) Message(byte, []byte, time.Time) {}

type broadcast struct{ s *Server }

// Message sends a message to all listeners. A listener that reads too slowly is
// closed, so that none misses messages unnoticed.
func (b broadcast) Message(op byte, payload []byte, _ time.Time) {
	f := wsconn.AppendFrame(make([]byte, 0, len(payload)+frame.MaxHead), op, payload)
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for ws := range b.s.listeners {
		if err := ws.SendFrame(f); errors.Is(err, wsconn.ErrBacklog) {
			_ = ws.SendClose(1008, "too slow")
		}
	}
}

// leave removes ws from the listeners.
func (s *Server) leave(ws *wsconn.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ws)
}
