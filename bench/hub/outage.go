package main

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// outageLength is how long Redis is away.
const outageLength = 5 * time.Second

// killed kills Redis and starts it again.
func killed(b *bench) error {
	return outage(b, func() error {
		b.redis.kill()
		time.Sleep(b.outageLength())
		return b.redis.start(b.ctx)
	})
}

// frozen stops the process of Redis, so that its connections stay open.
func frozen(b *bench) error {
	return outage(b, func() error {
		if err := b.redis.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(b.outageLength())
		return b.redis.signal(syscall.SIGCONT)
	})
}

func (b *bench) outageLength() time.Duration {
	if b.small {
		return time.Second
	}
	return outageLength
}

// member counts what a member of the room has received.
type member struct {
	mu       sync.Mutex
	received map[int]int   // message, how often
	resumed  time.Duration // when it got a message that was published after the outage
}

// outage publishes from each server, and repeats what fails with the same key until it
// succeeds, as clients do, while Redis is away and for 10 s afterwards.
func outage(b *bench, away func() error) error {
	const room = followedRoom
	members := make([]*member, 99)
	var back atomic.Int64 // when Redis answered again, since the start; 0 before
	err := each(len(members), 10, func(i int) error {
		m := &member{received: map[int]int{}}
		members[i] = m
		return b.join(i%servers, room, strconv.Itoa(i), func(data []byte) {
			messages(data, func(age time.Duration, number int) {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.received[number]++
				now, since := time.Since(started), time.Duration(back.Load())
				if m.resumed == 0 && since > 0 && now-age >= since {
					m.resumed = now - since
				}
			})
		})
	})
	if err != nil {
		return err
	}

	var publishing sync.WaitGroup
	var number, failed atomic.Int64
	stop := make(chan struct{})
	for server := range servers {
		publishing.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				n := int(number.Add(1)) - 1
				for b.system.publish(server, room, fmt.Sprintf("message %d", n), message(n)) != nil {
					failed.Add(1)
					if b.ctx.Err() != nil {
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(2 * time.Second)
	if err := away(); err != nil {
		return err
	}
	for b.redis.ping(b.ctx) != nil && b.ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	back.Store(int64(time.Since(started)))
	time.Sleep(2 * b.outageLength())
	close(stop)
	publishing.Wait()
	b.figures["errors"] = float64(failed.Load())
	b.count(members, int(number.Load()))
	return b.ctx.Err()
}

// count waits until all members have all messages, or for a minute, and counts what is
// missing and what was received twice.
func (b *bench) count(members []*member, published int) {
	var lost, doubled int
	var first, last time.Duration
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		lost, doubled, first, last = 0, 0, time.Hour, 0
		for _, m := range members {
			m.mu.Lock()
			lost += published - len(m.received)
			for _, times := range m.received {
				doubled += times - 1
			}
			resumed := m.resumed
			if resumed == 0 {
				resumed = time.Hour
			}
			first, last = min(first, resumed), max(last, resumed)
			m.mu.Unlock()
		}
		if lost == 0 || time.Now().After(deadline) || b.ctx.Err() != nil {
			break
		}
	}
	b.figures["first"], b.figures["last"] = first.Seconds(), last.Seconds()
	b.figures["lost"], b.figures["doubled"] = float64(lost), float64(doubled)
	b.figures["rejoins"] = float64(b.system.rejoined())
}
