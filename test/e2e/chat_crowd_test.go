//go:build unix

package e2e

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
)

// chatterEnv is for how long the crowd of TestChatCrowd talks.
const chatterEnv = "HOLDFAST_E2E_CHATTER"

// Many people talk in many rooms while each of the servers, one of them in Node,
// is restarted, Redis is killed in the middle of that and comes back, and in the
// end the server in Node crashes: everybody has every message of their room once,
// in its order.
func TestChatCrowd(t *testing.T) {
	const rooms, members, pause, away = 150, 1500, 5 * time.Second, time.Second
	chatter, err := time.ParseDuration(cmp.Or(os.Getenv(chatterEnv), "20s"))
	if err != nil {
		t.Fatal(err)
	}
	redis := startRedis(t)
	servers := []*chatServer{startNodeChat(t, "chat-1", redis), startGoChat(t, "chat-2", redis), startGoChat(t, "chat-3", redis)}
	b := balance(t, chatFile(engines[0], servers...))
	b.awaitUp(t, servers...)

	crowd := make([]*chatMember, members)
	for i := range crowd {
		crowd[i] = newChatMember(b.address, fmt.Sprintf("member-%d", i), fmt.Sprintf("room-%d", i%rooms))
	}
	t.Cleanup(func() { scatter(crowd) })
	inParallel(members, func(i int) error {
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
		b.rollChat(t, s, func() {
			if i == 1 {
				redis.restart(t, away)
			}
		})
	}
	at(4)
	servers[0].kill(t)
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
	f := &faults{t: t}
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
	f.sum("members")
	tellOfChat(t, crowd, total)
	if took := time.Since(silent); took > patience {
		t.Errorf("the last message came %v after it was posted", took)
	}
	scatter(crowd)
	b.stop(t)
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

// checkRoom: every member has what the room's stream has, in its order, and
// that is each of the posts once.
func checkRoom(f *faults, room string, posted int, members []*chatMember, redis *redisServer) {
	client := redis.client()
	defer client.Close()
	stream, err := client.XRange(context.Background(), "chat:{"+strings.ReplaceAll(url.QueryEscape(room), "+", "%20")+"}:s", "-", "+").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	var ids []string
	keys := map[any]bool{}
	for _, entry := range stream {
		ids = append(ids, entry.ID)
		keys[entry.Values["k"]] = true
	}
	if len(ids) != posted || len(keys) != posted {
		f.add("%s: %d posts, and a stream of %d messages with %d keys", room, posted, len(ids), len(keys))
	}
	for _, m := range members {
		m.mu.Lock()
		var got []string
		for _, message := range m.got {
			got = append(got, message.ID)
		}
		if m.gaps > 0 || len(m.unseen) > 0 {
			f.add("%s was told of %d gaps, and hasn't seen %d of its posts", m.id, m.gaps, len(m.unseen))
		}
		m.mu.Unlock()
		if !slices.Equal(got, ids) {
			f.add("%s in %s has other messages than its stream: %v", m.id, room, difference(got, ids))
		}
	}
}

// difference tells what is missing in got, or too much, or out of order.
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

// scatter has all members leave.
func scatter(crowd []*chatMember) {
	inParallel(len(crowd), func(i int) error {
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
