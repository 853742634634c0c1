package soak

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	// soakEnv is how long the test runs, such as 30m; by default shortly.
	soakEnv   = "HOLDFAST_E2E_SOAK"
	soakShort = 8 * time.Second
	clients   = 60
	// warmRounds are those after which the memory is measured for the first time.
	warmRounds = 8
	// memoryMargin is how much more memory the balancer may have at the end. Two
	// moments of a process with a garbage collector differ by some MB anyway.
	memoryMargin = 12 << 20
)

// TestSoak has clients that talk, leave, are cut off and come back, while backends
// are drained, killed and restarted and the file is reloaded. At the end nothing may
// be left: no session, goroutine or descriptor, and no more memory than after the
// first rounds. No client may get a wrong message.
func TestSoak(t *testing.T) {
	limit, err := time.ParseDuration(cmp.Or(os.Getenv(soakEnv), soakShort.String()))
	if err != nil {
		t.Fatal(err)
	}
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 3)
		yaml := kit.DrainFile(engine, backends, "drain: {timeout: 300ms}", "reattach: {timeout: 2s}")
		b := kit.StartBalancer(t, yaml)
		yaml += "log: {level: error}\n" // the lines would only be kept by this test
		fresh := measure(t, b)
		began := time.Now()
		var warm state
		rounds := 0
		for ; rounds < warmRounds+1 || time.Since(began) < limit; rounds++ {
			if rounds == warmRounds {
				warm = measure(t, b)
			}
			round(t, b, backends, rounds, yaml)
		}
		after := measure(t, b)
		t.Logf("%d rounds; fresh %+v, warm %+v, after %+v", rounds, fresh, warm, after)
		if grown := after.resident - warm.resident; grown > memoryMargin {
			t.Errorf("%d KiB more memory after %d further rounds", grown>>10, rounds-warmRounds)
		}
		// Ten goroutines and descriptors are those of the admin interface's
		// connections and of checks that are under way.
		b.AwaitMetrics(t, fmt.Sprintf("back to %+v", fresh), func(m kit.Metrics) bool {
			return int(m["go_goroutines"]) <= fresh.goroutines+10 && b.Descriptors(t) <= fresh.descriptors+10
		})
		b.Stop(t)
	})
}

type state struct{ descriptors, goroutines, resident int }

func measure(t *testing.T, b *kit.Balancer) state {
	t.Helper()
	m := b.AwaitSessions(t, 0)
	return state{b.Descriptors(t), int(m["go_goroutines"]), b.Resident(t)}
}

// round has clients for as long as it takes to do one of each: a reload, a drain, and
// a kill or a restart.
func round(t *testing.T, b *kit.Balancer, backends []*kit.Backend, n int, yaml string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var talking sync.WaitGroup
	var wrong atomic.Pointer[error]
	for i := range clients {
		talking.Go(func() {
			for c := 0; ctx.Err() == nil; c++ {
				if err := talk(ctx, b.Address, i, c); err != nil {
					wrong.Store(&err)
					return
				}
			}
		})
	}
	b.WriteConfig(t, yaml+fmt.Sprintf("timeouts: {idle: %ds}\n", 100+n))
	b.Signal(t, syscall.SIGHUP)
	b.AwaitMetrics(t, "reloaded", func(m kit.Metrics) bool {
		return m[`holdfast_config_reloads_total{result="success"}`] == float64(n+1)
	})
	drained, killed := n%3, (n+1)%3
	name := "main/" + kit.BackendName(drained)
	b.Command(t, 0, "drain", name, "--wait")
	b.Command(t, 0, "undrain", name)
	if n%2 == 0 {
		backends[killed].Kill(t)
	}
	backends[killed].Restart(t)
	stop()
	talking.Wait()
	if err := wrong.Load(); err != nil {
		t.Error(*err)
	}
}

// talk is one session of a client. Its end, however it comes, is no fault; a wrong
// message is. How it leaves depends on c.
func talk(ctx context.Context, address string, i, c int) error {
	w, _, err := wspeer.Dial(address, "/echo")
	if err != nil {
		return nil // no backend is up at the moment
	}
	defer w.Close()
	defer context.AfterFunc(ctx, func() { w.SetDeadline(time.Now()) })()
	for m := range 50 {
		text := fmt.Sprintf("%d %d %d", i, c, m)
		if err := w.SendText(text); err != nil {
			return nil
		}
		switch got, err := w.Message(); {
		case err != nil:
			return nil
		case got != text:
			return fmt.Errorf("client %d got %q for %q", i, got, text)
		}
	}
	if c%2 == 0 {
		w.SendClose(1000, "")
		w.Message()
	}
	return nil
}
