package eventloop

// A slot stands for up to two sockets that belong together: a client's and
// that of the backend chosen for it. It is plain data; what the sockets are
// for is known to the slot's owner alone.
//
//	       accept            Conn.Release              Free
//	free ─────────▶ in task ──────────────▶ owned ──────────▶ free
//	  ▲                │  task ends                             │
//	  └────────────────┴──────────── gen+1 ─────────────────────┘
type slot struct {
	link
	gen  uint32 // told with every event; an event of another gen is stale
	task int32  // index of the task, or nobody
	used bool
}

const chunkSlots = 512

// slab holds slots by index in chunks, so that growing never moves one.
type slab struct {
	chunks [][]slot
	free   []int32
	inUse  int
}

func (s *slab) at(i int32) *slot { return &s.chunks[i/chunkSlots][i%chunkSlots] }

func (s *slab) take() int32 {
	if len(s.free) == 0 {
		base := int32(len(s.chunks) * chunkSlots)
		s.chunks = append(s.chunks, make([]slot, chunkSlots))
		for i := int32(chunkSlots) - 1; i >= 0; i-- {
			s.free = append(s.free, base+i)
		}
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.inUse++
	sl := s.at(i)
	sl.used, sl.task = true, nobody
	return i
}

func (s *slab) put(i int32) {
	sl := s.at(i)
	sl.used = false
	sl.gen++
	s.free = append(s.free, i)
	s.inUse--
}
