//go:build unix

package reload

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	reloadSessions = 600 // each talks all the time
	reloads        = 15
	visitors       = 20 // sessions opened whenever the extra backend is there
)

// reloadFile is the configuration at the n-th reload: every part of it changes
// each time. Odd ones have a third backend.
func reloadFile(engine string, backends []string, n int) string {
	odd := n%2 == 1
	pick := func(even, odd_ string) string {
		if odd {
			return odd_
		}
		return even
	}
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{name: %s, address: \"127.0.0.1:0\"}]\n", pick("public", "front"))
	fmt.Fprintf(&b, "admin: {address: \"127.0.0.1:0\"}\nengine: %s\n", engine)
	fmt.Fprintf(&b, "routes:\n")
	if odd {
		fmt.Fprintf(&b, "  - {match: {path: /elsewhere-%d}, pool: main}\n", n)
	}
	fmt.Fprintf(&b, "  - {match: {path: /numbers}, pool: main}\n")
	fmt.Fprintf(&b, "pools:\n  main:\n    balance: %s\n    drain: {timeout: 800ms}\n    backends:\n", "least_conn")
	fmt.Fprintf(&b, "      - {name: a, address: %q, weight: %d}\n", backends[0], n%3+1)
	fmt.Fprintf(&b, "      - {name: b, address: %q, weight: %d}\n", backends[1], 3-n%3)
	if odd {
		fmt.Fprintf(&b, "      - {name: c, address: %q, weight: 256}\n", backends[2])
	}
	fmt.Fprintf(&b, "timeouts: {connect: %ds, handshake: %ds, idle: %dm, shutdown: 1s}\n", 3+n%2, 5+n%4, 1+n%5)
	fmt.Fprintf(&b, "keepalive: {interval: 600ms, timeout: %ds}\n", 10+n%5)
	fmt.Fprintf(&b, "log: {format: json, level: %s}\n", pick("info", "debug"))
	return b.String()
}

// brokenFile is wrong in different ways: syntax, keys, values, and a listener
// that can't be opened although the file is right.
func brokenFile(good, taken string, n int) string {
	switch n % 4 {
	case 0:
		return good + "routes: [\n"
	case 1:
		return strings.Replace(good, "balance:", "blance:", 1)
	case 2:
		return strings.Replace(good, "pool: main}", "pool: man}", 1)
	default:
		return strings.Replace(good, "\"127.0.0.1:0\"}]", fmt.Sprintf("\"127.0.0.1:0\"}, {address: %q}]", taken), 1)
	}
}

// Open sessions exchange messages while the file is changed and broken again
// and again. Only sessions whose backend is removed notice.
func TestReloadUnderLoad(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 3)
		b := kit.StartBalancer(t, reloadFile(engine, kit.Addresses(backends), 0))
		residents := kit.StartCrowd(t, "resident", b.Address, reloadSessions)
		b.AwaitSessions(t, reloadSessions)

		second := time.NewTicker(time.Second)
		defer second.Stop()
		var guests []*kit.Crowd
		var came, sentAway int // sessions on the backend that comes and goes
		for n := 1; n <= reloads; n++ {
			<-second.C
			if n%2 == 1 {
				kit.Reports(t, backends[2:]) // those it had have gone
			}
			good := reloadFile(engine, kit.Addresses(backends), n)
			b.WriteConfig(t, brokenFile(good, b.Admin, n))
			b.Reload(t, kit.ReloadRefused)
			b.WriteConfig(t, good)
			entry := b.Reload(t, kit.Reloaded)
			if got := entry["generation"]; got != float64(n+1) {
				t.Errorf("generation %v after reload %d", got, n)
			}
			if n%2 == 1 {
				// c is new, has no session and the most weight: nearly all go
				// there, but for the part that a newcomer isn't given.
				guests = append(guests, kit.StartCrowd(t, fmt.Sprintf("guest%d", n), b.Address, visitors))
				came = backends[2].Report(t).Open
				if came < visitors*3/4 {
					t.Errorf("%d of %d new sessions went to the new backend", came, visitors)
				}
				sentAway += came
			} else if got := entry["backends_left"]; got != 1.0 {
				t.Errorf("reload %d takes leave of %v backends, want 1", n, got)
			}
		}
		// The last reload had the third backend, so its guests are still there.
		last := guests[len(guests)-1]
		sentAway -= came
		b.AwaitSessions(t, reloadSessions+visitors*len(guests)-sentAway)
		m := b.Metrics(t)
		for series, want := range map[string]float64{
			`holdfast_config_reloads_total{result="success"}`: reloads,
			`holdfast_config_reloads_total{result="failure"}`: reloads,
			`holdfast_sessions_total`:                         float64(reloadSessions + visitors*len(guests)),
			`holdfast_log_dropped_total`:                      0,
		} {
			if m[series] != want {
				t.Errorf("%s is %v, want %v", series, m[series], want)
			}
		}
		residents.FinishAll(t)
		for _, g := range guests {
			g.FinishAll(t) // those that are left
		}
		t.Logf("%d messages came to the clients", residents.Received())

		at, passing := kit.Reports(t, backends), kit.Reports(t, backends[2:])
		f := &kit.Faults{T: t}
		for _, m := range append(residents.Members, last.Members...) {
			kit.CheckComplete(f, m, at[m.ID])
		}
		for _, g := range guests[:len(guests)-1] {
			for _, m := range g.Members {
				if server, was := passing[m.ID]; was {
					kit.CheckSentAway(f, m, server)
				} else {
					kit.CheckComplete(f, m, at[m.ID])
				}
			}
		}
		f.Sum("sessions")
		b.AwaitSessions(t, 0)
		b.Stop(t)
	})
}
