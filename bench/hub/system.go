package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// servers is the number of servers that share the rooms.
const servers = 3

// system is servers that share rooms through Redis, all of them in this process. A member
// has a goroutine that gets its events, as the writer of a connection would. There is no
// WebSocket.
type system interface {
	// join adds a member to a room on a server. receive gets all data of the member's
	// events, never concurrently. A member whose server ends its membership joins again,
	// after what it has received, as a client would.
	join(server int, room, member string, receive func(data []byte)) error
	// publish publishes data in a room. If key isn't empty, it can be repeated.
	publish(server int, room, key string, data []byte) error
	// rejoined returns how often members had to join again.
	rejoined() int
	close()
}

// systems are what is compared. NoPresence says that nobody is listed as present.
var systems = []struct {
	name, title string
	open        func(ctx context.Context, url string, noPresence bool) (system, error)
}{
	{"hub", "hub", openHub},
	{"centrifuge", "centrifuge " + centrifugeVersion(), openCentrifuge},
}

// A message has 100 bytes: a mark, the time at which it is sent, a number, and zeros.
const messageSize = 100

var mark = []byte("<bench>!")

var started = time.Now()

func message(number int) []byte {
	b := append(make([]byte, 0, messageSize), mark...)
	b = binary.BigEndian.AppendUint64(b, uint64(time.Since(started)))
	b = binary.BigEndian.AppendUint64(b, uint64(number))
	return b[:messageSize]
}

// messages calls f for each message in data, with its age and its number. Data is one
// event or, with centrifuge, what is written to a connection: the client's protocol, which
// isn't decoded, because the other system doesn't have one.
func messages(data []byte, f func(age time.Duration, number int)) {
	for {
		at := bytes.Index(data, mark)
		if at < 0 || len(data) < at+messageSize {
			return
		}
		stamp := data[at+len(mark):]
		sent := time.Duration(binary.BigEndian.Uint64(stamp))
		f(time.Since(started)-sent, int(binary.BigEndian.Uint64(stamp[8:])))
		data = data[at+messageSize:]
	}
}

// latencies collects up to a fixed number of durations.
type latencies struct {
	all []time.Duration
	n   atomic.Int64
}

func newLatencies(limit int) *latencies { return &latencies{all: make([]time.Duration, limit)} }

func (l *latencies) add(d time.Duration) {
	if i := l.n.Add(1) - 1; int(i) < len(l.all) {
		l.all[i] = d
	}
}

// ms returns a percentile in milliseconds. Nothing may be added any more.
func (l *latencies) ms(percent int) float64 {
	all := slices.Sorted(slices.Values(l.all[:min(int(l.n.Load()), len(l.all))]))
	if len(all) == 0 {
		return 0
	}
	return all[(len(all)-1)*percent/100].Seconds() * 1e3
}

// each calls f with 0 to n-1, up to parallel calls at a time, and returns the first error.
func each(n, parallel int, f func(i int) error) error {
	var next atomic.Int64
	var running sync.WaitGroup
	errs := make(chan error, parallel)
	for range parallel {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	running.Wait()
	close(errs)
	return <-errs
}

// memory returns the memory of this process's heap, and of its goroutines' stacks.
func memory() (heap, stacks int64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}

// processorTime returns what this process has used.
func processorTime() (time.Duration, error) {
	var r syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), err
}
