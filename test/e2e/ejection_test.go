//go:build unix

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faulty is a server that does one thing wrong with handshakes until it is
// cured.
type faulty struct {
	address string
	answer  string // to a handshake; "" is none, ever
	cured   atomic.Bool
	serving sync.WaitGroup

	mu     sync.Mutex // guards the following
	ln     net.Listener
	conns  []net.Conn
	failed []time.Time // when the handshakes that it failed came
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
	if !s.cured.Load() {
		s.mu.Lock()
		s.failed = append(s.failed, time.Now())
		s.mu.Unlock()
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

// failures are when the handshakes came that it failed.
func (s *faulty) failures() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.failed)
}

const (
	// brokenAnswer has a wrong Sec-WebSocket-Accept.
	brokenAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: c29tZXRoaW5nIGVsc2U=\r\n\r\n"
	noAnswer     = ""
)

// failures are when handshakes with a backend failed so that others were tried
// for them, by the log. It waits until the log, which comes in batches, has told
// of all sessions: each is told of after what was tried for it.
func (b *balancer) failures(t testing.TB, backend string) (all []time.Time) {
	t.Helper()
	opened := b.metrics(t)["holdfast_sessions_total"]
	await(t, "log lines of all sessions", func() bool { return float64(len(b.logged("session open"))) >= opened })
	for _, e := range b.logged("a backend doesn't answer a handshake") {
		if e["backend"] == backend {
			at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, at)
		}
	}
	return all
}

// Without any check, a backend that fails handshakes gets none for a while,
// and then one, which says whether it is well again.
func TestEjection(t *testing.T) {
	t.Parallel()
	for _, tt := range []ejection{
		{"refuses", "", true, "connection refused", http.StatusSwitchingProtocols, 1500 * time.Millisecond, 5 * time.Second},
		{"silent", noAnswer, false, "gave no answer", http.StatusSwitchingProtocols, 2500 * time.Millisecond, 500 * time.Millisecond},
		// It has acted on the handshake, so no other is tried for the client.
		{"broken", brokenAnswer, false, "Sec-WebSocket-Accept", http.StatusBadGateway, 1500 * time.Millisecond, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t)
		})
	}
}

type ejection struct {
	name, answer string
	refuses      bool // connections
	reason       string
	status       int // for a client that comes to it

	failTimeout time.Duration // longer than maxFails failures take
	patience    time.Duration // timeouts.handshake; a busy server that is well may need it
}

const maxFails = 3

func (tt *ejection) test(t *testing.T) {
	well, sick := startMoody(t, 1)[0], startFaulty(t, tt.answer)
	if tt.refuses {
		sick.close()
	}
	b := balance(t, withPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {max_fails: %d, fail_timeout: %v}
    backends: [{name: well, address: %q}, {name: sick, address: %q}]`, maxFails, tt.failTimeout, well.address, sick.address), fmt.Sprintf("handshake: %v", tt.patience)))
	failures := sick.failures
	if tt.refuses {
		failures = func() []time.Time { return b.failures(t, "sick") }
	}

	tt.provoke(t, b, failures, maxFails)
	tt.checkAlone(t, b, b.awaitChange(t, "main", "sick", "ejected", 0).at)
	b.awaitReturn(t)
	at := b.stderr.position()
	tt.provoke(t, b, failures, 1)
	tt.checkAlone(t, b, b.awaitChange(t, "main", "sick", "ejected", at).at)

	b.awaitReturn(t)
	sick.cured.Store(true)
	if tt.refuses {
		sick.listen(t, sick.address)
	}
	knocks(t, b, "/", 2)
	b.awaitChange(t, "main", "sick", "up", 0)
	if got := knocks(t, b, "/", 10); got["a"] != 5 {
		t.Errorf("once it is cured, sessions go to %v", got)
	}
	b.checkState(t, "main", "sick", "up", "its time is over: it is tried again")
	b.checkChanges(t, "main", "well")
	tt.checkHistory(t, b.changes("main", "sick"), failures())
	b.stop(t)
}

func (b *balancer) ejected(t testing.TB) bool {
	t.Helper()
	return b.backend(t, "main", "sick").State == "ejected"
}

// awaitReturn waits until the time is over for which it was ejected.
func (b *balancer) awaitReturn(t testing.TB) {
	t.Helper()
	await(t, "end of the ejection", func() bool { return !b.ejected(t) })
}

// provoke opens sessions until the backend is ejected, which must take so many
// failures, and checks what their clients see of them.
func (tt *ejection) provoke(t *testing.T, b *balancer, failures func() []time.Time, want int) {
	t.Helper()
	refused, before := 0, len(failures())
	for i := 0; !b.ejected(t); i++ {
		if i > 2*want {
			t.Fatalf("%d sessions, and it is not ejected", i)
		}
		if backend, status := knock(t, b, "/"); status != http.StatusSwitchingProtocols {
			refused++
			if status != tt.status {
				t.Errorf("a client got status %d of %q", status, backend)
			}
		}
	}
	if reason := b.backend(t, "main", "sick").Reason; !strings.Contains(reason, tt.reason) || !strings.Contains(reason, fmt.Sprintf("left alone for %v", tt.failTimeout)) {
		t.Errorf("it is ejected since %q, want %q", reason, tt.reason)
	}
	if n := len(failures()) - before; n != want {
		t.Errorf("it was ejected after %d failures, want %d", n, want)
	}
	if tt.status == http.StatusSwitchingProtocols {
		want = 0
	}
	if refused != want {
		t.Errorf("%d clients were refused, want %d", refused, want)
	}
}

// checkAlone checks that clients see nothing of a backend that was ejected then.
func (tt *ejection) checkAlone(t *testing.T, b *balancer, since time.Time) {
	t.Helper()
	for range 20 {
		backend, status := knock(t, b, "/")
		if time.Since(since) >= tt.failTimeout {
			return // a slow machine
		}
		if status != http.StatusSwitchingProtocols || backend != "a" {
			t.Errorf("while it is ejected, a client got status %d of %q", status, backend)
		}
	}
}

// checkHistory checks what the log tells of the backend, and when it failed
// handshakes: after each ejection none for the whole time, and then one.
func (tt *ejection) checkHistory(t *testing.T, changes []change, failures []time.Time) {
	t.Helper()
	// The log tells of a failure just after what follows from it.
	const sameEvent = 100 * time.Millisecond
	ejections := 0
	for i, c := range changes {
		switch {
		case i%2 == 0 && c.state == "ejected" && c.was == "up":
			ejections++
		case i%2 == 1 && c.state == "up" && c.was == "ejected":
		default:
			t.Errorf("change %d of %d: %+v", i, len(changes), c)
		}
		for _, at := range failures {
			if pause := at.Sub(c.at); c.state == "ejected" && pause > sameEvent && pause < tt.failTimeout {
				t.Errorf("a handshake came to it %v after it was ejected", pause)
			}
		}
	}
	if want := maxFails + ejections - 1; ejections < 2 || len(failures) != want {
		t.Errorf("%d handshakes came to it and failed, in %d ejections, want %d", len(failures), ejections, want)
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

	before := [2]int{len(servers[0].failures()), len(servers[1].failures())}
	for range 4 {
		if _, status := knock(t, b, "/"); status != http.StatusBadGateway {
			t.Errorf("status %d, want the 502 of a handshake that was tried", status)
		}
	}
	for i, s := range servers {
		if n := len(s.failures()) - before[i]; n != 2 {
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
