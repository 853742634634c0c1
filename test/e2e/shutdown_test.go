//go:build unix

package e2e

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

const (
	shutdownSessions = 2000
	shutdownTime     = 6 * time.Second
	// spreadTime is what of timeouts.shutdown is not kept back for the
	// answers to the last Close frames: see closing.Spread.
	spreadTime = shutdownTime * 4 / 5
)

// SIGTERM while all sessions exchange messages: every one is closed with 1001
// at the end of a message, evenly over the time.
func TestShutdownUnderLoad(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 2)
		b := balance(t, settings{engine, addresses(backends),
			"timeouts: {shutdown: 6s}\nkeepalive: {interval: 600ms}"}.yaml())
		c := gather(t, "member", b.address, shutdownSessions)
		b.awaitSessions(t, shutdownSessions)

		before := b.stderr.position()
		began := time.Now()
		b.signal(t, syscall.SIGTERM)
		b.log(t, "shutting down", before, "sessions=2000", "spread=4.8s")
		if status, body := b.get(t, "/health"); status != http.StatusServiceUnavailable {
			t.Errorf("/health answers %d %q", status, body)
		}
		if conn, err := net.Dial("tcp", b.address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection: %v, want it refused", err)
			if err == nil {
				conn.Close()
			}
		}
		if status := b.wait(t, shutdownTime+5*time.Second); status != 0 {
			t.Errorf("exit status %d", status)
		}
		took := time.Since(began)
		if took > shutdownTime+2*time.Second { // a busy machine needs some
			t.Errorf("it took %v, with timeouts.shutdown %v", took, shutdownTime)
		}
		b.log(t, "stopped", before, "sessions_cut=0")
		c.awaitEnd(t)

		at := reports(t, backends)
		f := &faults{t: t}
		var times []time.Time
		for _, m := range c.members {
			checkGoneAway(f, m, at[m.id])
			times = append(times, m.ending.at)
		}
		f.sum("sessions")
		checkEven(t, times, began)
		t.Logf("ended after %v, the last Close came after %v", took, times[len(times)-1].Sub(began))
		closed := b.logged("session closed")
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

// checkGoneAway: the session was closed with 1001 to both sides. What the
// server still sent afterwards can't arrive, but all that the client sent must.
func checkGoneAway(f *faults, m *member, server ending) {
	f.t.Helper()
	client := m.ending
	switch {
	case client.Fault != "" || client.Code != 1001 || client.Reason != "going away":
		f.add("%s: client %+v, want 1001 \"going away\"", m.id, client)
	case server.Fault != "" || server.Code != 1001:
		f.add("%s: server %+v, want 1001", m.id, server)
	case client.Sent != server.Received:
		f.add("%s: the client sent %d messages, the server got %d", m.id, client.Sent, server.Received)
	case server.Sent < client.Received:
		f.add("%s: the server sent %d messages, the client got %d", m.id, server.Sent, client.Received)
	}
}

// checkEven: no second has more than 1.5 times its share of the Closes.
func checkEven(t *testing.T, times []time.Time, began time.Time) {
	t.Helper()
	slices.SortFunc(times, time.Time.Compare)
	peak := 0
	for i, first := range times {
		n, _ := slices.BinarySearchFunc(times[i:], first.Add(time.Second), time.Time.Compare)
		peak = max(peak, n)
	}
	mean := float64(len(times)) / spreadTime.Seconds()
	if float64(peak) > 1.5*mean {
		t.Errorf("%d Closes came within one second, the mean over %v is %.0f", peak, spreadTime, mean)
	}
	if last := times[len(times)-1].Sub(began); last < spreadTime*3/4 {
		t.Errorf("the last Close came after %v: not spread over %v", last, spreadTime)
	}
	t.Logf("peak second %d, mean %.0f", peak, mean)
}

// A second signal ends at once, though no client answers and there is time. It
// tells how many sessions that has cost.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 1)
		b := balance(t, settings{engine, addresses(backends), "timeouts: {shutdown: 10m}"}.yaml())
		var clients []*wire
		for range 10 {
			w, _, err := dialWire(b.address, "/quiet")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			clients = append(clients, w)
		}
		b.awaitSessions(t, len(clients))
		b.signal(t, syscall.SIGTERM)
		b.log(t, "shutting down", 0)
		b.signal(t, syscall.SIGTERM)
		if status := b.wait(t, 3*time.Second); status != 1 {
			t.Errorf("exit status %d, want 1", status)
		}
		b.log(t, "stopped", 0, "sessions_cut=10")
		b.stderr.find(t, "a line for whoever sent it", 0, func(line string) bool { return line == "holdfast: 10 sessions cut at the second signal" })
		for _, w := range clients {
			w.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, w.in); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a client's connection is still open")
			}
		}
	})
}
