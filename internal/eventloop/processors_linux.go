package eventloop

import (
	"runtime"
	"sync"
)

// procs guards changes of GOMAXPROCS, which is the process's.
var procs sync.Mutex

// SpareProcessors says whether there are to be as many processors more as
// there are loops (GOMAXPROCS), as there are at first. A loop with work to do
// keeps its processor to itself even while it waits, so without spare ones
// other goroutines come to run when the runtime preempts a loop, which can take
// 10 ms. With them, each such preemption has the runtime wake a thread that
// looks for work: at 1,000 messages a second, 5 % of the loops' CPU.
//
// It stops the world for some 50 µs where it changes something. It must not be
// called on a loop.
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
	runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)+n))
}
