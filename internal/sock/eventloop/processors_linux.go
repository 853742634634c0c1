package eventloop

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// procs is the state of GOMAXPROCS, which belongs to the process.
var procs struct {
	sync.Mutex
	extra int         // spare processors included in it
	timer *time.Timer // calls follow; nil while extra is 0
}

// fixed is GOMAXPROCS if the environment sets it; then the runtime doesn't follow
// CPU quotas, and this package doesn't either. 0 means not set.
var fixed = func() int {
	if n, err := strconv.ParseInt(os.Getenv("GOMAXPROCS"), 10, 32); err != nil || n <= 0 {
		return 0
	}
	return runtime.GOMAXPROCS(0)
}()

// refresh is how often the number of processors is read again while there are
// spare ones. Reading it stops the world twice, for about 50 µs each.
const refresh = 30 * time.Second

// Processors is how many processors the process may use, without the spare ones:
// the number of the machine, of the affinity mask or of the cgroup's CPU quota,
// whichever is smallest (see GOMAXPROCS in the runtime's documentation).
func Processors() int {
	procs.Lock()
	defer procs.Unlock()
	return runtime.GOMAXPROCS(0) - procs.extra
}

// SpareProcessors adds to GOMAXPROCS as many spare processors as there are loops,
// or removes them. At the start they are there. A busy loop keeps its processor
// even while it waits. Without spare ones, other goroutines run only when the
// runtime preempts a loop, which can take 10 ms. With them, each such preemption
// makes the runtime wake a thread that looks for work: at 1,000 messages a second
// that costs 5 % of the loops' CPU.
//
// Without spare processors the runtime follows changes of the CPU quota by itself,
// within a second. Setting GOMAXPROCS ends that, so with spare ones this package
// reads the quota again every 30 s.
//
// A change stops the world for about 50 µs. SpareProcessors must not be called on
// a loop.
func (g *Group) SpareProcessors(on bool) {
	procs.Lock()
	defer procs.Unlock()
	if g.spare == on {
		return
	}
	g.spare = on
	n := len(g.loops)
	if !on {
		n = -n
	}
	procs.extra += n
	setProcessors()
	switch {
	case procs.extra == 0:
		procs.timer.Stop()
		procs.timer = nil
	case procs.timer == nil:
		procs.timer = time.AfterFunc(refresh, follow)
	}
}

// follow applies a changed CPU quota.
func follow() {
	procs.Lock()
	defer procs.Unlock()
	if procs.timer != nil {
		setProcessors()
		procs.timer.Reset(refresh)
	}
}

// setProcessors sets GOMAXPROCS to the processors that the process may use now,
// and the spare ones. Without spare ones it leaves GOMAXPROCS to the runtime.
func setProcessors() {
	n := fixed
	if n == 0 {
		runtime.SetDefaultGOMAXPROCS()
		n = runtime.GOMAXPROCS(0)
	}
	if fixed != 0 || procs.extra > 0 {
		runtime.GOMAXPROCS(n + procs.extra)
	}
}
