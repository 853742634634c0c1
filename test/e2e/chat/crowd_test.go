//go:build unix

package chat

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// chatterEnv is how long the crowd of TestChatCrowd chats, which then has 1,500 members.
const chatterEnv = "HOLDFAST_E2E_CHATTER"

// Many people chat in many rooms while each of the servers, one of them in
// Node, is restarted, Redis is killed and comes back, and at the end the server
// in Node crashes. Everybody has every message of their room once and in order.
func TestChatCrowd(t *testing.T) {
	const pause, away = 5 * time.Second, time.Second
	rooms := 50
	if os.Getenv(chatterEnv) != "" {
		rooms = 150
	}
	members := 10 * rooms
	chatter, err := time.ParseDuration(cmp.Or(os.Getenv(chatterEnv), "20s"))
	if err != nil {
		t.Fatal(err)
	}
	redis := redistest.Start(t, "--appendonly", "yes")
	servers := []*chatServer{startNodeChat(t, "chat-1", redis), startGoChat(t, "chat-2", redis), startGoChat(t, "chat-3", redis)}
	b := kit.StartBalancer(t, chatFile(testkit.Engines()[0], servers...))
	awaitUp(t, b, servers...)

	crowd := make([]*chatMember, members)
	for i := range crowd {
		crowd[i] = newChatMember(b.Address, fmt.Sprintf("member-%d", i), fmt.Sprintf("room-%d", i%rooms))
	}
	t.Cleanup(func() { scatter(crowd) })
	kit.InParallel(members, func(i int) error {
		crowd[i].start()
		return nil
	})
	for _, m := range crowd {
		m.awaitPresent(t)
	}

	ctx, hush := context.WithCancel(context.Background())
	defer hush()
	var talking sync.WaitGroup
	for _, m := range crowd {
		talking.Go(func() { m.chatter(ctx, pause) })
	}
	began := time.Now()
	at := func(part int) { time.Sleep(time.Until(began.Add(chatter * time.Duration(part) / 5))) }
	for i, s := range servers {
		at(i + 1)
		rollChat(t, b, s, func() {
			if i == 1 {
				redis.Restart(t, away)
			}
		})
	}
	at(4)
	servers[0].Kill(t)
	servers[0].start(t)
	at(5)
	hush()
	talking.Wait()
	silent := time.Now()

	byRoom := map[string][]*chatMember{}
	for _, m := range crowd {
		byRoom[m.room] = append(byRoom[m.room], m)
	}
	total := 0
	f := &kit.Faults{T: t}
	for room, members := range byRoom {
		posted := 0
		for _, m := range members {
			posted += m.posted
		}
		for _, m := range members {
			m.awaitMessages(t, posted)
		}
		checkRoom(f, room, posted, members, redis)
		total += posted
	}
	f.Sum("members")
	tellOfChat(t, crowd, total)
	if took := time.Since(silent); took > testkit.Patience {
		t.Errorf("the last message came %v after it was posted", took)
	}
	scatter(crowd)
	b.Stop(t)
}

// chatter posts until ctx ends, a pause apart on average. Now and then the
// connection is lost.
func (m *chatMember) chatter(ctx context.Context, pause time.Duration) {
	for n := 1; ; n++ {
		select {
		case <-time.After(rand.N(2 * pause)):
			m.post(fmt.Sprintf("%s says %d", m.id, n))
			if rand.N(40) == 0 {
				m.lose()
			}
		case <-ctx.Done():
			return
		}
	}
}

// checkRoom checks that every member has the messages of the room's stream, in
// order, and that the stream has each post once.
func checkRoom(f *kit.Faults, room string, posted int, members []*chatMember, redis *redistest.Server) {
	client := redis.Client()
	defer client.Close()
	stream, err := client.XRange(context.Background(), "chat:{"+strings.ReplaceAll(url.QueryEscape(room), "+", "%20")+"}:s", "-", "+").Result()
	if err != nil {
		f.T.Fatal(err)
	}
	var ids []string
	keys := map[any]bool{}
	for _, entry := range stream {
		ids = append(ids, entry.ID)
		keys[entry.Values["k"]] = true
	}
	if len(ids) != posted || len(keys) != posted {
		f.Add("%s: %d posts, and a stream of %d messages with %d keys", room, posted, len(ids), len(keys))
	}
	for _, m := range members {
		m.mu.Lock()
		var got []string
		for _, message := range m.got {
			got = append(got, message.ID)
		}
		if m.gaps > 0 || len(m.unseen) > 0 {
			f.Add("%s received %d gaps, and hasn't seen %d of its posts", m.id, m.gaps, len(m.unseen))
		}
		m.mu.Unlock()
		if !slices.Equal(got, ids) {
			f.Add("%s in %s has other messages than its stream: %v", m.id, room, difference(got, ids))
		}
	}
}

// difference describes messages that are missing in got, superfluous, or out of
// order.
func difference(got, want []string) string {
	count := map[string]int{}
	for _, id := range got {
		count[id]++
	}
	for _, id := range want {
		count[id]--
	}
	maps.DeleteFunc(count, func(_ string, n int) bool { return n == 0 })
	if len(count) == 0 {
		return "in another order"
	}
	return fmt.Sprintf("%.200v", count)
}

// scatter makes all members leave.
func scatter(crowd []*chatMember) {
	kit.InParallel(len(crowd), func(i int) error {
		crowd[i].leave()
		return nil
	})
}

func tellOfChat(t testing.TB, crowd []*chatMember, messages int) {
	t.Helper()
	moves, endings := map[string]int{}, map[string]int{}
	for _, m := range crowd {
		m.mu.Lock()
		for reason, n := range m.moves {
			moves[reason] += n
		}
		for how, n := range m.endings {
			endings[how] += n
		}
		m.mu.Unlock()
	}
	t.Logf("%d members, %d messages; moved to another server by reason: %v; connections ended: %v", len(crowd), messages, moves, endings)
}
