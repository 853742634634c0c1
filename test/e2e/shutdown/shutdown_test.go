//go:build unix

package shutdown

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

var shutdownSessions = kit.UnlessBenching(400, 2000)

const (
	shutdownTime = 6 * time.Second
	// spreadTime is what of timeouts.shutdown is not kept back for the
	// answers to the last Close frames: see closing.Spread.
	spreadTime = shutdownTime * 4 / 5
)

// SIGTERM while all sessions exchange messages: every one is closed with 1001
// at the end of a message, spread evenly over the time.
func TestShutdownUnderLoad(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 2)
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: kit.Addresses(backends),
			More: "timeouts: {shutdown: 6s}\nkeepalive: {interval: 600ms}"}.YAML())
		c := kit.StartCrowd(t, "member", b.Address, shutdownSessions)
		b.AwaitSessions(t, shutdownSessions)

		before := b.Stderr.Position()
		began := time.Now()
		b.Signal(t, syscall.SIGTERM)
		b.FindLog(t, "shutting down", before, fmt.Sprintf("sessions=%d", shutdownSessions), "spread=4.8s")
		if status, body := b.Get(t, "/health"); status != http.StatusServiceUnavailable {
			t.Errorf("/health answers %d %q", status, body)
		}
		if conn, err := net.Dial("tcp", b.Address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection: %v, want it refused", err)
			if err == nil {
				conn.Close()
			}
		}
		if status := b.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("exit status %d", status)
		}
		kit.AtMost(t, "end after SIGTERM", time.Since(began), shutdownTime)
		b.FindLog(t, "stopped", before, "sessions_cut=0")
		c.AwaitEnd(t)

		at := kit.Reports(t, backends)
		f := &kit.Faults{T: t}
		var times []time.Time
		for _, m := range c.Members {
			kit.CheckGoneAway(f, m, at[m.ID])
			times = append(times, m.Ending.At)
		}
		f.Sum("sessions")
		kit.CheckSpread(t, "clients", times, began, spreadTime, 1.5)
		// However slow the machine is, the last is not closed before its time.
		if last := times[len(times)-1].Sub(began); last < spreadTime*3/4 {
			t.Errorf("the last Close came after %v: not spread over %v", last, spreadTime)
		}
		closed := b.LogEntries("session closed")
		if len(closed) != shutdownSessions {
			t.Errorf("%d lines tell of closed sessions", len(closed))
		}
		for _, entry := range closed {
			if entry["cause"] != "shutdown" || entry["close_code"] != 1001.0 {
				t.Fatalf("closed with %v", entry)
			}
		}
	})
}

// A second signal ends the balancer at once, although no client answers and
// there is time left. It logs how many sessions were cut.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 1)
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: kit.Addresses(backends), More: "timeouts: {shutdown: 10m}"}.YAML())
		var clients []*wspeer.Conn
		for range 10 {
			w, _, err := wspeer.Dial(b.Address, "/quiet")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			clients = append(clients, w)
		}
		b.AwaitSessions(t, len(clients))
		b.Signal(t, syscall.SIGTERM)
		b.FindLog(t, "shutting down", 0)
		b.Signal(t, syscall.SIGTERM)
		if status := b.Wait(t, testkit.Patience); status != 1 {
			t.Errorf("exit status %d, want 1", status)
		}
		b.FindLog(t, "stopped", 0, "sessions_cut=10")
		b.Stderr.Find(t, "a line for whoever sent it", 0, func(line string) bool { return line == "holdfast: 10 sessions cut at the second signal" })
		for _, w := range clients {
			w.SetReadDeadline(time.Now().Add(testkit.Patience))
			if _, err := io.Copy(io.Discard, w.In); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a client's connection is still open")
			}
		}
	})
}

// After SIGTERM, /health is 503 and new sessions are accepted for
// shutdown.delay, which a second signal ends. A third one cuts the remaining
// sessions. The delay is an hour, so that only the signals can end it.
func TestShutdownDelay(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 1)
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: kit.Addresses(backends), More: "shutdown: {delay: 1h}\ntimeouts: {shutdown: 1h}"}.YAML())
		open := func() *wspeer.Conn {
			w, _, err := wspeer.Dial(b.Address, "/quiet")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.Close() })
			return w
		}
		open()
		if status, _ := b.Get(t, "/health"); status != http.StatusOK {
			t.Errorf("/health answers %d before the signal", status)
		}
		b.Signal(t, syscall.SIGTERM)
		b.FindLog(t, "about to shut down; new sessions are still accepted", 0, "delay=1h0m0s")
		if status, body := b.Get(t, "/health"); status != http.StatusServiceUnavailable {
			t.Errorf("/health answers %d %q in the delay", status, body)
		}
		open() // a client that does not know yet
		b.AwaitSessions(t, 2)
		if closed := b.LogEntries("session closed"); len(closed) > 0 {
			t.Errorf("closed in the delay: %v", closed)
		}

		b.Signal(t, syscall.SIGTERM)
		b.FindLog(t, "shutting down", 0, "sessions=2")
		if conn, err := net.Dial("tcp", b.Address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection after the delay: %v, want it refused", err)
			if err == nil {
				conn.Close()
			}
		}
		b.Signal(t, syscall.SIGTERM)
		if status := b.Wait(t, testkit.Patience); status != 1 {
			t.Errorf("exit status %d, want 1", status)
		}
		b.Stderr.Find(t, "a line for whoever sent it", 0, func(line string) bool { return line == "holdfast: 2 sessions cut at the third signal" })
	})
}

// Ctrl-C has no delay; SIGTERM has none if the configuration has none.
func TestShutdownWithoutDelay(t *testing.T) {
	backends := kit.StartBackends(t, 1)
	for signal, more := range map[os.Signal]string{os.Interrupt: "shutdown: {delay: 1h}", syscall.SIGTERM: "shutdown: {delay: 0}"} {
		b := kit.StartBalancer(t, kit.Settings{Engine: "auto", Backends: kit.Addresses(backends), More: more}.YAML())
		b.Signal(t, signal)
		if status := b.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("exit status %d after %v", status, signal)
		}
		if said := b.LogEntries("about to shut down; new sessions are still accepted"); len(said) > 0 {
			t.Errorf("a delay after %v: %v", signal, said)
		}
	}
}
