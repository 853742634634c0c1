package proxy

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// usualKept is a handshake with a head of 500 bytes.
func usualKept() *kept {
	return &kept{
		head: make([]byte, 500), pool: "chat",
		peer: netip.MustParseAddrPort("192.0.2.1:1234"), local: netip.MustParseAddrPort("192.0.2.2:80"),
	}
}

// scattered are IDs as random ones are spread, the same each time.
func scattered(i int) (id session.ID) {
	binary.LittleEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15)
	return id
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestKeptMemory bounds what a kept session costs, and what is left of it.
func TestKeptMemory(t *testing.T) {
	const n = 100_000
	var table keptTable
	before := heap()
	for i := range n {
		table.put(scattered(i), usualKept())
	}
	each := (heap() - before) / n
	if table.len() != n {
		t.Fatalf("%d are kept", table.len())
	}
	for i := range n {
		table.forget(scattered(i))
	}
	left := int64(heap()-before) / n
	t.Logf("a head of 500 bytes kept costs %d bytes; forgotten, %d", each, left)
	if each > 720 {
		t.Errorf("a head of 500 bytes kept costs %d bytes", each)
	}
	if left > 2 || table.len() != 0 {
		t.Errorf("forgotten, %d bytes are left of each; %d entries", left, table.len())
	}
}

func TestKeptTable(t *testing.T) {
	var table keptTable
	var all sync.WaitGroup
	const workers, each = 8, 2000
	for w := range workers {
		all.Go(func() {
			mine := map[session.ID]*kept{}
			for i := range each {
				id := scattered(w*each + i)
				mine[id] = usualKept()
				table.put(id, mine[id])
			}
			for id, k := range mine {
				if table.find(id) != k {
					t.Error("not what was put")
				}
				table.forget(id)
				if table.find(id) != nil {
					t.Error("still there")
				}
				table.forget(id)
			}
		})
	}
	all.Wait()
	if n := table.len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func BenchmarkKept(b *testing.B) {
	var table keptTable
	for i := range 100_000 {
		table.put(scattered(i), usualKept())
	}
	k := usualKept()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := scattered(100_000 + i)
		table.put(id, k)
		table.forget(id)
	}
}
