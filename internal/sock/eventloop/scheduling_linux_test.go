package eventloop

import (
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestCollectorIsNotKeptWaiting: loops that keep their processors, under constant
// traffic or while they wait for more, stop for the garbage collector. Signals
// interrupt their wait.
func TestCollectorIsNotKeptWaiting(t *testing.T) {
	for name, pause := range map[string]time.Duration{
		"constant traffic": 0,
		"hot but idle":     hotWait * 8 / 10, // more comes just before a loop would let go
	} {
		t.Run(name, func(t *testing.T) {
			g := newTestGroup(t, 2, nil)
			to, _ := listen(t, g, echo)
			var stop atomic.Bool
			var work sync.WaitGroup
			for range 8 { // some for each loop
				c := dial(t, to)
				work.Go(func() {
					b := make([]byte, 64)
					for !stop.Load() {
						c.Write(b)
						if _, err := io.ReadFull(c, b); err != nil {
							t.Error(err)
							return
						}
						time.Sleep(pause)
					}
				})
			}
			var collect, world []time.Duration
			var m runtime.MemStats
			for range 20 {
				began := time.Now()
				runtime.GC()
				collect = append(collect, time.Since(began))
				began = time.Now()
				runtime.ReadMemStats(&m) // stops the world
				world = append(world, time.Since(began))
			}
			stop.Store(true)
			work.Wait()
			slices.Sort(collect)
			slices.Sort(world)
			// make bench-continuity prints these.
			t.Logf("GC: median %v, target <= %v; longest %v", collect[10], 100*time.Millisecond, collect[19])
			t.Logf("stopping the world: median %v, target <= %v; longest %v", world[10], hotWait/2, world[19])
			// A loop that does not stop for the collector never does while there is
			// traffic.
			if collect[19] > testkit.Patience || world[19] > testkit.Patience {
				t.Errorf("GC took %v, stopping the world %v", collect[19], world[19])
			}
		})
	}
}

// TestIdleLoopsUseNoCPU: after some idle milliseconds a loop blocks the ordinary
// way.
func TestIdleLoopsUseNoCPU(t *testing.T) {
	g := newTestGroup(t, 2, nil)
	to, _ := listen(t, g, echo)
	var conns []net.Conn
	for range 50 { // open, and idle
		c := dial(t, to)
		write(t, c, "x")
		wantRead(t, c, "x")
		conns = append(conns, c)
	}
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	// 1 % of a core is usual; loops that do not wait take one each.
	const usual, limit = 10 * time.Millisecond, 200 * time.Millisecond
	var d time.Duration
	for range 3 { // the runtime may have had something to do
		runtime.GC()
		time.Sleep(200 * time.Millisecond)
		before := used()
		time.Sleep(time.Second)
		if d = used() - before; d < limit {
			t.Logf("CPU time of idle loops in a second: %v, target <= %v", d, usual)
			return
		}
	}
	t.Errorf("%v of CPU in a second, with %d idle connections", d, len(conns))
}
