//go:build unix

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	reloadSessions = 2000
	reloads        = 15
	visitors       = 20 // sessions opened whenever the extra backend is there
)

// reloadFile is the configuration at the n-th reload: something changes in
// every part of it each time. Odd ones have a third backend.
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

// brokenFiles are wrong in different ways: syntax, keys, values, and a
// listener that can't be opened although the file is right.
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

// Live sessions exchange messages while the file is changed and broken again
// and again: none of them may notice, but those whose backend leaves.
func TestReloadUnderLoad(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		backends := startBackends(t, 3)
		b := balance(t, reloadFile(engine, addresses(backends), 0))
		residents := gather(t, "resident", b.address, reloadSessions)
		b.awaitSessions(t, reloadSessions)

		second := time.NewTicker(time.Second)
		defer second.Stop()
		var guests []*crowd
		var came, sentAway int // sessions on the backend that comes and goes
		for n := 1; n <= reloads; n++ {
			<-second.C
			if n%2 == 1 {
				reports(t, backends[2:]) // those it had have gone
			}
			good := reloadFile(engine, addresses(backends), n)
			b.write(t, brokenFile(good, b.admin, n))
			b.hangUp(t, reloadRefused)
			b.write(t, good)
			entry := b.hangUp(t, reloaded)
			if got := entry["generation"]; got != float64(n+1) {
				t.Errorf("generation %v after reload %d", got, n)
			}
			if n%2 == 1 {
				// c is new, has no session and the most weight: nearly all go
				// there, but for the part that a newcomer isn't given.
				guests = append(guests, gather(t, fmt.Sprintf("guest%d", n), b.address, visitors))
				came = backends[2].report(t).Open
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
		b.awaitSessions(t, reloadSessions+visitors*len(guests)-sentAway)
		m := b.metrics(t)
		for series, want := range map[string]float64{
			`holdfast_config_reloads_total{result="success"}`: reloads,
			`holdfast_config_reloads_total{result="failure"}`: reloads,
			`holdfast_sessions_total`:                         float64(reloadSessions + visitors*len(guests)),
			`holdfast_handshakes_total{result="opened"}`:      float64(reloadSessions + visitors*len(guests)),
			`holdfast_log_dropped_total`:                      0,
		} {
			if m[series] != want {
				t.Errorf("%s is %v, want %v", series, m[series], want)
			}
		}
		residents.disperse(t)
		for _, g := range guests {
			g.disperse(t) // those that are left
		}
		t.Logf("%d messages came to the clients", residents.received())

		at, passing := reports(t, backends), reports(t, backends[2:])
		f := &faults{t: t}
		for _, m := range append(residents.members, last.members...) {
			checkComplete(f, m, at[m.id])
		}
		for _, g := range guests[:len(guests)-1] {
			for _, m := range g.members {
				if server, was := passing[m.id]; was {
					checkSentAway(f, m, server)
				} else {
					checkComplete(f, m, at[m.id])
				}
			}
		}
		f.sum("sessions")
		b.awaitSessions(t, 0)
		b.stop(t)
	})
}

// checkComplete: the session lived until it was ended in order, and both sides
// got all that the other sent.
func checkComplete(f *faults, m *member, server ending) {
	f.t.Helper()
	client := m.ending
	switch {
	case client.Fault != "" || server.Fault != "":
		f.add("%s: client %+v, server %+v", m.id, client, server)
	case !client.Complete || !server.Complete || client.Code != 1000 || server.Code != 1000:
		f.add("%s: not ended in order: client %+v, server %+v", m.id, client, server)
	case client.Sent != server.Received || server.Sent != client.Received:
		f.add("%s: numbers differ: client %+v, server %+v", m.id, client, server)
	}
}

// checkSentAway: the session was closed politely since its backend left.
func checkSentAway(f *faults, m *member, server ending) {
	f.t.Helper()
	client := m.ending
	switch {
	case client.Fault != "" || client.Code != 1001 || client.Reason != "going away":
		f.add("%s: client %+v, want 1001 \"going away\"", m.id, client)
	case server.Fault != "" || server.Code != 1001:
		f.add("%s: server %+v, want 1001", m.id, server)
	case client.Sent != server.Received:
		f.add("%s: the client sent %d messages, the server got %d", m.id, client.Sent, server.Received)
	}
}
