package hub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
)

// server is a hub that the test kills or closes.
type server struct {
	hub.Hub
	alive context.Context
	end   context.CancelFunc
}

// Servers restart one after another, one by a crash while Redis restarts too.
// Members resume on another server. Each gets all messages of its room, once and
// in one order.
func TestServersAndRedisRestart(t *testing.T) {
	t.Parallel()
	const rooms, members, each = 15, 10, 150
	s := startRedis(t, durable...)
	var servers [3]atomic.Pointer[server]
	start := func(i int) {
		p := &server{Hub: s.hub(hub.RedisOptions{Timeout: time.Second, Options: hub.Options{History: 2 * each}})}
		p.alive, p.end = context.WithCancel(context.Background())
		servers[i].Store(p)
	}
	for i := range servers {
		start(i)
	}
	randomServer := func() *server { return servers[rand.IntN(len(servers))].Load() }
	testCtx, cancel := context.WithTimeout(context.Background(), 4*longTimeout)
	defer cancel()

	var publishing, reading sync.WaitGroup
	got := make([][]string, rooms*members)
	for i := range got {
		room := strconv.Itoa(i % rooms)
		// Join once before there are messages, to get the position to start from.
		m := join(t, randomServer(), room, strconv.Itoa(i), hub.JoinOptions{})
		since := m.Last()
		m.Leave()
		reading.Go(func() {
			for len(got[i]) < each && testCtx.Err() == nil {
				p := randomServer()
				m, err := p.Join(p.alive, room, hub.Member{ID: strconv.Itoa(i)}, hub.JoinOptions{Since: since})
				if err != nil {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				for len(got[i]) < each {
					e, err := m.Next(p.alive)
					if err != nil {
						break
					}
					got[i] = append(got[i], e.ID+" "+describe(e))
				}
				since = m.Last()
				m.Leave()
			}
		})
	}
	for r := range rooms {
		publishing.Go(func() {
			for n := range each {
				key := fmt.Sprintf("%d/%d", r, n)
				for testCtx.Err() == nil {
					p := randomServer()
					if _, err := p.PublishWith(p.alive, strconv.Itoa(r), []byte(key), hub.PublishOptions{Key: key}); err == nil {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	for i := range servers {
		old := servers[i].Load()
		start(i)
		if i == 1 {
			s.kill()
			time.Sleep(50 * time.Millisecond)
			s.start()
			hub.Crash(old.Hub)
		} else {
			_ = old.Close() // an error is possible if Redis has only just restarted
		}
		old.end()
		time.Sleep(200 * time.Millisecond)
	}
	publishing.Wait()
	reading.Wait()
	for i := range got {
		if first := got[i%rooms]; !slices.Equal(got[i], first) || len(first) != each {
			t.Fatalf("of %d messages, members %d and %d of the same room have\n%q\n%q", each, i%rooms, i, first, got[i])
		}
		unique := map[string]bool{}
		for _, s := range got[i] {
			_, data, _ := strings.Cut(s, " ")
			unique[data] = true
		}
		if len(unique) != each {
			t.Errorf("member %d has messages twice: %q", i, got[i])
		}
	}
}
