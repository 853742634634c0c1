package app

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// quiet is how long no handshake must have come before tidying up.
const quiet = time.Second

// tidier gives the memory back that a burst of handshakes needed and open
// sessions don't: buffers, stacks, garbage. Go's collector runs when the heap
// grows, so without this it would wait for the next burst. It costs nothing
// while nothing comes: no timer is running then.
type tidier struct {
	latest atomic.Int64 // of the handshakes, in Unix nanoseconds
	armed  atomic.Bool
}

// handshake notes that one has ended. It is called on event loops.
func (t *tidier) handshake(now time.Time) {
	t.latest.Store(now.UnixNano())
	if !t.armed.Load() && t.armed.CompareAndSwap(false, true) {
		time.AfterFunc(quiet, t.look)
	}
}

func (t *tidier) look() {
	if left := quiet - time.Since(time.Unix(0, t.latest.Load())); left > 0 {
		time.AfterFunc(left, t.look)
		return
	}
	t.armed.Store(false)
	runtime.GC() // a sync.Pool is emptied by the second collection
	debug.FreeOSMemory()
}
