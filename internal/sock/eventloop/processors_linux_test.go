package eventloop

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestSpareProcessors: they change GOMAXPROCS, and without them other goroutines
// still run while the loops are hot.
func TestSpareProcessors(t *testing.T) {
	base := runtime.GOMAXPROCS(0)
	g := newTestGroup(t, 2, nil)
	g.SpareProcessors(false)
	g.SpareProcessors(false)
	if got := runtime.GOMAXPROCS(0); got != base {
		t.Fatalf("GOMAXPROCS is %d, want %d", got, base)
	}
	for range 20 {
		began := time.Now()
		g.Each(func(int, *Loop) {}) // wakes every loop, so that it is hot
		done := make(chan struct{})
		go close(done)
		<-done
		if took := time.Since(began); took > testkit.Patience {
			t.Fatalf("a goroutine waited %v for a processor", took)
		}
	}
	g.SpareProcessors(true)
	if got := runtime.GOMAXPROCS(0); got != base+2 {
		t.Fatalf("GOMAXPROCS is %d, want %d", got, base+2)
	}
}

// TestProcessorsAreFollowed: the number of usable processors can change, here by
// the affinity mask, in a container by the CPU quota. Without spare processors the
// runtime follows that by itself, with them follow does.
func TestProcessorsAreFollowed(t *testing.T) {
	runtime.LockOSThread() // its mask is the one that is read
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	restrict := func(to *unix.CPUSet) {
		if err := unix.SchedSetaffinity(0, to); err != nil {
			t.Fatal(err)
		}
		follow()
	}
	least, most := 1, all.Count()
	if fixed != 0 { // what the environment says stays
		least, most = fixed, fixed
	}
	g := newTestGroup(t, 2, nil)
	defer restrict(&all)
	restrict(&one)
	if got, all := Processors(), runtime.GOMAXPROCS(0); got != least || all != least+2 {
		t.Errorf("with one processor: Processors is %d and GOMAXPROCS %d, want %d and 2 more", got, all, least)
	}
	g.SpareProcessors(false)
	g.SpareProcessors(true)
	if got := Processors(); got != least {
		t.Errorf("after a while without spare ones, Processors is %d, want %d", got, least)
	}
	restrict(&all)
	if got := Processors(); got != most {
		t.Errorf("with all processors: %d, want %d", got, most)
	}
}
