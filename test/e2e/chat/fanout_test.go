//go:build unix

package chat

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/redistest"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// BenchmarkChatFanOut is one message to a room of 1,000 members on three
// servers, with and without a balancer before them, and with servers in Node;
// the time of an operation is until the last member has it. The figures of
// docs/hub.md:
//
//	go test ./test/e2e/chat -run '^$' -bench ChatFanOut -benchtime 300x
func BenchmarkChatFanOut(b *testing.B) {
	for _, way := range append([]string{"direct", "node"}, testkit.Engines()...) {
		b.Run(way, func(b *testing.B) { benchmarkFanOut(b, way) })
	}
}

func benchmarkFanOut(b *testing.B, way string) {
	const members = 1000
	redis := redistest.Start(b)
	startChat, behindBalancer := startGoChat, true
	switch way {
	case "direct":
		behindBalancer = false
	case "node":
		startChat, behindBalancer = startNodeChat, false
	}
	var servers []*chatServer
	var addresses []string
	for i := range 3 {
		servers = append(servers, startChat(b, fmt.Sprint("chat-", i+1), redis))
		addresses = append(addresses, servers[i].address)
	}
	if behindBalancer {
		balancer := kit.StartBalancer(b, chatFile(way, servers...))
		awaitUp(b, balancer, servers...)
		addresses = []string{balancer.Address}
	}

	var mu sync.Mutex
	var posted time.Time
	var delays []time.Duration
	var arrived, reading sync.WaitGroup
	room := make([]*wspeer.Conn, members)
	b.Cleanup(func() {
		kit.CutAll(room)
		reading.Wait()
	})
	arrived.Add(members) // of the first message, which isn't counted
	if err := kit.InParallel(members, func(i int) error {
		w, _, err := wspeer.Dial(addresses[i%len(addresses)], "/ws")
		if err != nil {
			return err
		}
		room[i] = w
		joined := make(chan struct{})
		reading.Go(func() {
			for {
				text, err := w.Message()
				if c, ok := err.(*wspeer.CloseError); ok {
					panic(fmt.Sprintf("member %d was %v", i, c)) // or the wait for arrived would never end
				}
				if err != nil {
					return
				}
				if strings.HasPrefix(text, `{"type":"joined"`) {
					close(joined)
				}
				if at := time.Now(); strings.HasPrefix(text, `{"type":"message"`) {
					mu.Lock()
					delays = append(delays, at.Sub(posted))
					mu.Unlock()
					arrived.Done()
				}
			}
		})
		if err := w.SendText(fmt.Sprintf(`{"type":"join","member":"m%d","name":"member","room":"hall"}`, i)); err != nil {
			return err
		}
		<-joined
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	post := func(n int) {
		mu.Lock()
		posted = time.Now()
		mu.Unlock()
		text := fmt.Sprintf(`{"type":"post","key":"%d","text":%q}`, n, strings.Repeat("x", 100))
		if err := room[n%members].SendText(text); err != nil {
			b.Fatal(err)
		}
		arrived.Wait()
	}
	post(0)
	delays = nil
	used := redis.ProcessorTime(b)
	n := 0
	for b.Loop() {
		n++
		arrived.Add(members)
		post(n)
	}
	b.ReportMetric(float64((redis.ProcessorTime(b)-used).Microseconds())/float64(n), "redis-µs/op")
	slices.Sort(delays)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(delays[len(delays)*p/100].Microseconds())/1000, fmt.Sprintf("ms-p%d", p))
	}
}
