//go:build linux

package rolling

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// What the pods of the chat do: they are killed 15 s after their deletion, and get SIGTERM
// after 11 s.
const grace, sleep = 15, 11

const (
	withReattach = `
  reattach: {on: [drain, loss], timeout: 10s}
  drain: {timeout: 10s, spread: 5s}`
	withoutReattach = `
  drain: {timeout: 9s, spread: 6s}`
)

var chatLabels = map[string]string{"app": "chat"}

// TestSessions is one test, since it takes a while to install everything.
func TestSessions(t *testing.T) {
	i := install(t, grace, sleep, withReattach)
	t.Run("changes of others", func(t *testing.T) { testChangesOfOthers(t, i) })
	t.Run("update with reattach", func(t *testing.T) { testReattach(t, i) })
	t.Run("the controller is killed", func(t *testing.T) { testControllerIsKilled(t, i) })
	t.Run("the controller is updated", func(t *testing.T) { testControllerIsUpdated(t, i) })
	i.Apply(t, i.ns, chatPolicy(withoutReattach))
	t.Run("update without reattach", func(t *testing.T) { testWithoutReattach(t, i) })
}

// testReattach: with reattach, an update of all pods closes no session, and no message is
// lost or doubled.
func testReattach(t *testing.T, i *installed) {
	c := newClients(t, false)
	n := sessions(300)
	c.open(t, n, i.url)
	before := c.pods()
	began := time.Now()
	i.restart(t, i.ns, "chat", chatLabels)
	took := time.Since(began)
	c.progress(t)
	if closed := c.closings(); len(closed) > 0 {
		t.Errorf("%d of %d sessions were closed, the first with %d", len(closed), n, closed[0].code)
	}
	for _, pod := range c.pods() {
		if slices.Contains(before, pod) {
			t.Errorf("a session is still on the pod %s, which is gone", pod)
		}
	}
	total := 0
	for _, answers := range c.answers() {
		total += answers
	}
	t.Logf("%d sessions, %d messages, an update of %s: no session closed, no message lost or doubled", n, total, took.Round(time.Second))
}

// testWithoutReattach: without it, the sessions of each pod are closed with 1001, spread
// over the time that the pod has, and never by the kubelet.
func testWithoutReattach(t *testing.T, i *installed) {
	c := newClients(t, true)
	n := sessions(300)
	c.open(t, n, i.url)
	i.restart(t, i.ns, "chat", chatLabels)
	c.progress(t)
	closed := c.closings()
	if len(closed) < n {
		t.Fatalf("%d sessions were closed by an update that leaves none of %d their pod", len(closed), n)
	}
	bySecond, codes := map[int]int{}, map[int]int{}
	for _, one := range closed {
		codes[int(one.code)]++
		bySecond[int(one.at.Sub(closed[0].at)/time.Second)]++
	}
	if codes[1001] != len(closed) {
		t.Errorf("close codes: %v, want 1001 alone", codes)
	}
	// The three drains overlap. Even all of them in the same six seconds would close a
	// sixth of the sessions each second; a slow machine may be late.
	if worst := slices.Max(slices.Collect(maps.Values(bySecond))); worst > len(closed)/2 {
		t.Errorf("%d of %d closes were within a second", worst, len(closed))
	}
	var seconds []int
	for s := range slices.Max(slices.Collect(maps.Keys(bySecond))) + 1 {
		seconds = append(seconds, bySecond[s])
	}
	t.Logf("%d sessions, %d closes by second: %v", n, len(closed), seconds)
}
