package relay

import (
	"unsafe"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// TLSSideSize is how much a side with TLS takes, in bytes, beside the record.
const TLSSideSize = unsafe.Sizeof(tlsSide{})

// TLSMemory is what the loops of an engine have for TLS.
type TLSMemory struct {
	Chunks  [2]int // by side; each has the states of that side for chunkRecords slots
	States  int    // that are not zero
	Begun   int    // beginnings of records
	Numbers int    // of such beginnings, in use or not
	Ends    int
	Buffers int // bytes
	Layers  int
	Mute    int // states that seal nothing any more
}

// TLSMemory returns the sum over all loops.
func (e *Epoll) TLSMemory() (m TLSMemory) {
	e.Group.Each(func(i int, _ *eventloop.Loop) {
		t := &e.loops[i].tls
		for s := range t.chunks {
			for _, chunk := range t.chunks[s] {
				if chunk != nil {
					m.Chunks[session.Side(s)]++
				}
				for i := range chunk {
					if chunk[i] != (tlsSide{}) {
						m.States++
						state := chunk[i].state
						if len(tlsrec.NewLayer(1).Seal(&state, nil, []byte("x"))) == 0 {
							m.Mute++
						}
					}
				}
			}
		}
		m.Begun += len(t.begun.kept) - len(t.begun.free)
		m.Numbers += len(t.begun.kept)
		m.Ends += len(t.ends)
		m.Buffers += cap(t.cipher) + cap(t.sealed) + t.begun.size
		if t.layer != nil {
			m.Layers++
		}
	})
	return m
}
