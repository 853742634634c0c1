package hub

// Queued is how many events wait for Next.
func (m *Membership) Queued() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.backlog) + len(m.queue)
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

// Crash ends a hub over Redis as if its process had been killed: it says
// nothing to anybody.
func Crash(hub Hub) {
	h := hub.(*redisHub)
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.link.close()
	h.running.Wait()
	_ = h.client.Close()
}
