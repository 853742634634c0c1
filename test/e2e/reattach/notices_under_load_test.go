//go:build unix

package reattach

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// counted is a client of the servers in docs/backends.md. It numbers its
// messages. The server numbers its replies, which take 300 ms each, and the
// ticks that it sends on its own.
type counted struct {
	wire *wspeer.Conn
	over chan struct{} // closed when reading has ended

	mu             sync.Mutex // guards the following
	sent           int
	replies, ticks int
	gaps           bool // a crash may have lost ticks
	fault          error
}

func startCounted(w *wspeer.Conn) *counted {
	c := &counted{wire: w, over: make(chan struct{})}
	go func() {
		defer close(c.over)
		for {
			text, err := w.Message()
			c.mu.Lock()
			if err == nil {
				err = c.check(text)
			}
			if err != nil {
				c.fault = err
				c.mu.Unlock()
				return
			}
			c.mu.Unlock()
		}
	}()
	return c
}

// check takes a message for the next reply or tick. c.mu is held.
func (c *counted) check(text string) error {
	if number, ok := strings.CutPrefix(text, "tick "); ok {
		n := 0
		if _, err := fmt.Sscan(number, &n); err != nil || n <= c.ticks || !c.gaps && n != c.ticks+1 {
			return fmt.Errorf("got %q after tick %d", text, c.ticks)
		}
		c.ticks = n
		return nil
	}
	c.replies++
	if want := fmt.Sprintf("%d: message %d", c.replies, c.replies); text != want {
		return fmt.Errorf("got %q, want %q", text, want)
	}
	return nil
}

func (c *counted) say() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	if err := c.wire.SendText(fmt.Sprint("message ", c.sent)); err != nil && c.fault == nil {
		c.fault = err
	}
}

// seen returns what came, and fails the test after a fault.
func (c *counted) seen(t testing.TB) (sent, replies, ticks int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		t.Fatalf("after %d replies to %d messages: %v", c.replies, c.sent, c.fault)
	}
	return c.sent, c.replies, c.ticks
}

// keepTalking makes each client send messages until stop is called.
func keepTalking(all []*counted) (stop func()) {
	enough := make(chan struct{})
	var talking sync.WaitGroup
	for _, c := range all {
		talking.Go(func() {
			for {
				select {
				case <-time.After(400*time.Millisecond + rand.N(400*time.Millisecond)):
					c.say()
				case <-enough:
					return
				}
			}
		})
	}
	return func() {
		close(enough)
		talking.Wait()
	}
}

// A server that still works on messages when its sessions are moved, as async
// handlers do, loses nothing if it uses notices. The servers in Node and in Go
// are those of docs/backends.md; sessions move from one to the other and back.
func TestMovesWithNoticesLoseNothing(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		const clients = 9
		states := t.TempDir()
		names := []string{"node-1", "go-1", "node-2"}
		file := noticesFile(engine, "drain")
		for _, name := range names {
			language := map[string]string{"n": "js", "g": "go"}[name[:1]]
			file += fmt.Sprintf("      - {name: %s, address: %q}\n", name, kit.Documented(t, language, states).Address)
		}
		b := kit.StartBalancer(t, file)
		var all []*counted
		for _, w := range kit.OpenMany(t, b.Address, "/ws", clients) {
			all = append(all, startCounted(w))
		}
		stop := keepTalking(all)
		for _, name := range names {
			for _, c := range all { // so that there is work to finish
				c.say()
				c.say()
			}
			b.Command(t, 0, "drain", "main/"+name, "--wait")
			for _, c := range all {
				_, _, before := c.seen(t)
				testkit.Eventually(t, "a tick from the new server", func() bool {
					_, _, ticks := c.seen(t)
					return ticks > before+1 // one may have been on its way
				})
			}
			b.Command(t, 0, "undrain", "main/"+name)
		}
		stop()
		var stored, want []int
		for _, c := range all {
			testkit.Eventually(t, "answered", func() bool {
				sent, replies, _ := c.seen(t)
				return replies == sent
			})
			want = append(want, c.sent)
			if err := c.wire.SendClose(1000, ""); err != nil {
				t.Fatal(err)
			}
			<-c.over
			if end := (*wspeer.CloseError)(nil); !errors.As(c.fault, &end) || end.Code != 1000 {
				t.Errorf("a session ended with %v", c.fault)
			}
		}
		for _, s := range readStates(t, states) {
			stored = append(stored, s.Messages)
		}
		if slices.Sort(stored); !slices.Equal(stored, slices.Sorted(slices.Values(want))) {
			t.Errorf("the servers have stored %v messages, the clients sent %v", stored, want)
		}
		moves := b.LogEntries("session moved")
		if len(moves) < clients {
			t.Errorf("%d moves, want %d at least", len(moves), clients)
		}
		for _, m := range append(b.LogEntries("session not moved"), b.LogEntries("session closed")...) {
			if m["cause"] != "client_closed" {
				t.Errorf("%v", m)
			}
		}
		t.Logf("%d moves, %d messages", len(moves), sum(want))
		b.Stop(t)
	})
}

// After a crash the new server may send first.
func TestServersBeginAfterACrash(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		states := t.TempDir()
		servers := map[string]*kit.Backend{"node": kit.Documented(t, "js", states), "go": kit.Documented(t, "go", states)}
		file := noticesFile(engine, "loss")
		for _, name := range []string{"node", "go"} {
			file += fmt.Sprintf("      - {name: %s, address: %q}\n", name, servers[name].Address)
		}
		b := kit.StartBalancer(t, file)
		var all []*counted
		for _, w := range kit.OpenMany(t, b.Address, "/ws", 2) { // one on each
			c := startCounted(w)
			c.gaps = true
			all = append(all, c)
			c.say()
			testkit.Eventually(t, "answered, and ticking", func() bool {
				_, replies, ticks := c.seen(t)
				return replies == 1 && ticks > 0
			})
		}
		servers["node"].Kill(t)
		for _, c := range all {
			_, _, before := c.seen(t)
			testkit.Eventually(t, "ticking again", func() bool {
				_, _, ticks := c.seen(t)
				return ticks > before+1
			})
			c.say()
			testkit.Eventually(t, "answered", func() bool {
				_, replies, _ := c.seen(t)
				return replies == 2
			})
			c.wire.Close()
			<-c.over
		}
		b.FindLog(t, "session moved", 0, "from=node", "to=go", "reattach=loss")
		b.Stop(t)
	})
}

// Without notices, ws answers the balancer's Close while the handler is still
// working, and its reply is lost.
func TestWithoutNoticesAHandlersReplyIsLost(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		states := t.TempDir()
		without := []string{`headers.push("Holdfast-Control: 1")`, `{}`}
		slow := kit.Documented(t, "js", states, append(without, "WORK = 300", "WORK = 3600_000")...)
		quick := kit.Documented(t, "js", states, append(without, "WORK = 300", "WORK = 0")...)
		b := kit.StartBalancer(t, noticesFile(engine, "drain")+
			fmt.Sprintf("      - {name: slow, address: %q}\n      - {name: quick, address: %q}\n", slow.Address, quick.Address))
		b.Command(t, 0, "drain", "main/quick")
		w := kit.OpenMany(t, b.Address, "/ws", 1)[0]
		b.Command(t, 0, "undrain", "main/quick")
		if err := w.SendText("lost"); err != nil {
			t.Fatal(err)
		}
		b.Command(t, 0, "drain", "main/slow", "--wait")
		b.FindLog(t, "session moved", 0, "from=slow", "to=quick")
		if err := w.SendText("kept"); err != nil {
			t.Fatal(err)
		}
		for {
			text, err := w.Message()
			if err != nil {
				t.Fatal(err)
			}
			if text == "1: kept" {
				break // the first message was never counted
			}
			if !strings.HasPrefix(text, "tick ") {
				t.Fatalf("got %q", text)
			}
		}
		b.Stop(t)
	})
}

// noticesFile is a configuration with a pool without backends, which the caller
// appends.
func noticesFile(engine, on string) string {
	return fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools:
  main:
    reattach: {on: %s, timeout: 30s}
    drain: {timeout: 60s, spread: 0s}
    backends:
`, engine, on)
}

// storedState is what the documented servers store for a session.
type storedState struct{ Messages, Ticks int }

func readStates(t testing.TB, dir string) (all []storedState) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "session-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		var s storedState
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &s)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}
