//go:build unix

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faulty is a server that does one thing wrong with handshakes until it is
// cured. It counts those that come to it.
type faulty struct {
	address    string
	handshakes atomic.Int64
	cured      atomic.Bool
	answer     string // to a handshake; "" is none, ever

	mu      sync.Mutex
	ln      net.Listener // nil: connections are refused
	conns   []net.Conn
	serving sync.WaitGroup
}

// startFaulty starts one that answers handshakes so.
func startFaulty(t testing.TB, answer string) *faulty {
	t.Helper()
	s := &faulty{answer: answer}
	s.listen(t, "127.0.0.1:0")
	t.Cleanup(s.close)
	return s
}

func (s *faulty) listen(t testing.TB, address string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.address, s.ln = ln.Addr().String(), ln
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

// close has connections refused, and cuts those that are open.
func (s *faulty) close() {
	s.mu.Lock()
	s.ln.Close()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *faulty) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	s.handshakes.Add(1)
	if !s.cured.Load() {
		io.WriteString(conn, s.answer)
		if s.answer == "" {
			io.Copy(io.Discard, in)
		}
		return
	}
	if w, err := acceptWire(conn, in, req); err == nil {
		new(backendServer).echo(w)
	}
}

const (
	// brokenAnswer has a wrong Sec-WebSocket-Accept.
	brokenAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: c29tZXRoaW5nIGVsc2U=\r\n\r\n"
	noAnswer     = ""
)

// handshakesFailed counts the handshakes with a backend that others were tried
// for, by the log. It waits until the log, which comes in batches, has told of
// all sessions: each is told of after what was tried for it.
func (b *balancer) handshakesFailed(t testing.TB, backend string) (n int) {
	t.Helper()
	opened := b.metrics(t)["holdfast_sessions_total"]
	await(t, "log lines of all sessions", func() bool { return float64(len(b.logged("session open"))) >= opened })
	for _, e := range b.logged("a backend doesn't answer a handshake") {
		if e["backend"] == backend {
			n++
		}
	}
	return n
}

// Without any check, a backend that fails handshakes gets none for a while,
// and then one, which says whether it is well again.
func TestEjection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, answer string
		refuses      bool
		reason       string
		status       int // of a client that comes to it
	}{
		{"refuses", "", true, "connection refused", http.StatusSwitchingProtocols},
		{"silent", noAnswer, false, "gave no answer", http.StatusSwitchingProtocols},
		// It has acted on the handshake, so no other is tried for the client.
		{"broken", brokenAnswer, false, "Sec-WebSocket-Accept", http.StatusBadGateway},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const failTimeout, maxFails = 1500 * time.Millisecond, 3
			well, sick := startMoody(t, 1)[0], startFaulty(t, tt.answer)
			if tt.refuses {
				sick.close()
			}
			b := balance(t, withPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {max_fails: %d, fail_timeout: %v}
    backends: [{name: well, address: %q}, {name: sick, address: %q}]`, maxFails, failTimeout, well.address, sick.address), "handshake: 250ms"))
			reached := func() int {
				if tt.refuses {
					return b.handshakesFailed(t, "sick")
				}
				return int(sick.handshakes.Load())
			}
			ejected := func() bool { return b.backend(t, "main", "sick").State == "ejected" }
			// knockUntilEjected opens sessions until the backend is ejected, and
			// checks what their clients see of the handshakes that it fails.
			knockUntilEjected := func(fails int) {
				t.Helper()
				failed := 0
				before := reached()
				for i := 0; !ejected(); i++ {
					if i > 2*fails {
						t.Fatalf("%d sessions, and it is not ejected", i)
					}
					if backend, status := knock(t, b, "/"); status != http.StatusSwitchingProtocols {
						failed++
						if status != tt.status {
							t.Errorf("a client got status %d of %q", status, backend)
						}
					}
				}
				if n := reached() - before; n != fails {
					t.Errorf("%d handshakes reached it until it was ejected, want %d", n, fails)
				}
				if tt.status == http.StatusSwitchingProtocols {
					fails = 0
				}
				if failed != fails {
					t.Errorf("%d clients failed, want %d", failed, fails)
				}
			}

			knockUntilEjected(maxFails)
			first := b.awaitChange(t, "main", "sick", "ejected", 0)
			b.checkState(t, "main", "sick", "ejected", tt.reason)
			// checkState takes a while; whether it was ejected all the time is
			// asked last.
			knocks(t, b, "/", 20)
			if n := reached(); ejected() && n != maxFails {
				t.Errorf("it was reached by %d handshakes, %d of them while it was ejected", n, n-maxFails)
			}
			await(t, "end of the ejection", func() bool { return !ejected() })
			if n := reached(); n != maxFails {
				t.Errorf("it was reached by %d handshakes until it was to be tried again, want %d", n, maxFails)
			}
			at := b.stderr.position()
			knockUntilEjected(1)
			again := b.awaitChange(t, "main", "sick", "ejected", at)
			if pause := again.at.Sub(first.at); pause < failTimeout {
				t.Errorf("it was tried again after %v, with fail_timeout %v", pause, failTimeout)
			}
			knocks(t, b, "/", 4)
			if n := reached(); n != maxFails+1 {
				t.Errorf("after the one that failed, %d more handshakes reached it", n-maxFails-1)
			}

			sick.cured.Store(true)
			if tt.refuses {
				sick.listen(t, sick.address)
			}
			await(t, "end of the ejection", func() bool { return !ejected() })
			for range 2 {
				if _, status := knock(t, b, "/"); status != http.StatusSwitchingProtocols {
					t.Errorf("status %d, though it is cured", status)
				}
			}
			b.awaitChange(t, "main", "sick", "up", 0)
			if got := knocks(t, b, "/", 10); got["a"] != 5 {
				t.Errorf("once it is cured, sessions go to %v", got)
			}
			b.checkState(t, "main", "sick", "up", "a handshake succeeded")
			all := b.changes("main", "sick")
			var states []string
			for _, c := range all {
				states = append(states, c.state)
			}
			// The second ejection comes from the word "up": the first one had
			// run out, which is no event of its own.
			if got := strings.Join(states, " "); got != "ejected ejected up" {
				t.Errorf("the log tells %q", got)
			}
			b.checkChanges(t, "main", "well")
			b.stop(t)
		})
	}
}

// When all are ejected, they are tried all the same, and the first that is well
// again is taken back at once.
func TestAllEjected(t *testing.T) {
	t.Parallel()
	const hangUp = "\r\n" // no HTTP
	servers := []*faulty{startFaulty(t, hangUp), startFaulty(t, hangUp)}
	b := balance(t, withPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {max_fails: 1, fail_timeout: 1h}
    backends: [{name: a, address: %q}, {name: b, address: %q}]`, servers[0].address, servers[1].address)))
	for i := range 2 {
		if _, status := knock(t, b, "/"); status != http.StatusBadGateway {
			t.Fatalf("handshake %d: status %d", i, status)
		}
	}
	b.checkState(t, "main", "a", "ejected", "left alone for 1h0m0s")
	b.checkState(t, "main", "b", "ejected", "left alone for 1h0m0s")

	before := [2]int64{servers[0].handshakes.Load(), servers[1].handshakes.Load()}
	for range 4 {
		if _, status := knock(t, b, "/"); status != http.StatusBadGateway {
			t.Errorf("status %d, want the 502 of a handshake that was tried", status)
		}
	}
	for i, s := range servers {
		if n := s.handshakes.Load() - before[i]; n != 2 {
			t.Errorf("server %d of a pool that is all ejected was tried %d times, want 2 of 4", i, n)
		}
	}
	servers[1].cured.Store(true)
	at := b.stderr.position()
	for i := 0; ; i++ {
		if _, status := knock(t, b, "/"); status == http.StatusSwitchingProtocols {
			break
		} else if i > 2 {
			t.Fatalf("status %d, though one is cured", status)
		}
	}
	b.awaitChange(t, "main", "b", "up", at)
	knocks(t, b, "/", 6)
	b.checkState(t, "main", "a", "ejected", "")
	b.stop(t)
}
