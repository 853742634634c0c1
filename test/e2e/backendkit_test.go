//go:build unix

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// kitRole makes this test binary an echo server with the package backend. It
// prints its address, and then what the package logs.
const kitRole = "kit"

const (
	kitNotice   = 4 * time.Second
	kitTimeout  = 9 * time.Second
	kitSpread   = (kitTimeout - kitNotice) * 4 / 5
	kitSessions = 400
)

func serveKit() int {
	kit := backend.New(backend.Options{Notice: kitNotice, DrainTimeout: kitTimeout})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(l.Addr())
	err = kit.Serve(context.Background(), l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		leave := kit.Join(r, func(code int, reason string) { conn.Close(websocket.StatusCode(code), reason) })
		defer leave()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if err := conn.Write(r.Context(), kind, message); err != nil {
				return
			}
		}
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func startKit(t testing.TB, name string) *startedBackend {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+kitRole)
	b := &startedBackend{process: start(t, "kit "+name, cmd)}
	b.address = b.stdout.find(t, "address", 0, func(string) bool { return true })
	return b
}

func kitFile(engine, more string, servers ...*startedBackend) string {
	return fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    health: {http: {path: /health}, interval: 1s, timeout: 900ms}
    drain: {timeout: 60s, spread: 2s}
    %s
    backends: [{name: a, address: %q}, {name: b, address: %q}]
`, engine, more, servers[0].address, servers[1].address)
}

// A deploy of a server with the kit, under load: its sessions are closed with
// 1001 by and by, those of the other go on, and nobody who comes is refused.
func TestKitDrains(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		one, two := startKit(t, "one"), startKit(t, "two")
		b := balance(t, kitFile(engine, "", one, two))
		c := gather(t, "member", b.address, kitSessions)
		b.awaitSessions(t, kitSessions)
		stop := keepComing(t, b.address)

		began := time.Now()
		one.signal(t, syscall.SIGTERM)
		if status := one.wait(t, kitTimeout+patience); status != 0 {
			t.Errorf("the server's exit status is %d", status)
		}
		stop()
		var closes []time.Time
		f := &faults{t: t}
		for _, m := range c.members {
			select {
			case <-m.over:
				closes = append(closes, m.ending.at)
				if e := m.ending; e.Code != 1001 || e.Reason != "server is going away" || e.Fault != "" {
					f.add("%s ended with %+v", m.id, e)
				}
			default:
				m.finish()
			}
		}
		if len(closes) != kitSessions/2 {
			t.Errorf("%d sessions were closed, want half of %d", len(closes), kitSessions)
		}
		checkSpread(t, closes, began.Add(kitNotice), kitSpread, 2) // all at once would be 4
		c.awaitEnd(t)
		checkEchoed(f, c, 1001)
		f.sum("sessions")
		for _, entry := range b.logged("session closed") {
			if cause := entry["cause"]; cause != "backend_closed" && cause != "client_closed" {
				t.Fatalf("closed with %v", entry)
			}
		}
		b.stop(t)
	})
}

// The same where the pool has reattach: the sessions are moved away, the
// server has nobody to close, and ends before its notice is over.
func TestKitIsLeft(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		one, two := startKit(t, "one"), startKit(t, "two")
		b := balance(t, kitFile(engine, "reattach: {on: drain}", one, two))
		c := gather(t, "member", b.address, kitSessions)
		b.awaitSessions(t, kitSessions)
		stop := keepComing(t, b.address)

		one.signal(t, syscall.SIGTERM)
		if status := one.wait(t, patience); status != 0 {
			t.Errorf("the server's exit status is %d", status)
		}
		if said := one.stderr.text(); strings.Contains(said, "closing sessions") || !strings.Contains(said, "drained") {
			t.Errorf("the server said:\n%s", said)
		}
		stop()
		c.disperse(t)
		f := &faults{t: t}
		checkEchoed(f, c, 1000)
		f.sum("sessions")
		// Visitors are moved too, if they are there just then.
		if n := b.metrics(t)[`holdfast_reattach_total{reason="drain",result="moved"}`]; n < kitSessions/2 {
			t.Errorf("%v sessions were moved, want %d", n, kitSessions/2)
		}
		b.stop(t)
	})
}

// checkEchoed: every session has ended in order, with all its echoes, or was
// closed with the code.
func checkEchoed(f *faults, c *crowd, code int) {
	f.t.Helper()
	for _, m := range c.members {
		e := m.ending
		complete := e.Complete && e.Code == 1000 && e.Received == e.Sent
		if e.Fault != "" || !complete && (e.Code != code || code == 1000) {
			f.add("%s ended with %+v", m.id, e)
		}
	}
}

// keepComing has somebody come, say something and go, again and again until stop is
// called. Whoever isn't served fails the test.
func keepComing(t testing.TB, address string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		pause := time.NewTicker(50 * time.Millisecond)
		defer pause.Stop()
		n := 0
		for ctx.Err() == nil {
			n++
			if err := comeAndGo(address); err != nil {
				t.Errorf("visitor %d: %v", n, err)
			}
			<-pause.C
		}
		done <- n
	}()
	return func() {
		cancel()
		t.Logf("%d visitors", <-done)
	}
}

func comeAndGo(address string) error {
	w, _, err := dialWire(address, "/")
	if err != nil {
		return err
	}
	defer w.Close()
	w.SetDeadline(time.Now().Add(patience))
	if err := w.roundTrip("hello"); err != nil {
		return err
	}
	return w.sendClose(1000, "")
}

// A second SIGTERM ends at once, and the exit status says that sessions were
// left.
func TestKitSecondSignal(t *testing.T) {
	t.Parallel()
	s := startKit(t, "one")
	w, _, err := dialWire(s.address, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s.signal(t, syscall.SIGTERM)
	s.stderr.find(t, "begin of the closes", 0, func(line string) bool { return strings.Contains(line, "closing sessions") })
	began := time.Now()
	s.signal(t, syscall.SIGTERM)
	if status := s.wait(t, patience); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if took := time.Since(began); took > kitSpread/2 {
		t.Errorf("it ended after %v", took)
	}
	if said := s.stderr.text(); !strings.Contains(said, "a second signal ended the drain with sessions left: 1") {
		t.Errorf("it said:\n%s", said)
	}
}
