//go:build unix

package reattach

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

var evenSessions = kit.UnlessBenching(600, 3000)

// evenRate is how many sessions each backend gives away per second.
var evenRate = kit.UnlessBenching(10, 50)

// companion is a client that sends a number every second and wants it back. If
// it is closed with 1012, it reconnects after a moment.
type companion struct {
	address string
	wire    atomic.Pointer[wspeer.Conn]
	said    atomic.Int64 // numbers that came back
	told    atomic.Int64 // times that it was told to come back
}

func (c *companion) live(stop <-chan struct{}) error {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for {
		w := c.wire.Load()
		text := strconv.FormatInt(c.said.Load()+1, 10)
		err := w.SendText(text)
		var got string
		if err == nil {
			w.SetReadDeadline(time.Now().Add(testkit.Patience))
			got, err = w.Message()
		}
		told := (*wspeer.CloseError)(nil)
		switch {
		case err == nil && got == text:
			c.said.Add(1)
		case err == nil:
			return fmt.Errorf("said %s, heard %q", text, got)
		case errors.As(err, &told) && told.Code == 1012 && told.Reason == "rebalancing":
			w.SendClose(1012, "")
			w.Close()
			c.told.Add(1)
			time.Sleep(rand.N(time.Second))
			if w, _, err = wspeer.Dial(c.address, "/echo"); err != nil {
				return err
			}
			c.wire.Store(w)
			continue // the number was lost with its session, or its echo was
		default:
			return err
		}
		select {
		case <-pause.C:
		case <-stop:
			return nil
		}
	}
}

// company is many companions. Their end is checked at the end of the test.
type company struct {
	all  []*companion
	errs []error
	stop chan struct{}
	done sync.WaitGroup
}

func keepCompany(t testing.TB, address string, n int) *company {
	t.Helper()
	c := &company{all: make([]*companion, n), errs: make([]error, n), stop: make(chan struct{})}
	var opening sync.WaitGroup
	next := make(chan int)
	for range 32 {
		opening.Go(func() {
			for i := range next {
				w, _, err := wspeer.Dial(address, "/echo")
				c.all[i], c.errs[i] = &companion{address: address}, err
				c.all[i].wire.Store(w)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	opening.Wait()
	if err := errors.Join(c.errs...); err != nil {
		t.Fatal(err)
	}
	for i, one := range c.all {
		c.done.Go(func() { c.errs[i] = one.live(c.stop) })
	}
	t.Cleanup(func() {
		for _, one := range c.all {
			one.wire.Load().Close()
		}
		c.done.Wait()
	})
	return c
}

// part makes all of them send their last message, and checks that none missed
// anything.
func (c *company) part(t testing.TB) {
	t.Helper()
	before := make([]int64, len(c.all))
	for i, one := range c.all {
		before[i] = one.said.Load()
	}
	// One that fails has no answer.
	answered := func(i int) bool { return c.all[i].said.Load() > before[i] }
	for i, until := 0, time.Now().Add(testkit.Patience); i < len(c.all) && time.Now().Before(until); {
		if answered(i) {
			i++
		} else {
			time.Sleep(20 * time.Millisecond)
		}
	}
	close(c.stop)
	c.done.Wait()
	f := &kit.Faults{T: t}
	for i, one := range c.all {
		one.wire.Load().Close()
		if c.errs[i] != nil {
			f.Add("client %d: %v", i, c.errs[i])
		} else if !answered(i) {
			f.Add("client %d has had no answer for %v", i, testkit.Patience)
		}
	}
	f.Sum("clients")
}

// told returns how many clients were closed with 1012, and the highest number
// of times that one was.
func (c *company) told() (clients int, most int64) {
	for _, one := range c.all {
		if n := one.told.Load(); n > 0 {
			clients++
			most = max(most, n)
		}
	}
	return clients, most
}

// A fourth backend joins three with many sessions. Each gets its fair share,
// give or take a tenth, no sooner than the rate allows. Only as many sessions
// move as were above that.
func TestRebalance(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Run("moved", func(t *testing.T) {
			t.Parallel()
			backends := kit.StartBackends(t, 4)
			file := func(n int) string {
				text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\npools:\n  main:\n"+
					"    reattach: {on: rebalance}\n    rebalance: {rate: %d/s, min_age: 0}\n    backends:\n", engine, evenRate)
				for i, b := range backends[:n] {
					text += fmt.Sprintf("      - {name: %s, address: %q}\n", kit.BackendName(i), b.Address)
				}
				return text
			}
			b := kit.StartBalancer(t, file(3))
			c := keepCompany(t, b.Address, evenSessions)
			began := time.Now()
			b.WriteConfig(t, file(4))
			b.Reload(t, kit.Reloaded)
			awaitEven(t, b, backends, began)
			m := b.AwaitMetrics(t, "all have been kept", func(m kit.Metrics) bool { return m.Moves("rebalance", "moved") >= float64(evenSessions/4) })
			if n := m[`holdfast_reattach_total{reason="rebalance",result="moved"}`]; n != float64(evenSessions/4) {
				t.Errorf("%v sessions were moved, %d were above fair shares", n, evenSessions/4)
			}
			moved := map[any]bool{}
			for _, e := range b.LogEntries("session moved") {
				if moved[e["id"]] || e["to"] != "d" || e["reattach"] != "rebalance" {
					t.Fatalf("moved again, or elsewhere: %v", e)
				}
				moved[e["id"]] = true
			}
			if n := len(b.LogEntries("session not moved")); n > 0 {
				t.Errorf("%d sessions could not be moved", n)
			}
			c.part(t)
			if n, _ := c.told(); n > 0 {
				t.Errorf("%d clients were closed with 1012", n)
			}
			b.Stop(t)
		})
		t.Run("closed", func(t *testing.T) {
			t.Parallel()
			backends := kit.StartBackends(t, 4)
			l := kit.BackendFile{Path: filepath.Join(t.TempDir(), "backends.json")}
			l.Replace(t, kit.BackendFileText(backends[:3]...))
			b := kit.StartBalancer(t, fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\n"+
				"pools:\n  main: {file: %q, rebalance: {rate: %d/s, min_age: 0}}\n", engine, l.Path, evenRate))
			c := keepCompany(t, b.Address, evenSessions)
			began := time.Now()
			l.Replace(t, kit.BackendFileText(backends...))
			b.AwaitList(t, 4, 0, 0)
			awaitEven(t, b, backends, began)
			if n, most := c.told(); n != evenSessions/4 || most > 1 {
				t.Errorf("%d clients were closed with 1012, one of them %d times; %d sessions were above fair shares", n, most, evenSessions/4)
			}
			c.part(t)
			b.Stop(t)
		})
	})
}

// awaitEven waits until each backend has its fair share, give or take a tenth.
// It checks that holdfast status shows the rebalancing, that it was no faster
// than the rate, and how many sessions were moved according to the log.
func awaitEven(t testing.TB, b *kit.Balancer, backends []*kit.Backend, began time.Time) {
	t.Helper()
	fair := float64(evenSessions / 4)
	testkit.Eventually(t, "line of holdfast status", func() bool { return strings.Contains(b.Command(t, 0, "status"), "being rebalanced: ") })
	b.AwaitMetrics(t, "even", func(m kit.Metrics) bool {
		for i := range backends {
			n := m[fmt.Sprintf(`holdfast_backend_sessions{backend=%q,pool="main"}`, kit.BackendName(i))]
			if n < fair*.9 || n > fair*1.1 {
				return false
			}
		}
		return true
	})
	took := time.Since(began)
	predicted := time.Duration(fair * .9 / 3 / float64(evenRate) * float64(time.Second))
	if took < predicted/2 {
		t.Errorf("it took %v to be even to a tenth, the rate predicts %v", took, predicted)
	}
	kit.AtMost(t, fmt.Sprintf("even after; the rate predicts %v", predicted.Round(time.Millisecond)), took, predicted+3*time.Second)
	if e := b.FindLog(t, "a pool is even again", 0, "pool=main"); e["given"] != fair {
		t.Errorf("given away were %v", e)
	}
}
