//go:build unix

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A server in Go and one in Node share a room, and each takes over the sessions
// of the other: in a drain, and after a crash.
func TestNodeChat(t *testing.T) {
	const room = "žluť, a+b=c/100%" // to be escaped alike
	redis := startRedis(t)
	inGo, inNode := startGoChat(t, "in-go", redis), startNodeChat(t, "in-node", redis)
	b := balance(t, chatFile(engines[0], inGo, inNode))
	b.awaitUp(t, inGo, inNode)

	const members = 8
	var all []*chatMember
	for i := range members {
		all = append(all, enterChat(t, b.address, fmt.Sprintf("m/%d é", i), room))
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
		speak(func() { b.rollChat(t, s, nil) })
		servedBy(t, all, s.name, 0)
	}
	servedBy(t, all, "in-go", members)
	for _, s := range []*chatServer{inGo, inNode} {
		speak(func() { s.kill(t) })
		servedBy(t, all, s.name, 0)
		s.start(t)
		b.awaitUp(t, s)
	}
	// A server that is told to stop without the balancer having heard of it.
	speak(func() { inGo.stop(t) })
	inGo.start(t)
	b.awaitUp(t, inGo)
	speak(func() { inNode.stop(t) })

	checkPeople(t, all, all)
	f := &faults{t: t}
	for _, m := range all {
		m.mu.Lock()
		if len(m.endings) > 0 || len(m.gone) > 0 {
			f.add("%s had connections that ended: %v; it was told that %v were gone", m.id, m.endings, m.gone)
		}
		m.mu.Unlock()
	}
	checkRoom(f, room, said, all, redis)
	f.sum("members")
	tellOfChat(t, all, said)
	scatter(all)
	b.stop(t)
}

// servedBy: so many of the members are on that server.
func servedBy(t testing.TB, all []*chatMember, name string, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d members on %s", want, name), func() bool {
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

// checkPeople: each of these comes to know that exactly those are in the room.
func checkPeople(t testing.TB, these, those []*chatMember) {
	t.Helper()
	for _, m := range these {
		eventually(t, "right: what "+m.id+" knows of who is there", func() bool { return m.knows(those) })
	}
}

func (m *chatMember) knows(all []*chatMember) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.people) == len(all) && !slices.ContainsFunc(all, func(other *chatMember) bool { return !m.people[other.id] })
}
