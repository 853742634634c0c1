//go:build unix

package health

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// failureTimes returns when handshakes with a backend failed so that others
// were tried, according to the log. It waits until the log, which comes in
// batches, has a line for each session: that line comes after the failures.
func failureTimes(t testing.TB, b *kit.Balancer, backend string) (all []time.Time) {
	t.Helper()
	opened := b.Metrics(t)["holdfast_sessions_total"]
	testkit.Eventually(t, "log lines of all sessions", func() bool { return float64(len(b.LogEntries("session open"))) >= opened })
	for _, e := range b.LogEntries("a backend doesn't answer a handshake") {
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

// Without any check, a backend that fails handshakes gets none for a while, and
// then one, which decides whether it is well again.
func TestEjection(t *testing.T) {
	t.Parallel()
	for _, tt := range []ejection{
		{"refuses", "", true, "connection refused", http.StatusSwitchingProtocols, 1500 * time.Millisecond, 5 * time.Second},
		{"silent", kit.NoAnswer, false, "gave no answer", http.StatusSwitchingProtocols, 2500 * time.Millisecond, 500 * time.Millisecond},
		// It has acted on the handshake, so no other is tried for the client.
		{"broken", kit.BrokenAnswer, false, "Sec-WebSocket-Accept", http.StatusBadGateway, 1500 * time.Millisecond, 5 * time.Second},
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
	well, sick := kit.StartToggleable(t, 1)[0], kit.StartFaulty(t, tt.answer)
	if tt.refuses {
		sick.Close()
	}
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {max_fails: %d, fail_timeout: %v}
    backends: [{name: well, address: %q}, {name: sick, address: %q}]`, maxFails, tt.failTimeout, well.Address, sick.Address), fmt.Sprintf("handshake: %v", tt.patience))+kit.TrustLocal)
	failures := sick.Failures
	if tt.refuses {
		failures = func() []time.Time { return failureTimes(t, b, "sick") }
	}

	tt.provoke(t, b, failures, maxFails)
	tt.checkAlone(t, b, b.AwaitChange(t, "main", "sick", "ejected", 0).At)
	awaitReturn(t, b)
	at := b.Stderr.Position()
	again := 1
	if !tt.refuses {
		again = 2 // clients: one alone ejects nothing
	}
	tt.provoke(t, b, failures, again)
	tt.checkAlone(t, b, b.AwaitChange(t, "main", "sick", "ejected", at).At)

	awaitReturn(t, b)
	sick.Cured.Store(true)
	if tt.refuses {
		sick.Listen(t, sick.Address)
	}
	kit.OpenAndCloseMany(t, b, "/", 2)
	b.AwaitChange(t, "main", "sick", "up", 0)
	if got := kit.OpenAndCloseMany(t, b, "/", 10); got["a"] != 5 {
		t.Errorf("once it is cured, sessions go to %v", got)
	}
	b.CheckState(t, "main", "sick", "up", "the ejection is over: it is tried again")
	b.CheckChanges(t, "main", "well")
	tt.checkHistory(t, b.Changes("main", "sick"), failures())
	b.Stop(t)
}

func ejected(t testing.TB, b *kit.Balancer) bool {
	t.Helper()
	return b.Backend(t, "main", "sick").State == "ejected"
}

// awaitReturn waits until the time of the ejection is over.
func awaitReturn(t testing.TB, b *kit.Balancer) {
	t.Helper()
	testkit.Eventually(t, "end of the ejection", func() bool { return !ejected(t, b) })
}

// provoke opens sessions until the backend is ejected, which must take a number
// of failures, and checks what the clients see.
func (tt *ejection) provoke(t *testing.T, b *kit.Balancer, failures func() []time.Time, want int) {
	t.Helper()
	refused, before := 0, len(failures())
	for i := 0; !ejected(t, b); i++ {
		if i > 2*want {
			t.Fatalf("%d sessions, and it is not ejected", i)
		}
		if backend, status := kit.OpenAndClose(t, b, "/", kit.ForwardedFor(i)); status != http.StatusSwitchingProtocols {
			refused++
			if status != tt.status {
				t.Errorf("a client got status %d of %q", status, backend)
			}
		}
	}
	if reason := b.Backend(t, "main", "sick").Reason; !strings.Contains(reason, tt.reason) || !strings.Contains(reason, fmt.Sprintf("ejected for %v", tt.failTimeout)) {
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

// checkAlone checks that clients notice nothing of the backend that was
// ejected.
func (tt *ejection) checkAlone(t *testing.T, b *kit.Balancer, since time.Time) {
	t.Helper()
	for range 20 {
		backend, status := kit.OpenAndClose(t, b, "/")
		if time.Since(since) >= tt.failTimeout {
			return // a slow machine
		}
		if status != http.StatusSwitchingProtocols || backend != "a" {
			t.Errorf("while it is ejected, a client got status %d of %q", status, backend)
		}
	}
}

// checkHistory checks the log about the backend, and when it failed handshakes:
// none during an ejection, and one after it.
func (tt *ejection) checkHistory(t *testing.T, changes []kit.Change, failures []time.Time) {
	t.Helper()
	// The log line about a failure comes just after its effect.
	const sameEvent = 100 * time.Millisecond
	ejections := 0
	for i, c := range changes {
		switch {
		case i%2 == 0 && c.State == "ejected" && c.Was == "up":
			ejections++
		case i%2 == 1 && c.State == "up" && c.Was == "ejected":
		default:
			t.Errorf("change %d of %d: %+v", i, len(changes), c)
		}
		for _, at := range failures {
			if pause := at.Sub(c.At); c.State == "ejected" && pause > sameEvent && pause < tt.failTimeout {
				t.Errorf("a handshake came to it %v after it was ejected", pause)
			}
		}
	}
	again := 1
	if !tt.refuses {
		again = 2
	}
	if want := maxFails + again*(ejections-1); ejections < 2 || len(failures) != want {
		t.Errorf("%d handshakes came to it and failed, in %d ejections, want %d", len(failures), ejections, want)
	}
}

// If all backends are ejected, they are tried nevertheless, and the first that
// is well again is taken back at once.
func TestAllEjected(t *testing.T) {
	t.Parallel()
	const hangUp = "\r\n" // no HTTP
	servers := []*kit.Faulty{kit.StartFaulty(t, hangUp), kit.StartFaulty(t, hangUp)}
	b := kit.StartBalancer(t, kit.ConfigWithPools(fmt.Sprintf(`  main:
    balance: round_robin
    health: {max_fails: 1, fail_timeout: 1h}
    backends: [{name: a, address: %q}, {name: b, address: %q}]`, servers[0].Address, servers[1].Address))+kit.TrustLocal)
	for i := range 4 { // two clients for each, and two paths
		if _, status := kit.OpenAndClose(t, b, fmt.Sprintf("/%d", i), kit.ForwardedFor(i)); status != http.StatusBadGateway {
			t.Fatalf("handshake %d: status %d", i, status)
		}
	}
	b.CheckState(t, "main", "a", "ejected", "ejected for 1h0m0s")
	b.CheckState(t, "main", "b", "ejected", "ejected for 1h0m0s")

	before := [2]int{len(servers[0].Failures()), len(servers[1].Failures())}
	for range 4 {
		if _, status := kit.OpenAndClose(t, b, "/"); status != http.StatusBadGateway {
			t.Errorf("status %d, want the 502 of a handshake that was tried", status)
		}
	}
	for i, s := range servers {
		if n := len(s.Failures()) - before[i]; n != 2 {
			t.Errorf("server %d of a pool that is all ejected was tried %d times, want 2 of 4", i, n)
		}
	}
	servers[1].Cured.Store(true)
	at := b.Stderr.Position()
	for i := 0; ; i++ {
		if _, status := kit.OpenAndClose(t, b, "/"); status == http.StatusSwitchingProtocols {
			break
		} else if i > 2 {
			t.Fatalf("status %d, though one is cured", status)
		}
	}
	b.AwaitChange(t, "main", "b", "up", at)
	kit.OpenAndCloseMany(t, b, "/", 6)
	b.CheckState(t, "main", "a", "ejected", "")
	b.Stop(t)
}

// One client can't eject a backend, and neither can one path, even if servers
// cut connections for unknown paths, as the README of ws suggests.
func TestOneStrangerEjectsNobody(t *testing.T) {
	t.Parallel()
	var backends []string
	for range 3 {
		backends = append(backends, kit.StartNodeServer(t).Address)
	}
	b := kit.StartBalancer(t, kit.Settings{Engine: "auto", Backends: backends, More: kit.TrustLocal}.YAML())
	for i := range 9 {
		if _, status := kit.OpenAndClose(t, b, "/destroy", kit.ForwardedFor(0)); status != http.StatusBadGateway {
			t.Errorf("a path that the servers cut: status %d", status)
		}
		kit.OpenAndClose(t, b, fmt.Sprintf("/destroy/%d", i), kit.ForwardedFor(0)) // one client, many paths
		kit.OpenAndClose(t, b, "/destroy", kit.ForwardedFor(i))                    // one path, many clients
	}
	for i := range backends {
		b.CheckState(t, "main", kit.BackendName(i), "up", "")
	}
	// Failures that neither one client nor one path explains do count.
	for i := range 9 {
		kit.OpenAndClose(t, b, fmt.Sprintf("/destroy/%d", i), kit.ForwardedFor(100+i))
	}
	for i := range backends {
		b.CheckState(t, "main", kit.BackendName(i), "ejected", "closed the connection without an answer")
	}
	if _, status := kit.OpenAndClose(t, b, "/echo"); status != http.StatusSwitchingProtocols {
		t.Errorf("status %d, though all backends are well", status)
	}
	b.Stop(t)
}
