package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// fanOut publishes to the members of one room. The next message is published when the last
// member has the one before. The history is full.
func fanOut(b *bench) error {
	members, published := b.size(1000), b.size(1000)
	var arrived sync.WaitGroup
	var delays *latencies
	err := each(members, 10, func(i int) error {
		return b.join(i%servers, largeRoom, strconv.Itoa(i), func(data []byte) {
			messages(data, func(age time.Duration, _ int) {
				delays.add(age)
				arrived.Done()
			})
		})
	})
	if err != nil {
		return err
	}
	publish := func(n int) error {
		delays = newLatencies(members * n)
		for i := range n {
			arrived.Add(members)
			if err := b.system.publish(0, largeRoom, "", message(i)); err != nil {
				return err
			}
			arrived.Wait()
		}
		return nil
	}
	if err := publish(b.size(historySize + 100)); err != nil {
		return err
	}
	before, err := b.redis.usage(b.ctx)
	if err != nil {
		return err
	}
	cpu, err := processorTime()
	if err != nil {
		return err
	}
	if err := publish(published); err != nil {
		return err
	}
	after, err := b.redis.usage(b.ctx)
	if err != nil {
		return err
	}
	cpuAfter, err := processorTime()
	if err != nil {
		return err
	}
	perMessage := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(published) }
	b.figures["p50"], b.figures["p99"] = delays.ms(50), delays.ms(99)
	b.figures["redis-cpu"] = perMessage(after.cpu - before.cpu)
	b.figures["cpu"] = perMessage(cpuAfter - cpu)
	return nil
}

// calls counts what publishing costs Redis, as fast as it can be done, so that what is done
// from time to time doesn't count.
func calls(b *bench) error {
	published := b.size(2000)
	err := each(servers, 1, func(i int) error {
		return b.join(i, largeRoom, strconv.Itoa(i), func([]byte) {})
	})
	if err != nil {
		return err
	}
	for _, c := range []struct{ figure, key string }{{"calls", ""}, {"calls-key", "key "}} {
		publish := func(from, to int) error {
			for i := from; i < to; i++ {
				key := c.key
				if key != "" {
					key += strconv.Itoa(i)
				}
				if err := b.system.publish(0, largeRoom, key, message(i)); err != nil {
					return err
				}
			}
			return nil
		}
		full := historySize + 100
		if err := publish(0, full); err != nil {
			return err
		}
		before, err := b.redis.usage(b.ctx)
		if err != nil {
			return err
		}
		if err := publish(full, full+published); err != nil {
			return err
		}
		after, err := b.redis.usage(b.ctx)
		if err != nil {
			return err
		}
		b.figures[c.figure] = float64(after.calls-before.calls) / float64(published)
	}
	return nil
}

// manyRooms joins members to many rooms, and publishes to random ones.
func manyRooms(b *bench) error {
	rooms, published := b.size(10_000), b.size(5000)
	room := func(i int) string { return fmt.Sprintf("room %d", i) }
	delays := newLatencies(published * servers)
	var arrived sync.WaitGroup
	before, err := b.redis.usage(b.ctx)
	if err != nil {
		return err
	}
	heap, stacks := memory()
	members := rooms * servers
	began := time.Now()
	err = each(members, 100, func(i int) error {
		return b.join(i%servers, room(i/servers), "member of "+strconv.Itoa(i), func(data []byte) {
			messages(data, func(age time.Duration, _ int) {
				delays.add(age)
				arrived.Done()
			})
		})
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	time.Sleep(2 * time.Second) // so that the goroutines are idle, and temporary memory is free
	after, err := b.redis.usage(b.ctx)
	if err != nil {
		return err
	}
	heapAfter, stacksAfter := memory()
	b.figures["join"] = took.Seconds() * 1e3 / float64(members)
	b.figures["heap"] = float64(heapAfter-heap) / float64(members)
	b.figures["memory"] = float64(heapAfter-heap+stacksAfter-stacks) / float64(members)
	b.figures["redis-memory"] = float64(after.memory-before.memory) / float64(members)

	before = after
	for i := range published {
		arrived.Add(servers)
		if err := b.system.publish(rand.IntN(servers), room(rand.IntN(rooms)), "", message(i)); err != nil {
			return err
		}
		arrived.Wait()
	}
	after, err = b.redis.usage(b.ctx)
	b.figures["p50"], b.figures["p99"] = delays.ms(50), delays.ms(99)
	b.figures["redis-cpu"] = (after.cpu - before.cpu).Seconds() * 1e6 / float64(published)
	return err
}

// joins joins many members to one room.
func joins(b *bench) error {
	members := b.size(30_000)
	before, err := b.redis.usage(b.ctx)
	if err != nil {
		return err
	}
	longest := b.redis.longestPing(b.ctx)
	began := time.Now()
	err = each(members, 100, func(i int) error {
		return b.join(i%servers, largeRoom, strconv.Itoa(i), func([]byte) {})
	})
	if err != nil {
		return err
	}
	b.figures["seconds"] = time.Since(began).Seconds()
	b.figures["failed"] = float64(b.failedJoins.Load())
	b.figures["ping"] = longest().Seconds() * 1e3
	after, err := b.redis.usage(b.ctx)
	b.figures["calls"] = float64(after.calls-before.calls) / float64(members)
	return err
}

// beside measures small rooms, first alone and then while messages go to a large one.
func beside(b *bench) error {
	small, large := 100, b.size(10_000)
	duration := 8 * time.Second
	if b.small {
		duration = time.Second
	}
	var largeDelays, smallDelays *latencies
	collect := func(delays **latencies) func([]byte) {
		return func(data []byte) {
			messages(data, func(age time.Duration, _ int) { (*delays).add(age) })
		}
	}
	err := each(small*servers, 10, func(i int) error {
		return b.join(i%servers, fmt.Sprintf("small %d", i/servers), strconv.Itoa(i), collect(&smallDelays))
	})
	if err != nil {
		return err
	}
	err = each(large, 100, func(i int) error {
		return b.join(i%servers, largeRoom, strconv.Itoa(i), collect(&largeDelays))
	})
	if err != nil {
		return err
	}
	// Messages are published when they are due, even if those before haven't arrived.
	publish := func(every time.Duration, room func() string) error {
		var publishing sync.WaitGroup
		errs := make(chan error, 1)
		for began := time.Now(); time.Since(began) < duration && b.ctx.Err() == nil; time.Sleep(every) {
			publishing.Go(func() {
				if err := b.system.publish(rand.IntN(servers), room(), "", message(0)); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			})
		}
		publishing.Wait()
		time.Sleep(500 * time.Millisecond) // until all has arrived
		close(errs)
		return <-errs
	}
	toSmall := func() error {
		smallDelays = newLatencies(1e6)
		return publish(5*time.Millisecond, func() string { return fmt.Sprintf("small %d", rand.IntN(small)) })
	}
	time.Sleep(2 * time.Second)
	if err := toSmall(); err != nil {
		return err
	}
	b.figures["alone"] = smallDelays.ms(99)

	largeDelays = newLatencies(4e6)
	result := make(chan error)
	go func() { result <- publish(250*time.Millisecond, func() string { return largeRoom }) }()
	err = toSmall()
	if other := <-result; err == nil {
		err = other
	}
	b.figures["beside"] = smallDelays.ms(99)
	b.figures["ratio"] = smallDelays.ms(99) / b.figures["alone"]
	b.figures["large-p50"], b.figures["large-p99"] = largeDelays.ms(50), largeDelays.ms(99)
	return err
}
