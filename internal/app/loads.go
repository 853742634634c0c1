package app

// PoolLoad is how busy a pool is, for a program that scales it.
type PoolLoad struct {
	Pool string
	Feed string // of the pool; "" if it follows none
	// Sessions and Requests are those of all backends, also of those that were removed
	// and still have some. Requests are for plain HTTP, and not among Sessions.
	Sessions, Requests int
	Waiting            int    // handshakes in the queue of a pool with admit
	Messages           uint64 // from both sides, since the pool is there
	Opened             uint64 // sessions that clients have opened, since the pool is there
	Backends           []BackendLoad
}

// BackendLoad is how busy a backend is.
type BackendLoad struct {
	Name, Address string
	Sessions      int
	State         string // as holdfast status shows it
}

// Loads returns the load of every pool, in the order of the configuration. It asks the
// event loops once, and may be called every second.
func (a *App) Loads() []PoolLoad {
	counts := a.metrics.Counts()
	c, pools := a.current.Load(), a.proxy.Generation().Pools
	list, index := make([]PoolLoad, len(c.Pools)), make(map[string]int, len(c.Pools))
	for i := range c.Pools {
		p := &c.Pools[i]
		index[p.Name] = i
		n := counts.Pool(p.Name)
		list[i] = PoolLoad{Pool: p.Name, Feed: p.Feed, Messages: n.Messages(), Opened: n.Opened}
		if g := pools[p.Name]; g != nil && g.Admit != nil {
			list[i].Waiting = g.Admit.Waiting()
		}
	}
	for _, b := range a.registry.Backends() {
		i, ok := index[b.Pool]
		if !ok {
			continue // a pool that was removed
		}
		s := b.State()
		list[i].Sessions += s.Sessions
		list[i].Requests += s.Requests
		list[i].Backends = append(list[i].Backends, BackendLoad{Name: b.Name, Address: b.Address, Sessions: s.Sessions, State: s.Name})
	}
	return list
}
