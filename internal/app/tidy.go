package app

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// quiet is how long nothing must have begun or ended before tidying up.
const quiet = time.Second

// tidier gives the memory back that a burst of handshakes or sessions needed
// and those that stay open don't: buffers, stacks, records, garbage. Go's collector runs when the heap
// grows, so without this it would wait for the next burst. It costs nothing
// while nothing comes: no timer is running then.
type tidier struct {
	trim   func()
	latest atomic.Int64 // handshake or end of a session, in Unix nanoseconds
	armed  atomic.Bool
}

// note is called on event loops when a handshake or a session has ended.
func (t *tidier) note(now time.Time) {
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
	t.trim()
	runtime.GC() // a sync.Pool is emptied by the second collection
	debug.FreeOSMemory()
}
