//go:build unix

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// crowd is many sessions that exchange numbered messages with their backends.
type crowd struct {
	name    string
	members []*member
	running sync.WaitGroup
}

type member struct {
	*speaker
	id     string
	ending ending // valid once the crowd has dispersed
	over   chan struct{}
}

// gather opens n sessions at address, some at a time, and has them speak. At
// the test's end what is left of them is cut.
func gather(t testing.TB, name, address string, n int) *crowd {
	t.Helper()
	return gatherAs(t, name, address, n, usual)
}

// gatherAs is gather for sessions that speak in another manner.
func gatherAs(t testing.TB, name, address string, n int, how manner) *crowd {
	t.Helper()
	c := &crowd{name: name, members: make([]*member, n)}
	var opening sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next := make(chan int)
	for range 32 {
		opening.Go(func() {
			for i := range next {
				id := fmt.Sprintf("%s-%d", name, i)
				path := fmt.Sprintf("/numbers?id=%s&pause=%v&broken=%d", id, how.pause, how.broken)
				if how.unbroken {
					path += "&unbroken"
				}
				w, _, err := dialWire(address, path)
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					continue
				}
				c.members[i] = &member{speaker: newSpeaker(w, how), id: id, over: make(chan struct{})}
				c.running.Go(c.members[i].speak)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	opening.Wait()
	t.Cleanup(func() {
		for _, m := range c.members {
			if m != nil {
				m.wire.Close()
			}
		}
		c.running.Wait()
	})
	if failed != nil {
		t.Fatalf("opening %d sessions: %v", n, failed)
	}
	return c
}

func (m *member) speak() {
	defer close(m.over)
	m.ending = m.speaker.speak()
}

// disperse ends all sessions in order and waits until they have ended.
func (c *crowd) disperse(t testing.TB) {
	t.Helper()
	for _, m := range c.members {
		m.finish()
	}
	c.awaitEnd(t)
}

// awaitEnd waits until all sessions have ended.
func (c *crowd) awaitEnd(t testing.TB) {
	t.Helper()
	timeout := time.NewTimer(2 * patience)
	defer timeout.Stop()
	for i, m := range c.members {
		select {
		case <-m.over:
		case <-timeout.C:
			t.Fatalf("%d of %d sessions of %s have not ended", len(c.members)-i, len(c.members), c.name)
		}
	}
}

// received counts the messages that all members got.
func (c *crowd) received() (n int64) {
	for _, m := range c.members {
		n += m.speaker.received.Load()
	}
	return n
}

// faults collects complaints, of which only the first few are worth reading.
type faults struct {
	t testing.TB
	n int
}

func (f *faults) add(format string, args ...any) {
	f.t.Helper()
	if f.n++; f.n <= 10 {
		f.t.Errorf(format, args...)
	}
}

func (f *faults) sum(of string) {
	f.t.Helper()
	if f.n > 10 {
		f.t.Errorf("%d faults in all, of %s", f.n, of)
	}
}
