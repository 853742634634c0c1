package proxy

import "github.com/holdfast-ws/holdfast/internal/stage/route"

// choosePart chooses the pool of a route that has several. It comes after authentication,
// since the choice may be by a claim of the client's token. A handshake that has waited in
// the queue of a pool stays there, if its route still leads to that pool.
func (h *clientHandshake) choosePart() error {
	rule := h.rule
	if w := h.waited; w != nil {
		rule = h.gen.PartOf(rule, w.pool)
	}
	if rule == h.rule {
		rule = h.gen.Choose(rule, &h.req)
	}
	if rule == h.rule {
		return nil
	}
	h.rule = rule
	return h.follow()
}

// choosePart is clientHandshake.choosePart for a request of plain HTTP, by the route or the
// part of it that is given.
func (s *plainRequest) choosePart(rule *route.Rule) error {
	if s.err != nil {
		return nil // choosing a backend fails for the same reason
	}
	if rule == s.rule {
		s.whole = s.rule
		rule = s.gen.Choose(rule, s.parts())
	}
	if rule == s.rule {
		return nil
	}
	s.rule = rule
	s.follow()
	return s.refused()
}

// stayWith chooses the part of the route again by the backends at which the client has
// logged in by its connection: the others don't know of that login.
func (s *plainRequest) stayWith(own []uint32) error {
	if len(own) == 0 || s.err != nil || s.whole == nil {
		return nil
	}
	rule := s.gen.PartWith(s.whole, own)
	if rule == s.whole || rule == s.rule {
		return nil
	}
	return s.choosePart(rule)
}
