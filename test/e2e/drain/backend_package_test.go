//go:build unix

package drain

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

func kitFile(engine, more string, servers ...*kit.Backend) string {
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
`, engine, more, servers[0].Address, servers[1].Address)
}

// A deploy of a server that uses the package backend, under load: its sessions
// are closed with 1001 one after the other, those of the other server continue,
// and no new client is refused.
func TestKitDrains(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		one, two := kit.StartPackageBackend(t, "one"), kit.StartPackageBackend(t, "two")
		b := kit.StartBalancer(t, kitFile(engine, "", one, two))
		c := kit.StartCrowd(t, "member", b.Address, kit.PackageSessions)
		b.AwaitSessions(t, kit.PackageSessions)
		stop := keepComing(t, b.Address)

		began := time.Now()
		one.Signal(t, syscall.SIGTERM)
		if status := one.Wait(t, kit.PackageTimeout+testkit.Patience); status != 0 {
			t.Errorf("the server's exit status is %d", status)
		}
		stop()
		var closes []time.Time
		f := &kit.Faults{T: t}
		for _, m := range c.Members {
			select {
			case <-m.Over:
				closes = append(closes, m.Ending.At)
				if e := m.Ending; e.Code != 1001 || e.Reason != "server is going away" || e.Fault != "" {
					f.Add("%s ended with %+v", m.ID, e)
				}
			default:
				m.Finish()
			}
		}
		if len(closes) != kit.PackageSessions/2 {
			t.Errorf("%d sessions were closed, want half of %d", len(closes), kit.PackageSessions)
		}
		kit.CheckSpread(t, "clients", closes, began.Add(kit.PackageNotice), kit.PackageSpread, 2) // all at once would be 4
		c.AwaitEnd(t)
		checkEchoed(f, c, 1001)
		f.Sum("sessions")
		for _, entry := range b.LogEntries("session closed") {
			if cause := entry["cause"]; cause != "backend_closed" && cause != "client_closed" {
				t.Fatalf("closed with %v", entry)
			}
		}
		b.Stop(t)
	})
}

// The same with reattach: the sessions are moved away, the server has none to
// close, and ends before its notice is over.
func TestKitIsLeft(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		one, two := kit.StartPackageBackend(t, "one"), kit.StartPackageBackend(t, "two")
		b := kit.StartBalancer(t, kitFile(engine, "reattach: {on: drain}", one, two))
		c := kit.StartCrowd(t, "member", b.Address, kit.PackageSessions)
		b.AwaitSessions(t, kit.PackageSessions)
		stop := keepComing(t, b.Address)

		one.Signal(t, syscall.SIGTERM)
		if status := one.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("the server's exit status is %d", status)
		}
		if said := one.Stderr.String(); strings.Contains(said, "closing sessions") || !strings.Contains(said, "drained") {
			t.Errorf("the server said:\n%s", said)
		}
		stop()
		c.FinishAll(t)
		f := &kit.Faults{T: t}
		checkEchoed(f, c, 1000)
		f.Sum("sessions")
		// Visitors are moved too, if they are there just then.
		if n := b.Metrics(t)[`holdfast_reattach_total{reason="drain",result="moved"}`]; n < kit.PackageSessions/2 {
			t.Errorf("%v sessions were moved, want %d", n, kit.PackageSessions/2)
		}
		b.Stop(t)
	})
}

// checkEchoed checks that every session ended in an orderly way, with all its
// echoes, or was closed with the code.
func checkEchoed(f *kit.Faults, c *kit.Crowd, code int) {
	f.T.Helper()
	for _, m := range c.Members {
		e := m.Ending
		complete := e.Complete && e.Code == 1000 && e.Received == e.Sent
		if e.Fault != "" || !complete && (e.Code != code || code == 1000) {
			f.Add("%s ended with %+v", m.ID, e)
		}
	}
}

// keepComing opens a session, exchanges a message and closes it, again and
// again until stop is called. The test fails if one isn't served.
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
	w, _, err := wspeer.Dial(address, "/")
	if err != nil {
		return err
	}
	defer w.Close()
	w.SetDeadline(time.Now().Add(testkit.Patience))
	if err := w.RoundTrip("hello"); err != nil {
		return err
	}
	return w.SendClose(1000, "")
}

// A second SIGTERM ends the server at once, and the exit status says that
// sessions were left.
func TestKitSecondSignal(t *testing.T) {
	t.Parallel()
	s := kit.StartPackageBackend(t, "one")
	w, _, err := wspeer.Dial(s.Address, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s.Signal(t, syscall.SIGTERM)
	s.Stderr.Find(t, "begin of the closes", 0, func(line string) bool { return strings.Contains(line, "closing sessions") })
	began := time.Now()
	s.Signal(t, syscall.SIGTERM)
	if status := s.Wait(t, testkit.Patience); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	kit.AtMost(t, "end after the second signal", time.Since(began), 500*time.Millisecond)
	if said := s.Stderr.String(); !strings.Contains(said, "a second signal ended the drain with sessions left: 1") {
		t.Errorf("it said:\n%s", said)
	}
}
