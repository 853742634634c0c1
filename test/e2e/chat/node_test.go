//go:build unix

package chat

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// A server in Go and one in Node share a room, and each takes over sessions of
// the other: in a drain, and after a crash.
func TestNodeChat(t *testing.T) {
	const room = "žluť, a+b=c/100%" // to be escaped alike
	redis := redistest.Start(t, "--appendonly", "yes")
	inGo, inNode := startGoChat(t, "in-go", redis), startNodeChat(t, "in-node", redis)
	b := kit.StartBalancer(t, chatFile(testkit.Engines()[0], inGo, inNode))
	awaitUp(t, b, inGo, inNode)

	const members = 8
	var all []*chatMember
	for i := range members {
		all = append(all, enterChat(t, b.Address, fmt.Sprintf("m/%d é", i), room))
	}
	checkPeople(t, all, all)
	servedBy(t, all, "in-go", members/2)
	servedBy(t, all, "in-node", members/2)

	said := 0
	// speak has all post in turn while something happens, and then waits until
	// all have all.
	speak := func(during func()) {
		t.Helper()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 60 {
				all[said%members].post(fmt.Sprint("message ", said))
				said++
				time.Sleep(25 * time.Millisecond)
			}
		}()
		during()
		<-done
		for _, m := range all {
			m.awaitMessages(t, said)
		}
	}
	speak(func() {})
	for _, s := range []*chatServer{inGo, inNode} {
		speak(func() { rollChat(t, b, s, nil) })
		servedBy(t, all, s.name, 0)
	}
	servedBy(t, all, "in-go", members)
	for _, s := range []*chatServer{inGo, inNode} {
		speak(func() { s.Kill(t) })
		servedBy(t, all, s.name, 0)
		s.start(t)
		awaitUp(t, b, s)
	}
	// A server is stopped before the balancer knows about it.
	speak(func() { inGo.stop(t) })
	inGo.start(t)
	awaitUp(t, b, inGo)
	speak(func() { inNode.stop(t) })

	checkPeople(t, all, all)
	f := &kit.Faults{T: t}
	for _, m := range all {
		m.mu.Lock()
		if len(m.endings) > 0 || len(m.gone) > 0 {
			f.Add("%s had connections that ended: %v; it was told that %v were gone", m.id, m.endings, m.gone)
		}
		m.mu.Unlock()
	}
	checkRoom(f, room, said, all, redis)
	f.Sum("members")
	tellOfChat(t, all, said)
	scatter(all)
	b.Stop(t)
}

// servedBy checks how many of the members are on a server.
func servedBy(t testing.TB, all []*chatMember, name string, want int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%d members on %s", want, name), func() bool {
		n := 0
		for _, m := range all {
			m.mu.Lock()
			if m.served[len(m.served)-1] == name {
				n++
			}
			m.mu.Unlock()
		}
		return n == want
	})
}

// checkPeople checks that each of these eventually sees exactly those in the
// room.
func checkPeople(t testing.TB, these, those []*chatMember) {
	t.Helper()
	for _, m := range these {
		testkit.Eventually(t, "right: what "+m.id+" knows of who is there", func() bool { return m.knows(those) })
	}
}

func (m *chatMember) knows(all []*chatMember) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.people) == len(all) && !slices.ContainsFunc(all, func(other *chatMember) bool { return !m.people[other.id] })
}
