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

// process is a server that may be killed or shut down.
type process struct {
	hub.Hub
	alive context.Context
	end   context.CancelFunc
}

// Servers restart one after another, some by a crash, and Redis in the middle
// of it. Members resume on another server: each has all messages of its room,
// once and in one order.
func TestServersAndRedisRestart(t *testing.T) {
	t.Parallel()
	const rooms, members, each = 15, 10, 150
	s := startRedis(t, durable...)
	var servers [3]atomic.Pointer[process]
	start := func(i int) {
		p := &process{Hub: s.hub(hub.RedisOptions{Timeout: time.Second, Options: hub.Options{History: 2 * each}})}
		p.alive, p.end = context.WithCancel(context.Background())
		servers[i].Store(p)
	}
	for i := range servers {
		start(i)
	}
	any := func() *process { return servers[rand.IntN(len(servers))].Load() }
	give, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()

	var publishing, reading sync.WaitGroup
	got := make([][]string, rooms*members)
	for i := range got {
		room := strconv.Itoa(i % rooms)
		// The first time there is nothing to wait for, and no message yet.
		m := join(t, any(), room, strconv.Itoa(i), hub.JoinOptions{})
		since := m.Last()
		m.Leave()
		reading.Go(func() {
			for len(got[i]) < each && give.Err() == nil {
				p := any()
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
					got[i] = append(got[i], e.ID+" "+word(e))
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
				for give.Err() == nil {
					p := any()
					if _, err := p.PublishOnce(p.alive, strconv.Itoa(r), key, []byte(key)); err == nil {
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
			_ = old.Close() // the last may find that Redis has only just come back
		}
		old.end()
		time.Sleep(200 * time.Millisecond)
	}
	publishing.Wait()
	reading.Wait()
	for i := range got {
		if first := got[i%rooms]; !slices.Equal(got[i], first) || len(first) != each {
			t.Fatalf("of %d messages, members %d and %d of a room have\n%q\n%q", each, i%rooms, i, first, got[i])
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
