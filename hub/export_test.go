package hub

// Queued is how many events wait for Next.
func (m *Membership) Queued() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.backlog) + len(m.queue)
}
