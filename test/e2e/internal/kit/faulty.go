//go:build unix

package kit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// Faulty is a server in the test's own process whose handshakes all fail in one
// way until Cured is true.
type Faulty struct {
	Address string
	answer  string // to a handshake; "" is none
	Cured   atomic.Bool
	serving sync.WaitGroup

	mu     sync.Mutex // guards the following
	ln     net.Listener
	conns  []net.Conn
	failed []time.Time // when the handshakes that failed came
}

// StartFaulty starts a server that answers handshakes with answer:
// BrokenAnswer or NoAnswer.
func StartFaulty(t testing.TB, answer string) *Faulty {
	t.Helper()
	s := &Faulty{answer: answer}
	s.Listen(t, "127.0.0.1:0")
	t.Cleanup(s.Close)
	return s
}

// Listen makes it listen again after Close.
func (s *Faulty) Listen(t testing.TB, address string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Address, s.ln = ln.Addr().String(), ln
	s.serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.serving.Go(func() { s.serve(conn) })
		}
	})
}

// Close cuts the open connections. Further ones are refused.
func (s *Faulty) Close() {
	s.mu.Lock()
	s.ln.Close()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *Faulty) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if !s.Cured.Load() {
		s.mu.Lock()
		s.failed = append(s.failed, time.Now())
		s.mu.Unlock()
		io.WriteString(conn, s.answer)
		if s.answer == "" {
			io.Copy(io.Discard, in)
		}
		return
	}
	if w, err := wspeer.Accept(conn, in, req); err == nil {
		new(backendServer).echo(w)
	}
}

// Failures returns when the handshakes that failed came.
func (s *Faulty) Failures() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.failed)
}

const (
	// BrokenAnswer has a wrong Sec-WebSocket-Accept.
	BrokenAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: c29tZXRoaW5nIGVsc2U=\r\n\r\n"
	// NoAnswer is for a server that never answers.
	NoAnswer = ""
)

// TrustLocal makes the balancer believe ForwardedFor.
const TrustLocal = "forwarded: {trust: [127.0.0.1]}\n"

// ForwardedFor returns a header that makes a client the i-th of 256.
func ForwardedFor(i int) string { return fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i%256) }
