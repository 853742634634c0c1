package relay

import (
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// meters count what the sessions of each backend have sent. They belong to one loop,
// so counting costs two additions, and a map access if the backend is another one
// than before.
type meters struct {
	all  map[uint32]*[2]session.Traffic // by backend
	last uint32                         // the backend of at
	at   *[2]session.Traffic            // nil at first
}

// of is the meter of a backend, by session.Side.
func (m *meters) of(backend uint32) *[2]session.Traffic {
	if m.at != nil && m.last == backend {
		return m.at
	}
	return m.find(backend)
}

func (m *meters) find(backend uint32) *[2]session.Traffic {
	t := m.all[backend]
	if t == nil {
		if m.all == nil {
			m.all = make(map[uint32]*[2]session.Traffic)
		}
		t = new([2]session.Traffic)
		m.all[backend] = t
	}
	m.last, m.at = backend, t
	return t
}

// read adds the meters to sum, and drops those for which keep returns false.
func (m *meters) read(sum map[uint32][2]session.Traffic, keep func(backend uint32) bool) {
	for backend, t := range m.all {
		s := sum[backend]
		for side := range s {
			s[side].Messages += t[side].Messages
			s[side].Bytes += t[side].Bytes
		}
		sum[backend] = s
		if !keep(backend) {
			delete(m.all, backend)
		}
	}
	m.at = nil // it may be one of those
}

// portableMeter counts what the sessions of one backend have sent, by
// session.Side.
type portableMeter [2]struct{ messages, bytes atomic.Uint64 }

// meter is the backend's; a session keeps it while it is with that backend.
func (e *Portable) meter(backend uint32) *portableMeter {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := e.meters[backend]
	if m == nil {
		m = new(portableMeter)
		e.meters[backend] = m
	}
	return m
}

// count implements connections. mu is held.
func (ps *portableSession) count(r *record, s session.Side, bytes, messages uint64) {
	ps.engine.traffic[s].bytes.Add(bytes)
	ps.engine.traffic[s].messages.Add(messages)
	if ps.meter == nil || ps.metered != r.backend {
		ps.meter, ps.metered = ps.engine.meter(r.backend), r.backend
	}
	ps.meter[s].bytes.Add(bytes)
	ps.meter[s].messages.Add(messages)
}

// BackendTraffic implements Engine.
func (e *Portable) BackendTraffic(keep func(backend uint32) bool) map[uint32][2]session.Traffic {
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := make(map[uint32][2]session.Traffic, len(e.meters))
	for backend, m := range e.meters {
		var t [2]session.Traffic
		for side := range t {
			t[side] = session.Traffic{Messages: m[side].messages.Load(), Bytes: m[side].bytes.Load()}
		}
		sum[backend] = t
		if !keep(backend) {
			delete(e.meters, backend)
		}
	}
	return sum
}
