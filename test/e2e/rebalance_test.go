//go:build unix

package e2e

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
)

const (
	evenSessions = 3000
	evenRate     = 50 // sessions that each backend gives away, a second
)

// companion is a client that says a number each second and wants that back. Told
// to come back (1012), it does so after a moment.
type companion struct {
	address string
	wire    atomic.Pointer[wire]
	said    atomic.Int64 // numbers that came back
	told    atomic.Int64 // times that it was told to come back
}

func (c *companion) live(stop <-chan struct{}) error {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for {
		w := c.wire.Load()
		text := strconv.FormatInt(c.said.Load()+1, 10)
		err := w.sendText(text)
		var got string
		if err == nil {
			w.SetReadDeadline(time.Now().Add(patience))
			got, err = w.message()
		}
		told := (*closed)(nil)
		switch {
		case err == nil && got == text:
			c.said.Add(1)
		case err == nil:
			return fmt.Errorf("said %s, heard %q", text, got)
		case errors.As(err, &told) && told.code == 1012 && told.reason == "rebalancing":
			w.sendClose(1012, "")
			w.Close()
			c.told.Add(1)
			time.Sleep(rand.N(time.Second))
			if w, _, err = dialWire(c.address, "/echo"); err != nil {
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

// company is many of them. Its end is checked when the test's has come.
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
				w, _, err := dialWire(address, "/echo")
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

// part has all of them say their last, and checks that none missed anything.
func (c *company) part(t testing.TB) {
	t.Helper()
	before := make([]int64, len(c.all))
	for i, one := range c.all {
		before[i] = one.said.Load()
	}
	time.Sleep(2 * time.Second)
	close(c.stop)
	c.done.Wait()
	f := &faults{t: t}
	for i, one := range c.all {
		one.wire.Load().Close()
		if c.errs[i] != nil {
			f.add("client %d: %v", i, c.errs[i])
		} else if one.said.Load() == before[i] {
			f.add("client %d has had no answer for 2s", i)
		}
	}
	f.sum("clients")
}

// told is how many were told to come back, and how often at most one was.
func (c *company) told() (clients int, most int64) {
	for _, one := range c.all {
		if n := one.told.Load(); n > 0 {
			clients++
			most = max(most, n)
		}
	}
	return clients, most
}

// A fourth backend joins three with 3,000 sessions. In the time that the rate
// predicts each has its fair share, a tenth more or less; as many sessions have
// changed as were above that, and all others were left alone.
func TestRebalance(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		t.Run("moved", func(t *testing.T) {
			t.Parallel()
			backends := startBackends(t, 4)
			file := func(n int) string {
				text := fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\npools:\n  main:\n"+
					"    reattach: {on: rebalance}\n    rebalance: {rate: %d/s, min_age: 0}\n    backends:\n", engine, evenRate)
				for i, b := range backends[:n] {
					text += fmt.Sprintf("      - {name: %s, address: %q}\n", backendName(i), b.address)
				}
				return text
			}
			b := balance(t, file(3))
			c := keepCompany(t, b.address, evenSessions)
			b.write(t, file(4))
			b.hangUp(t, reloaded)
			b.awaitEven(t, backends)
			m := b.metrics(t)
			if n := m[`holdfast_reattach_total{reason="rebalance",result="moved"}`]; n != evenSessions/4 {
				t.Errorf("%v sessions were moved, %d were above fair shares", n, evenSessions/4)
			}
			moved := map[any]bool{}
			for _, e := range b.logged("session moved") {
				if moved[e["id"]] || e["to"] != "d" || e["reattach"] != "rebalance" {
					t.Fatalf("moved again, or elsewhere: %v", e)
				}
				moved[e["id"]] = true
			}
			if n := len(b.logged("session not moved")); n > 0 {
				t.Errorf("%d sessions could not be moved", n)
			}
			c.part(t)
			if n, _ := c.told(); n > 0 {
				t.Errorf("%d clients were told to come back", n)
			}
			b.stop(t)
		})
		t.Run("closed", func(t *testing.T) {
			t.Parallel()
			backends := startBackends(t, 4)
			l := list{filepath.Join(t.TempDir(), "backends.json")}
			l.replace(t, fileText(backends[:3]...))
			b := balance(t, fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\n"+
				"pools:\n  main: {file: %q, rebalance: {rate: %d/s, min_age: 0}}\n", engine, l.path, evenRate))
			c := keepCompany(t, b.address, evenSessions)
			l.replace(t, fileText(backends...))
			b.awaitList(t, 4, 0, 0)
			b.awaitEven(t, backends)
			if n, most := c.told(); n != evenSessions/4 || most > 1 {
				t.Errorf("%d clients were told to come back, one of them %d times; %d sessions were above fair shares", n, most, evenSessions/4)
			}
			c.part(t)
			b.stop(t)
		})
	})
}

// awaitEven waits until each backend has its fair share, a tenth more or less,
// checks that this took as long as the rate says, and waits for the balancer to
// tell how many sessions were given away.
func (b *balancer) awaitEven(t testing.TB, backends []*startedBackend) {
	t.Helper()
	const fair = evenSessions / 4
	began := time.Now()
	b.await(t, "even", func(m metrics) bool {
		for i := range backends {
			n := m[fmt.Sprintf(`holdfast_backend_sessions{backend=%q,pool="main"}`, backendName(i))]
			if n < fair*.9 || n > fair*1.1 {
				return false
			}
		}
		return true
	})
	took := time.Since(began)
	predicted := time.Duration(fair * .9 / 3 / evenRate * float64(time.Second))
	t.Logf("even, to a tenth, after %v; the rate predicts %v", took, predicted)
	if took < predicted/2 || took > predicted+3*time.Second {
		t.Errorf("it took %v to be even to a tenth, the rate predicts %v", took, predicted)
	}
	if said := b.holdfast(t, 0, "status"); !strings.Contains(said, "being rebalanced: ") {
		t.Errorf("while it is being rebalanced, holdfast status says\n%s", said)
	}
	if e := b.log(t, "a pool is even again", 0, "pool=main"); e["given"] != float64(fair) {
		t.Errorf("given away were %v", e)
	}
}
