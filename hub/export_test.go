package hub

import "slices"

// Queued is the number of events that wait for Next.
func (m *Membership) Queued() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.backlog) + len(m.queue)
}

// Queued is the number of events that wait for Next, without Entered.
func (s *Session) Queued() int {
	s.mu.Lock()
	var all []*Membership
	if s.direct != nil {
		all = append(all, s.direct.m)
	}
	for _, p := range s.rooms {
		if p.m != nil {
			all = append(all, p.m)
		}
	}
	s.mu.Unlock()
	n := 0
	for _, m := range all {
		n += m.Queued()
	}
	return n
}

// Newest is the data of the event that was queued last.
func (m *Membership) Newest() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return ""
	}
	return string(m.queue[len(m.queue)-1].Data)
}

// Crash ends a hub as if its process had been killed: it doesn't remove its
// members or its lease.
func Crash(hub Hub) {
	h := hub.(*redisHub)
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.subscriber.close()
	h.goroutines.Wait()
	_ = h.client.Close()
}

// PageBytes is the size of a page of the history.
const PageBytes = pageBytes

// Held is the size of the messages that wait for Next, in bytes.
func (m *Membership) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, e := range slices.Concat(m.backlog, m.queue) {
		n += len(e.Data)
	}
	return n
}
