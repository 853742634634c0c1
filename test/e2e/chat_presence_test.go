//go:build unix

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// chatLease is the lease of the chat's hub: within that, members of a server
// that crashed are gone.
const chatLease = 5 * time.Second

// A server crashes. Those of its members who have a balancer go on elsewhere and
// are never said to be gone; those who came to it directly, and don't come
// back, are gone within the lease, and not before the crash.
func TestChatPresenceAfterCrash(t *testing.T) {
	const moved, lost = 9, 6
	redis := startRedis(t)
	crashing, staying, inNode := startGoChat(t, "crashing", redis), startGoChat(t, "staying", redis), startNodeChat(t, "in-node", redis)
	b := balance(t, chatFile(engines[0], crashing, staying, inNode))
	b.awaitUp(t, crashing, staying, inNode)

	remain := []*chatMember{enterChat(t, staying.address, "watches-go", "hall"), enterChat(t, inNode.address, "watches-node", "hall")}
	watchers := remain[:2:2]
	for i := range moved {
		remain = append(remain, enterChat(t, b.address, fmt.Sprintf("moved-%d", i), "hall"))
	}
	servedBy(t, remain, "crashing", moved/3)
	all := slices.Clone(remain)
	for i := range lost {
		all = append(all, enterChat(t, crashing.address, fmt.Sprintf("lost-%d", i), "hall"))
	}
	checkPeople(t, watchers, all)

	crashed := time.Now()
	crashing.kill(t)
	for _, m := range all[len(remain):] {
		m.cancel() // before it looks for another server
	}
	servedBy(t, remain, "crashing", 0)
	checkPeople(t, watchers, remain)
	took := time.Since(crashed)
	t.Logf("the members of the server that crashed were gone after %v", took)
	if took > chatLease+time.Second {
		t.Errorf("that is later than the lease of %v", chatLease)
	}
	newcomer := enterChat(t, inNode.address, "newcomer", "hall")
	remain = append(remain, newcomer)
	checkPeople(t, remain, remain)
	for _, m := range watchers {
		m.mu.Lock()
		slices.Sort(m.gone)
		if want := []string{"lost-0", "lost-1", "lost-2", "lost-3", "lost-4", "lost-5"}; !slices.Equal(m.gone, want) {
			t.Errorf("%s was told that %v are gone, want %v", m.id, m.gone, want)
		}
		m.mu.Unlock()
	}
	scatter(all)
	newcomer.leave()
	b.stop(t)
}
