package app

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// quiet is how long no handshake or session must have ended before memory is
// trimmed.
const quiet = time.Second

// memoryTrimmer returns memory to the system that a burst of handshakes or
// sessions needed and open sessions don't: buffers, stacks, records, garbage.
// Go's collector runs when the heap grows, so otherwise it would wait for the
// next burst. While nothing happens, no timer runs.
type memoryTrimmer struct {
	trim   func()
	latest atomic.Int64 // when a handshake or a session ended, in Unix nanoseconds
	armed  atomic.Bool
}

// note is called on event loops when a handshake or a session has ended.
func (t *memoryTrimmer) note(now time.Time) {
	t.latest.Store(now.UnixNano())
	if !t.armed.Load() && t.armed.CompareAndSwap(false, true) {
		time.AfterFunc(quiet, t.run)
	}
}

func (t *memoryTrimmer) run() {
	if left := quiet - time.Since(time.Unix(0, t.latest.Load())); left > 0 {
		time.AfterFunc(left, t.run)
		return
	}
	t.armed.Store(false)
	t.collect()
}

// collect returns what isn't needed now.
func (t *memoryTrimmer) collect() {
	t.trim()
	runtime.GC() // FreeOSMemory collects again, and the second collection empties a sync.Pool
	debug.FreeOSMemory()
}
