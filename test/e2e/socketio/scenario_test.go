//go:build unix

package socketio

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// Two servers are restarted one after the other, and then one is killed. No client of 40 (or
// 200) in Node and in Chromium, by both transports, notices the restarts: no disconnect, every
// ack in both directions, every broadcast once and in order. None is disconnected by the kill.
func TestBoard(t *testing.T) {
	b, servers := startBoard(t)
	n := clients(t)
	all := startCrowds(t, "http://"+b.Address, n, max(time.Second, time.Duration(n)*time.Second/50))
	explain(t, b, all)
	sum := acks{}
	count := func(a acks) {
		t.Helper()
		sum.Asked += a.Asked
		sum.Answered += a.Answered
		sum.Unanswered += a.Unanswered
		if a.Answered != a.Asked || a.Answered == 0 {
			t.Errorf("of the servers' questions: %+v", a)
		}
	}

	tell(t, all, "start")
	awaitAnswers(t, all, ask(t, all), 2)
	for _, s := range servers {
		s.Signal(t, syscall.SIGTERM)
		count(s.exited(t))
		awaitAnswers(t, all, ask(t, all), 1) // with one server
		s.start(t)
		b.AwaitState(t, "board", s.name, "up")
	}
	r := quiet(t, all, false)
	r.check(t, false)
	show(t, b, "rolling restart", r, 0)
	t.Logf("acks of clients to servers: %+v", sum)

	before := len(b.LogEntries("session moved"))
	tell(t, all, "start")
	awaitAnswers(t, all, r, 1)
	servers[0].Kill(t)
	awaitAnswers(t, all, ask(t, all), 2)
	after := quiet(t, all, true)
	after.check(t, true)
	show(t, b, "kill -9", after, before)
	t.Logf("lost by the kill: %d events without an ack, %d broadcasts lost, %d doubled, %d reordered",
		after.total(func(m member) int { return m.Sent - m.Answered }), after.total(func(m member) int { return m.Lost }),
		after.total(func(m member) int { return m.Doubled }), after.total(func(m member) int { return m.Reordered }))
}

// show logs figures: the moves from position on in the log, and the traffic so far.
func show(t testing.TB, b *kit.Balancer, what string, r report, position int) {
	t.Helper()
	var gaps []time.Duration
	for _, m := range b.LogEntries("session moved")[position:] {
		gaps = append(gaps, time.Duration(m["gap"].(float64)*float64(time.Second)))
	}
	if len(gaps) == 0 {
		t.Fatalf("%s: no session was moved", what)
	}
	slices.Sort(gaps)
	t.Logf("%s: %d moves, gap p50 %v, max %v; %d events answered of %d, the slowest after %d ms; %d broadcasts received",
		what, len(gaps), gaps[len(gaps)/2], gaps[len(gaps)-1],
		r.total(func(m member) int { return m.Answered }), r.total(func(m member) int { return m.Sent }),
		slices.MaxFunc(r.Members, func(a, b member) int { return a.Slowest - b.Slowest }).Slowest,
		r.total(func(m member) int { return m.Received }))
}

// explain logs what the balancer and the clients have seen, if the test fails.
func explain(t *testing.T, b *kit.Balancer, all []crowd) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		seen := map[string]int{}
		for _, line := range b.Stderr.Lines(0) {
			if e := kit.ParseEvent(line); e != nil {
				seen[fmt.Sprint(e["msg"], e["reason"], e["result"], e["cause"], e["close_code"])]++
			}
		}
		for what, n := range seen {
			t.Logf("in the balancer's log, %d times: %s", n, what)
		}
		for _, m := range ask(t, all).Members {
			t.Logf("%s: %d of %d answered, %d not; disconnects %q, errors %q, servers %q", m.Name, m.Answered, m.Sent, m.Unanswered, m.Disconnects, m.Errors, m.Servers)
		}
	})
}
