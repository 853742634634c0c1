package eventloop

// A slot stands for up to two sockets that belong together: a client's and that
// of the backend chosen for it. It is plain data. Only the slot's owner knows what
// the sockets are for.
//
//	       accept            Conn.Release              Free
//	free ─────────▶ in task ──────────────▶ owned ──────────▶ free
//	  ▲              │ ▲ │ Conn.Park                            │
//	  │              │ │ └───────────▶ parked ──────┐           │
//	  │    task ends │ └─ Parked.Resume ┘           │ gone      │
//	  └──────────────┴─────────────── gen+1 ────────┴───────────┘
type slot struct {
	// Its position on the wheel, while armed. A free slot's next is the next
	// free one.
	next, prev int32
	due        Tick // 0 if it isn't armed

	gen  uint32 // part of every event; an event of another gen is stale
	task int32  // index of the task, nobody, inPark or free
}

// free is the task of a free slot.
const free = int32(-3)

func (s *slot) armed() bool { return s.due != 0 }
func (s *slot) used() bool  { return s.task != free }

const chunkSlots = 512

// slab holds slots by index in chunks, so that growing never moves a slot.
type slab struct {
	chunks [][]slot
	free   int32 // the first free slot, unless all are in use
	inUse  int
}

func (s *slab) at(i int32) *slot { return &s.chunks[i/chunkSlots][i%chunkSlots] }

func (s *slab) take() int32 {
	if s.inUse == len(s.chunks)*chunkSlots {
		s.grow()
	}
	i := s.free
	sl := s.at(i)
	s.free = sl.next
	s.inUse++
	sl.task = nobody
	return i
}

func (s *slab) grow() {
	s.free = int32(len(s.chunks) * chunkSlots)
	chunk := make([]slot, chunkSlots)
	for i := range chunk {
		chunk[i].task = free
		chunk[i].next = s.free + int32(i) + 1 // of the last one it is never used
	}
	s.chunks = append(s.chunks, chunk)
}

// put returns a slot that is not armed.
func (s *slab) put(i int32) {
	sl := s.at(i)
	sl.task = free
	sl.gen++
	sl.next, s.free = s.free, i
	s.inUse--
}
