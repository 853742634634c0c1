package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// A failure that may pass leads to another search, a definite answer doesn't.
func TestReattachTellsWhatPasses(t *testing.T) {
	with := func(answer string) func(*testing.T) string {
		return func(t *testing.T) string { return answering(t, answer).addr }
	}
	status := func(line string) func(*testing.T) string {
		return with("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n\r\n")
	}
	refused := func(t *testing.T) string { return testkit.FreeAddress(t) }
	closing := func(t *testing.T) string { return newBackend(t, func(p *peer, _ string) { p.Close() }).addr }
	for name, c := range map[string]struct {
		others []func(*testing.T) string
		result string
		passes bool
	}{
		"there is no other":       {nil, "no_backend", true},
		"unreachable":             {[]func(*testing.T) string{refused}, "unreachable", true},
		"silent":                  {[]func(*testing.T) string{closing}, "silent", true},
		"bad gateway":             {[]func(*testing.T) string{status("502 Bad Gateway")}, "refused", true},
		"unavailable":             {[]func(*testing.T) string{status("503 Service Unavailable")}, "refused", true},
		"gateway timeout":         {[]func(*testing.T) string{status("504 Gateway Timeout")}, "refused", true},
		"not found":               {[]func(*testing.T) string{status("404 Not Found")}, "refused", false},
		"an error":                {[]func(*testing.T) string{status("500 Internal Server Error")}, "refused", false},
		"broken":                  {[]func(*testing.T) string{with("ERR\r\n\r\n")}, "broken", false},
		"different":               {[]func(*testing.T) string{with(switching("Sec-WebSocket-Protocol: v2"))}, "different", false},
		"unreachable, not found":  {[]func(*testing.T) string{refused, status("404 Not Found")}, "refused", true},
		"not found, unreachable":  {[]func(*testing.T) string{status("404 Not Found"), refused}, "unreachable", true},
		"not found, and no other": {[]func(*testing.T) string{status("404 Not Found"), status("404 Not Found")}, "refused", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := answering(t, switching("Sec-WebSocket-Protocol: v1"))
			s := setup{backends: []string{own.addr}}
			for _, make := range c.others {
				s.backends = append(s.backends, make(t))
			}
			b, e := still(t, s)
			b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: v1, v2")).want(101)
			m := b.moving(session.Loss)
			e.started(t, 0)
			_, err := e.Reattach(nil, m)
			e.Moved(m, 0, time.Millisecond, err)
			if got := b.moves[0].Result; got != c.result || errors.As(err, &relay.Retryable{}) != c.passes {
				t.Errorf("%v: %s, and may pass: %v", err, got, errors.As(err, &relay.Retryable{}))
			}
			if conns, _ := own.seen(); conns != 1 {
				t.Errorf("the backend that is lost was asked %d times", conns-1)
			}
		})
	}
	t.Run("off", func(t *testing.T) {
		b, e := still(t, setup{backends: []string{answering(t, switching()).addr}, reattach: &session.Reattach{Drain: true, Timeout: patience}})
		b.dial().send(upgrade("/")).want(101)
		e.started(t, 0)
		if _, err := e.Reattach(nil, b.moving(session.Loss)); err == nil || errors.As(err, &relay.Retryable{}) {
			t.Errorf("%v may pass", err)
		}
	})
	t.Run("no time", func(t *testing.T) {
		mute := newBackend(t, func(p *peer, _ string) { io.Copy(io.Discard, p.br) })
		b, e := still(t, setup{backends: []string{answering(t, switching()).addr, testkit.FreeAddress(t), mute.addr}})
		b.dial().send(upgrade("/")).want(101)
		e.started(t, 0)
		m := b.moving(session.Loss)
		m.Deadline = time.Now().Add(50 * time.Millisecond)
		if _, err := e.Reattach(nil, m); err != relay.ErrMoveTimeout {
			t.Errorf("%v, want %v", err, relay.ErrMoveTimeout)
		}
	})
}

// A later search may choose the backend that was lost, and the session's own lease
// doesn't make it full.
func TestReattachToTheLostOne(t *testing.T) {
	for _, kind := range balance.Algorithms() {
		t.Run(kind, func(t *testing.T) {
			own, other := answering(t, switching()), answering(t, switching())
			b, e := still(t, setup{pools: []pool.Spec{{Name: "all", Balance: kind, MaxSessions: 2, Backends: []pool.BackendSpec{
				{Address: own.addr, MaxSessions: 1}, {Address: other.addr, MaxSessions: 1}}}}})
			b.dial().send(upgrade("/")).want(101)
			lost := b.registry.Backend(b.moving(session.Loss).Info.Backend)
			rest := b.registry.Backends()[0]
			if rest == lost {
				rest = b.registry.Backends()[1]
			}
			rest.TryAcquire()
			t.Cleanup(rest.Release)
			m := b.moving(session.Loss)
			b.wantMove(e, m, "pool_full")
			m.Again = true
			if to, _ := b.wantMove(e, m, "moved"); to != lost.Address {
				t.Errorf("moved to %s, want %s", to, lost.Address)
			}
			if n := lost.Sessions(); n != 1 {
				t.Errorf("it has %d leases", n)
			}
			// And as the engine does it.
			found, err := e.Reattach(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			found.Conn.Close()
			e.Swapped(m, found.ID)
			e.Moved(m, found.ID, time.Millisecond, nil)
			if n := lost.Sessions(); n != 1 || found.ID != lost.ID {
				t.Errorf("moved to %d, it has %d leases", found.ID, n)
			}
			// For a drain it never is.
			m.Why = session.Drain
			m.Again = false
			b.wantMove(e, m, "pool_full")
			// Nor while it drains.
			lost.SetAdmin(pool.Drain, "test")
			m.Why, m.Again = session.Loss, true
			b.wantMove(e, m, "pool_full")
			lost.SetAdmin(pool.Ready, "test")
		})
	}
}

// The lost backend may hang, so there must be time left for others.
func TestReattachToTheLostOneThatHangs(t *testing.T) {
	var asked atomic.Bool
	own := newBackend(t, func(p *peer, _ string) {
		if !asked.Swap(true) {
			io.WriteString(p, switching())
		}
		io.Copy(io.Discard, p.br)
	})
	other := answering(t, switching())
	b, e := still(t, setup{backends: []string{own.addr, other.addr}})
	b.dial().send(upgrade("/")).want(101)
	m := b.moving(session.Loss)
	m.Again, m.Deadline = true, time.Now().Add(time.Second)
	b.registry.Backends()[0].TryAcquire() // it is chosen all the same
	defer b.registry.Backends()[0].Release()
	if to, _ := b.wantMove(e, m, "moved"); to != other.addr {
		t.Errorf("moved to %s", to)
	}
	if conns, _ := own.seen(); conns != 2 {
		t.Errorf("the lost one was asked %d times", conns-1)
	}
}

// A failure of Reserve may pass, too. A reservation must be due within the time
// that is left.
func TestBookingAgain(t *testing.T) {
	q := slow(ratelimit.Options{Rate: 10})
	defer q.Close()
	b, e := still(t, setup{backends: []string{answering(t, switching()).addr}, admit: q})
	b.dial().send(upgrade("/")).want(101)
	e.started(t, 0)
	m := b.moving(session.Loss)
	if _, err := e.Reserve(m); !errors.As(err, &relay.Retryable{}) || !errors.Is(err, balance.ErrNoBackend) {
		t.Errorf("without another backend: %v", err)
	}
	m.Again = true
	m.Deadline = time.Now().Add(time.Millisecond)
	if _, err := e.Reserve(m); err != relay.ErrMoveWaited {
		t.Errorf("a token that comes too late: %v", err)
	}
	m.Deadline = time.Now().Add(patience)
	if d, err := e.Reserve(m); err != nil || d <= 0 || d > 200*time.Millisecond {
		t.Errorf("a delay of %v, %v", d, err)
	}
	if to, _ := b.wantMove(e, m, "moved"); to != b.registry.Backends()[0].Address {
		t.Errorf("moved to %s", to)
	}
}

// reborn is a backend that can be killed and restarted at the same address. It
// answers with the number of its life.
type reborn struct {
	t    testing.TB
	addr string

	mu    sync.Mutex // guards the following
	ln    net.Listener
	life  int
	conns []net.Conn
	heads []string
}

func newReborn(t testing.TB) *reborn {
	s := &reborn{t: t, addr: "127.0.0.1:0"}
	s.start()
	s.addr = s.ln.Addr().String()
	t.Cleanup(s.kill)
	return s
}

func (s *reborn) start() {
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln = ln
	s.life++
	hello := switching() + serverFrame(1, strings.Repeat("again ", s.life-1)+"here")
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, nc)
			s.mu.Unlock()
			go func() {
				p := &peer{nc, bufio.NewReader(nc)}
				head, err := readHead(p.br)
				if err != nil {
					return
				}
				s.mu.Lock()
				s.heads = append(s.heads, head)
				s.mu.Unlock()
				io.WriteString(p, hello)
				io.Copy(io.Discard, p.br)
			}()
		}
	}()
}

// kill ends it as the end of a process would.
func (s *reborn) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ln.Close()
	for _, c := range s.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	s.conns = nil
}

// The only backend of a pool is killed and restarted: all its sessions survive, and
// the log isn't flooded meanwhile.
func TestSearchAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		const sessions = 60
		server := newReborn(t)
		specs := []pool.Spec{{Name: "all", MaxSessions: sessions, MaxFails: 3, FailTimeout: time.Minute, Backends: []pool.BackendSpec{{Address: server.addr}}}}
		b := start(t, engine, setup{pools: specs, reattach: always})
		var clients []*client
		for range sessions {
			c := b.dial().send(upgrade("/"))
			c.want(101)
			c.wantBytes(serverFrame(1, "here"))
			clients = append(clients, c)
		}
		server.kill()
		searched := func() int { return strings.Count(b.log.String(), "level=DEBUG msg=\"a backend doesn't take over") }
		for end := time.Now().Add(patience); searched() < 3*sessions; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d searches", searched())
			}
		}
		if lines := strings.Count(b.log.String(), "\n") - searched(); lines > 20 {
			t.Errorf("%d lines are in the log:\n%s", lines, b.log)
		}
		b.note(func() {
			if len(b.moves)+len(b.ended) > 0 {
				t.Errorf("%d moves and %d sessions have ended", len(b.moves), len(b.ended))
			}
		})
		server.start()
		for _, c := range clients {
			c.wantBytes(serverFrame(1, "again here"))
		}
		b.wait("all moves to be reported", func() bool { return len(b.moves) == sessions })
		for _, m := range b.moves {
			if m.Result != "moved" || m.To != m.Info.Backend || m.Attempt != 1 || m.Gap < 100*time.Millisecond {
				t.Fatalf("%+v", m)
			}
		}
		if n := b.registry.Backends()[0].Sessions(); n != sessions {
			t.Errorf("%d leases", n)
		}
		server.mu.Lock()
		defer server.mu.Unlock()
		for _, head := range server.heads[sessions:] {
			if field(t, head, "Holdfast-Reattach") != "loss" || field(t, head, "Holdfast-Attempt") != "1" {
				t.Fatalf("asked with\n%s", head)
			}
		}
	})
}

// If no backend comes, the client gets 1012 when the time is over.
func TestSearchAgainInVain(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		server := newReborn(t)
		re := *always
		re.Timeout = 700 * time.Millisecond
		b := start(t, engine, setup{backends: []string{server.addr}, reattach: &re})
		c := b.dial().send(upgrade("/"))
		c.want(101)
		c.wantBytes(serverFrame(1, "here"))
		lost := time.Now()
		server.kill()
		c.wantBytes(serverFrame(8, "\x03\xf4server lost"))
		if d := time.Since(lost); d < re.Timeout-100*time.Millisecond {
			t.Errorf("it was told after %v", d)
		}
		c.send(clientFrame(8, "\x03\xf4"))
		b.wait("the end", func() bool { return len(b.ended) == 1 && len(b.moves) == 1 })
		if m, s := b.moves[0], b.ended[0]; m.Result != "unreachable" || s.Cause != session.BackendLost || s.Code != 1012 {
			t.Errorf("%q (%v); ended with %v", m.Result, m.Err, s.Cause)
		}
	})
}
