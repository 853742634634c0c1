package proxy

import (
	"net/netip"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/handshake"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// maxKept bounds the head of a handshake that is kept, in bytes. A session
// whose head is larger can't be given another backend.
const maxKept = 8 << 10

// kept is what of a handshake a later one with another backend needs. It never
// changes. It is all that a session of a pool with reattach costs beyond
// others.
type kept struct {
	head        []byte // as it came from the client
	pool        string
	protocol    string // the subprotocol, "" for none
	deflate     handshake.Deflate
	peer, local netip.AddrPort // of the client's connection
}

// agreed is what the first backend settled with the client.
func (k *kept) agreed() handshake.Agreed {
	return handshake.Agreed{Protocol: []byte(k.protocol), Deflate: k.deflate}
}

// keptTable has the handshakes of live sessions. It stands outside
// generations, as sessions do. IDs are drawn at random, so that any byte of
// one spreads them evenly; the shards keep the time short for which a loop may
// wait for another one.
type keptTable struct {
	shards [64]struct {
		mu   sync.Mutex // guards the following
		kept map[session.ID]*kept
		most int // entries that the map has had room for
	}
}

func (t *keptTable) put(id session.ID, k *kept) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[session.ID]*kept)
	}
	s.kept[id] = k
	s.most = max(s.most, len(s.kept))
}

// find returns nil for a session of which nothing is kept.
func (t *keptTable) find(id session.ID) *kept {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[id]
}

func (t *keptTable) forget(id session.ID) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, id)
	// A map never gives memory back by itself.
	if s.most > 64 && len(s.kept) < s.most/4 {
		smaller := make(map[session.ID]*kept, len(s.kept))
		for id, k := range s.kept {
			smaller[id] = k
		}
		s.kept, s.most = smaller, len(smaller)
	}
}

func (t *keptTable) len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.kept)
		s.mu.Unlock()
	}
	return n
}
