package proxy

// Kept is how many sessions' handshakes are kept.
func (p *Proxy) Kept() int { return p.reattacher.Kept() }
