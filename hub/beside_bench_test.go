//go:build unix

package hub_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/hub"
)

// BenchmarkBesideLargeRoom publishes to rooms of two members, a message each
// millisecond, in turn for half a second alone, and for half a second while a room
// of 10,000 members on the same server gets a message each 100 ms. All members read
// with Next, each in a goroutine. It compares how long the messages of the small
// rooms take.
func BenchmarkBesideLargeRoom(b *testing.B) {
	for name, open := range map[string]func() hub.Hub{
		"redis":  func() hub.Hub { return startRedis(b).hub(hub.RedisOptions{}) },
		"memory": func() hub.Hub { h, _ := memoryHubs(b, hub.Options{}); return h },
	} {
		b.Run(name, func(b *testing.B) { benchmarkBesideLargeRoom(b, open()) })
	}
}

func benchmarkBesideLargeRoom(b *testing.B, h hub.Hub) {
	const large, small = 10_000, 100
	var reading sync.WaitGroup
	read := func(m *hub.Membership, received func(stamp []byte)) {
		reading.Go(func() {
			for {
				e, err := m.Next(context.Background())
				if err != nil {
					return
				}
				received(e.Data)
			}
		})
	}
	var alone, beside, inLarge latencies
	current, arrived := &alone, make(chan struct{}, 2)
	for i := range small {
		for _, name := range []string{"ann", "bob"} {
			read(join(b, h, "small "+strconv.Itoa(i), name, hub.JoinOptions{}), func(stamp []byte) {
				current.add(stamp)
				arrived <- struct{}{}
			})
		}
	}
	var got atomic.Int64
	for i := range large {
		read(join(b, h, "large", strconv.Itoa(i), hub.JoinOptions{Observer: true}), func(stamp []byte) {
			if got.Add(1)%large == 0 { // the last member, if messages don't overlap
				inLarge.add(stamp)
			}
		})
	}
	send := func(to *latencies) {
		current = to
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := range 500 {
			<-tick.C
			if _, err := h.Publish(context.Background(), "small "+strconv.Itoa(i%small), stamp()); err != nil {
				b.Fatal(err)
			}
			<-arrived
			<-arrived
		}
	}
	for b.Loop() {
		send(&alone)
		stop := make(chan struct{})
		var publishing sync.WaitGroup
		publishing.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := h.Publish(context.Background(), "large", stamp()); err != nil {
					b.Error(err)
				}
				select {
				case <-tick.C:
				case <-stop:
					return
				}
			}
		})
		send(&beside)
		close(stop)
		publishing.Wait()
	}
	b.StopTimer()
	if err := h.Close(); err != nil {
		b.Fatal(err)
	}
	reading.Wait()
	p99 := func(l *latencies, name string) float64 {
		for _, p := range []int{50, 99} {
			b.ReportMetric(float64(l.percentile(p).Microseconds()), fmt.Sprintf("us-p%d-%s", p, name))
		}
		return float64(l.percentile(99))
	}
	p99(&inLarge, "large")
	b.ReportMetric(p99(&beside, "beside")/p99(&alone, "alone"), "p99-ratio")
}
