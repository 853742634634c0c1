package proxy

// Kept is how many sessions' handshakes are kept.
func (p *Proxy) Kept() int { return p.reattacher.Kept() }

// Seldom is the type seldom.
type Seldom struct{ seldom }

// Now is seldom.now.
func (s *Seldom) Now() (more int, ok bool) { return s.now() }
