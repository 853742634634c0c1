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

// chatLease is the lease of the chat's hub: members of a crashed server are
// removed within it.
const chatLease = 5 * time.Second

// A server crashes. Its members behind a balancer continue on another server
// and are never reported as gone. Those who connected to it directly, and don't
// come back, are reported as gone within the lease, and not before the crash.
func TestChatPresenceAfterCrash(t *testing.T) {
	const moved, lost = 9, 6
	redis := redistest.Start(t, "--appendonly", "yes")
	crashing, staying, inNode := startGoChat(t, "crashing", redis), startGoChat(t, "staying", redis), startNodeChat(t, "in-node", redis)
	b := kit.StartBalancer(t, chatFile(testkit.Engines()[0], crashing, staying, inNode))
	awaitUp(t, b, crashing, staying, inNode)

	remain := []*chatMember{enterChat(t, staying.address, "watches-go", "hall"), enterChat(t, inNode.address, "watches-node", "hall")}
	watchers := remain[:2:2]
	for i := range moved {
		remain = append(remain, enterChat(t, b.Address, fmt.Sprintf("moved-%d", i), "hall"))
	}
	servedBy(t, remain, "crashing", moved/3)
	all := slices.Clone(remain)
	for i := range lost {
		all = append(all, enterChat(t, crashing.address, fmt.Sprintf("lost-%d", i), "hall"))
	}
	checkPeople(t, watchers, all)

	crashed := time.Now()
	crashing.Kill(t)
	for _, m := range all[len(remain):] {
		m.cancel() // before it looks for another server
	}
	servedBy(t, remain, "crashing", 0)
	checkPeople(t, watchers, remain)
	kit.AtMost(t, "until the members of a server that crashed were gone", time.Since(crashed), chatLease+time.Second)
	newcomer := enterChat(t, inNode.address, "newcomer", "hall")
	remain = append(remain, newcomer)
	checkPeople(t, remain, remain)
	for _, m := range watchers {
		m.mu.Lock()
		slices.Sort(m.gone)
		if want := []string{"lost-0", "lost-1", "lost-2", "lost-3", "lost-4", "lost-5"}; !slices.Equal(m.gone, want) {
			t.Errorf("%s saw that %v are gone, want %v", m.id, m.gone, want)
		}
		m.mu.Unlock()
	}
	scatter(all)
	newcomer.leave()
	b.Stop(t)
}
