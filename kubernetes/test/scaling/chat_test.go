//go:build linux

package scaling

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// chat is the program of the pods: it answers each message with its pod's name and the
// message. It has no state, so that any pod can take over a session. After a SIGTERM it goes
// on until it has no sessions.
func chat() {
	name, _ := os.Hostname()
	var sessions atomic.Int32
	http.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		sessions.Add(1)
		defer sessions.Add(-1)
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, []byte(name+" "+string(message))) != nil {
				return
			}
		}
	})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() { fmt.Println("the server ended:", http.ListenAndServe(":8080", nil)) }()
	<-stop
	for empty := 0; empty < 20; empty++ { // for two seconds
		if sessions.Load() > 0 {
			empty = 0
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// clients are sessions that exchange numbered messages.
type clients struct {
	at       *application
	pause    time.Duration // of a client between two messages
	ctx      context.Context
	running  sync.WaitGroup
	opened   atomic.Int32
	messages atomic.Int64
	failed   chan string // what a client found wrong

	mu  sync.Mutex
	pod map[int]string // by client: who has answered last
}

// newClients ends them with the test. What they found wrong is an error.
func newClients(t *testing.T, at *application, pause time.Duration) *clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{at: at, pause: pause, ctx: ctx, failed: make(chan string, 100_000), pod: map[int]string{}}
	t.Cleanup(func() {
		cancel()
		c.running.Wait()
	})
	return c
}

// open opens n sessions, a few at the same time, and waits for the first answer of each.
func (c *clients) open(t *testing.T, n int) {
	t.Helper()
	want := c.opened.Load() + int32(n)
	turn := make(chan struct{}, 8)
	for range n {
		turn <- struct{}{}
		id := int(c.messages.Add(1)) // any number that no other has
		c.running.Go(func() { c.run(id, func() { <-turn }) })
	}
	testkit.Eventually(t, fmt.Sprint(want, " open sessions"), func() bool { return c.opened.Load() >= want || len(c.failed) > 0 })
	c.wantNoFailure(t)
}

func (c *clients) run(id int, isOpen func()) {
	done := sync.OnceFunc(isOpen)
	defer done()
	fail := func(format string, args ...any) {
		if c.ctx.Err() == nil {
			c.failed <- fmt.Sprintf("client %d: ", id) + fmt.Sprintf(format, args...)
		}
	}
	conn, _, err := websocket.Dial(c.ctx, c.at.url, &websocket.DialOptions{Host: c.at.host})
	if err != nil {
		fail("%v", err)
		return
	}
	defer conn.CloseNow()
	for n := 0; ; n++ {
		text := fmt.Sprintf("client %d message %d", id, n)
		if err := conn.Write(c.ctx, websocket.MessageText, []byte(text)); err != nil {
			fail("writing message %d: %v", n, err)
			return
		}
		_, answer, err := conn.Read(c.ctx)
		if err != nil {
			fail("after %d messages: %v", n, err)
			return
		}
		pod, echo, _ := cut(string(answer))
		if echo != text {
			fail("the answer to %q is %q", text, answer)
			return
		}
		c.mu.Lock()
		c.pod[id] = pod
		c.mu.Unlock()
		c.messages.Add(1)
		if n == 0 {
			c.opened.Add(1)
			done()
		}
		select {
		case <-time.After(c.pause):
		case <-c.ctx.Done():
			return
		}
	}
}

func cut(answer string) (pod, echo string, ok bool) {
	for i := range answer {
		if answer[i] == ' ' {
			return answer[:i], answer[i+1:], true
		}
	}
	return "", answer, false
}

// byPod counts the sessions by the pods that have answered last.
func (c *clients) byPod() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	for _, pod := range c.pod {
		n[pod]++
	}
	return n
}

// wantNoFailure fails the test if a session was closed, or a message wasn't answered.
func (c *clients) wantNoFailure(t *testing.T) {
	t.Helper()
	for {
		select {
		case what := <-c.failed:
			t.Error(what)
		default:
			if t.Failed() {
				t.FailNow()
			}
			return
		}
	}
}
