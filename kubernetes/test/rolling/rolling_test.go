//go:build linux

package rolling

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// TestReattach: with reattach, an update of all pods closes no session, and no message is
// lost or doubled.
func TestReattach(t *testing.T) {
	i := install(t, 15, 12*time.Second, `
  reattach: {on: [drain, loss], timeout: 10s}
  drain: {timeout: 10s, spread: 5s}`)
	c := newClients(t, false)
	n := sessions(300)
	c.open(t, i.url, n)
	before := c.pods()
	began := time.Now()
	i.restart(t, i.ns, "chat", map[string]string{"app": "chat"})
	took := time.Since(began)
	c.progress(t)
	if closed := c.closings(); len(closed) > 0 {
		t.Errorf("%d of %d sessions were closed, the first with %d", len(closed), n, closed[0].code)
	}
	old := map[string]bool{}
	for _, pod := range before {
		old[pod] = true
	}
	for _, pod := range c.pods() {
		if old[pod] {
			t.Errorf("a session is still on the pod %s, which is gone", pod)
		}
	}
	total := 0
	for _, answers := range c.answers() {
		total += answers
	}
	t.Logf("%d sessions, %d messages, an update of %s: no session closed, no message lost or doubled", n, total, took.Round(time.Second))
}

// TestWithoutReattach: without it, the sessions of each pod are closed with 1001, spread
// over the time that the pod has, and never by the kubelet.
func TestWithoutReattach(t *testing.T) {
	i := install(t, 15, time.Minute, `
  drain: {timeout: 9s, spread: 6s}`)
	c := newClients(t, true)
	n := sessions(300)
	c.open(t, i.url, n)
	i.restart(t, i.ns, "chat", map[string]string{"app": "chat"})
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
	// The three drains overlap. Even all of them in the same six seconds would close half
	// of the sessions in a second at most.
	if worst := slices.Max(slices.Collect(maps.Values(bySecond))); worst > len(closed)/2 {
		t.Errorf("%d of %d closes were within a second", worst, len(closed))
	}
	var seconds []int
	for s := range slices.Max(slices.Collect(maps.Keys(bySecond))) + 1 {
		seconds = append(seconds, bySecond[s])
	}
	t.Logf("%d sessions, %d closes by second: %v", n, len(closed), seconds)
}
