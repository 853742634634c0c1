//go:build linux

package rolling

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// clients are sessions that send numbered messages without waiting for the answers, and
// check that each is answered once and in order.
type clients struct {
	pause time.Duration // of a client between two messages
	// again says that a client whose session is closed opens another.
	again bool

	ctx     context.Context
	running sync.WaitGroup

	mu     sync.Mutex
	all    []*one
	closed []closing // of sessions that the balancer or a pod has closed
	wrong  []string
}

// one is a client.
type one struct {
	answered int    // messages, of all its sessions
	pod      string // which has answered last
	open     bool
}

type closing struct {
	at   time.Time
	code websocket.StatusCode // -1: without a Close
}

func newClients(t *testing.T, again bool) *clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{pause: 300 * time.Millisecond, again: again, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		c.running.Wait()
	})
	return c
}

// open opens n sessions, a few at the same time, and waits for an answer of each.
func (c *clients) open(t *testing.T, n int, url string) {
	t.Helper()
	room := make(chan struct{}, 16)
	for range n {
		o := &one{}
		c.mu.Lock()
		c.all = append(c.all, o)
		c.mu.Unlock()
		room <- struct{}{}
		c.running.Go(func() {
			for first := true; c.ctx.Err() == nil; first = false {
				c.session(url, o, func() {
					if first {
						<-room
					}
				})
				if !c.again {
					return
				}
			}
		})
	}
	c.progress(t)
}

// session is one session of a client.
func (c *clients) session(url string, o *one, isOpen func()) {
	conn, _, err := websocket.Dial(c.ctx, url, nil)
	isOpen()
	if err != nil {
		if c.ctx.Err() == nil && !c.again {
			c.note("dial: %v", err)
		}
		return
	}
	defer conn.CloseNow()
	c.mu.Lock()
	o.open = true
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(c.ctx)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	sending.Go(func() {
		tick := time.NewTicker(c.pause)
		defer tick.Stop()
		for n := 1; conn.Write(ctx, websocket.MessageText, fmt.Append(nil, n)) == nil; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	for n := 1; ; n++ {
		_, message, err := conn.Read(ctx)
		c.mu.Lock()
		if err != nil {
			o.open = false
			if c.ctx.Err() == nil {
				c.closed = append(c.closed, closing{time.Now(), websocket.CloseStatus(err)})
			}
			c.mu.Unlock()
			return
		}
		head, echo, _ := strings.Cut(string(message), ": ")
		count, pod, _ := strings.Cut(head, " ")
		o.answered++
		o.pod = pod
		c.mu.Unlock()
		if want := fmt.Sprint(n); count != want || echo != want {
			c.note("message %d is answered with %q", n, message)
			return
		}
	}
}

func (c *clients) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// progress waits until each client that has a session got two more answers: one may have
// been on its way.
func (c *clients) progress(t *testing.T) {
	t.Helper()
	before := c.answers()
	testkit.Eventually(t, "two more answers for each client", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.wrong) > 0 {
			return true
		}
		for i, o := range c.all {
			if (o.open || o.answered == 0) && o.answered < before[i]+2 {
				return false
			}
		}
		return true
	})
	c.check(t)
}

// check fails the test if a message was lost, came twice, or came too early.
func (c *clients) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, text := range c.wrong {
		if i == 5 {
			t.Errorf("and %d more", len(c.wrong)-i)
			break
		}
		t.Error(text)
	}
	if len(c.wrong) > 0 {
		t.FailNow()
	}
}

func (c *clients) answers() (all []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.all {
		all = append(all, o.answered)
	}
	return all
}

// closings are the ends of sessions so far, in order.
func (c *clients) closings() []closing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(slices.Values(c.closed), func(a, b closing) int { return a.at.Compare(b.at) })
}

// pods says on which pod each client is.
func (c *clients) pods() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.all {
		all = append(all, o.pod)
	}
	return all
}
