package eventloop

import (
	"runtime"
	"testing"
	"time"
)

// TestSpareProcessors: they come and go with GOMAXPROCS, and without any other
// goroutines still come to run beside loops that are kept hot.
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
		if took := time.Since(began); took > time.Second {
			t.Fatalf("a goroutine waited %v for a processor", took)
		}
	}
	g.SpareProcessors(true)
	if got := runtime.GOMAXPROCS(0); got != base+2 {
		t.Fatalf("GOMAXPROCS is %d, want %d", got, base+2)
	}
}
