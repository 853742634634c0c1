package relay

import (
	"runtime"
	"testing"
	"time"
)

// The memory of a session that waits in the reattach queue.
func TestWaitingMemory(t *testing.T) {
	const sessions = 10_000
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	el := &epollLoop{}
	for slot := range int32(sessions) {
		el.moveOf(slot).pausedAt = time.Now()
		el.queue.join(slot, true)
	}
	each := (heap() - before) / sessions
	t.Logf("%d bytes", each)
	if each > 200 {
		t.Errorf("a session that waits costs %d bytes", each)
	}
	runtime.KeepAlive(el)
}
