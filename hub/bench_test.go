//go:build unix

package hub_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast-ws/holdfast/hub"
)

// These benchmarks measure the figures of docs/hub.md:
//
//	go test ./hub -run '^$' -bench . -benchtime 5000x

const benchRooms, benchServers = 10_000, 3

// BenchmarkChannels compares the cost of pub/sub for 10,000 rooms and three
// subscribers, without a hub: a channel for each room, a sharded channel for each
// room, and 64 channels shared by the rooms. Each room has its members on one of
// the servers.
func BenchmarkChannels(b *testing.B) {
	room := func(i int) string { return fmt.Sprintf("holdfast:{room%%20%d}", i) }
	shared := func(i int) string { return fmt.Sprintf("holdfast:%d", i%64) }
	for _, c := range []struct {
		name    string
		channel func(i int) string
		sharded bool
	}{
		{"of-a-room", room, false},
		{"of-a-room-sharded", room, true},
		{"shared-by-rooms", shared, false},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkChannels(b, c.channel, c.sharded) })
	}
}

func benchmarkChannels(b *testing.B, channel func(int) string, sharded bool) {
	s := startRedis(b)
	client := s.client()
	defer client.Close()
	ctx := context.Background()
	before := usage(b, client)
	start := time.Now()
	var delays latencies
	var receiving sync.WaitGroup
	var conns []*redis.PubSub
	received := make([]int, benchServers)
	for n := range benchServers {
		var mine []string
		for i := n; i < benchRooms; i += benchServers {
			mine = append(mine, channel(i))
		}
		slices.Sort(mine)
		mine = slices.Compact(mine)
		conn := client.Subscribe(ctx)
		conns = append(conns, conn)
		for chunk := range slices.Chunk(mine, 500) {
			subscribe := conn.Subscribe
			if sharded {
				subscribe = conn.SSubscribe
			}
			if err := subscribe(ctx, chunk...); err != nil {
				b.Fatal(err)
			}
		}
		for range mine {
			if _, err := conn.Receive(ctx); err != nil {
				b.Fatal(err)
			}
		}
		receiving.Go(func() {
			for {
				in, err := conn.Receive(ctx)
				if err != nil {
					return
				}
				if m, ok := in.(*redis.Message); ok {
					received[n]++
					delays.add([]byte(m.Payload))
				}
			}
		})
	}
	took, after := time.Since(start), usage(b, client)
	for b.Loop() {
		to, publish := channel(rand.IntN(benchRooms)), client.Publish
		if sharded {
			publish = client.SPublish
		}
		if err := publish(ctx, to, stamp()).Err(); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	time.Sleep(100 * time.Millisecond)
	usage(b, client).report(b, after)
	for _, conn := range conns {
		_ = conn.Close()
	}
	receiving.Wait()
	total := 0
	for _, n := range received {
		total += n
	}
	b.ReportMetric(float64(total)/float64(b.N), "servers/op")
	b.ReportMetric(float64(took.Milliseconds()), "ms-to-subscribe")
	b.ReportMetric(float64(after.memory-before.memory)/benchRooms, "redis-B/room")
	delays.report(b)
}

// BenchmarkHub publishes to random rooms, one message after another. There are
// three hubs and 10,000 rooms, each with a member on each hub.
func BenchmarkHub(b *testing.B) {
	s := startRedis(b)
	client := s.client()
	defer client.Close()
	before, heap := usage(b, client), heapSize()
	start := time.Now()
	var hubs []hub.Hub
	var members []*hub.Membership
	for range benchServers {
		h := openHub(b, hub.RedisOptions{URL: s.url()})
		hubs = append(hubs, h)
		members = append(members, joinMany(b, h, benchRooms)...)
	}
	joins := float64(len(members))
	took, grown := time.Since(start), heapSize()-heap
	after := usage(b, client)
	var delays latencies
	var reading sync.WaitGroup
	for _, m := range members {
		reading.Go(func() {
			for {
				e, err := m.Next(context.Background())
				if err != nil {
					return
				}
				delays.add(e.Data)
			}
		})
	}
	for b.Loop() {
		room := "room " + strconv.Itoa(rand.IntN(benchRooms))
		if _, err := hubs[rand.IntN(benchServers)].Publish(context.Background(), room, stamp()); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	time.Sleep(100 * time.Millisecond)
	usage(b, client).report(b, after)
	b.ReportMetric(took.Seconds()*1e6/joins, "us/join")
	b.ReportMetric(float64(grown)/joins, "heap-B/member")
	b.ReportMetric(float64(after.memory-before.memory)/joins, "redis-B/member")
	for _, m := range members {
		m.Leave()
	}
	reading.Wait()
	delays.report(b)
}

// BenchmarkFanOut publishes to 1,000 members of one room on three servers. An
// operation ends when the last member has received the message.
func BenchmarkFanOut(b *testing.B) {
	s := startRedis(b)
	client := s.client()
	defer client.Close()
	var delays latencies
	var reading, arrived sync.WaitGroup
	var hubs []hub.Hub
	var members []*hub.Membership
	for n := range benchServers {
		hubs = append(hubs, openHub(b, hub.RedisOptions{URL: s.url()}))
		for i := n; i < 1000; i += benchServers {
			m := join(b, hubs[n], "room", strconv.Itoa(i), hub.JoinOptions{})
			members = append(members, m)
			reading.Go(func() {
				for {
					e, err := m.Next(context.Background())
					if err != nil {
						return
					}
					delays.add(e.Data)
					arrived.Done()
				}
			})
		}
	}
	before := usage(b, client)
	for b.Loop() {
		arrived.Add(len(members))
		publish(b, hubs[0], "room", string(stamp()))
		arrived.Wait()
	}
	b.StopTimer()
	usage(b, client).report(b, before)
	var kept int64
	for _, key := range []string{"holdfast:{room}:s", "holdfast:{room}:k"} {
		kept += client.MemoryUsage(context.Background(), key, 0).Val()
	}
	b.ReportMetric(float64(kept)/float64(min(b.N, 500)), "redis-B/message")
	for _, m := range members {
		m.Leave()
	}
	reading.Wait()
	delays.report(b)
}

var started = time.Now()

// stamp returns a message of 100 bytes that contains the current time.
func stamp() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(time.Since(started))), make([]byte, 92)...)
}

type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(stamp []byte) {
	d := time.Since(started) - time.Duration(binary.BigEndian.Uint64(stamp))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *latencies) percentile(p int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.all)
	return l.all[len(l.all)*p/100]
}

func (l *latencies) report(b *testing.B) {
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(l.percentile(p).Microseconds()), fmt.Sprintf("us-p%d", p))
	}
}

// resources are the resources used by Redis and by this process.
type resources struct {
	memory int64 // of Redis, in bytes
	redis  time.Duration
	self   time.Duration
}

func usage(b *testing.B, c *redis.Client) (s resources) {
	info, err := c.Info(context.Background(), "memory", "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "used_memory":
			s.memory = int64(n)
		case "used_cpu_sys", "used_cpu_user":
			s.redis += time.Duration(n * float64(time.Second))
		}
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	s.self = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	return s
}

// report reports the processor time per operation since then.
func (s resources) report(b *testing.B, since resources) {
	b.ReportMetric(float64((s.redis-since.redis).Microseconds())/float64(b.N), "redis-cpu-us/op")
	b.ReportMetric(float64((s.self-since.self).Microseconds())/float64(b.N), "servers-cpu-us/op")
}

func heapSize() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
