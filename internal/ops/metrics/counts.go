package metrics

import (
	"maps"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/session"
)

// Counts is what was counted with the same Labels. The admin API and programs have it from
// here, so that they show what a scrape does.
type Counts struct {
	Opened, Failed uint64             // handshakes that led to a session, and others
	Sent           [2]session.Traffic // by session.Side
	Closes         [maxCauses]uint64  // sessions that ended, by session.Cause
	// Durations has the handshakes by the time they took: at most Bounds()[i] in the i-th,
	// and longer in the last.
	Durations [len(durationBuckets) + 1]uint64
}

// Bounds are the bounds of Counts.Durations in seconds. The caller must not change it.
func Bounds() []float64 { return durationBuckets[:] }

// Closed is the number of sessions that ended.
func (c *Counts) Closed() (n uint64) {
	for _, some := range c.Closes {
		n += some
	}
	return n
}

// Messages is the number of messages from both sides, and Bytes that of bytes.
func (c *Counts) Messages() uint64 {
	return c.Sent[session.Client].Messages + c.Sent[session.Backend].Messages
}

// Bytes includes the headers of frames.
func (c *Counts) Bytes() uint64 {
	return c.Sent[session.Client].Bytes + c.Sent[session.Backend].Bytes
}

// add adds what was counted in s. The caller holds refreshing.
func (c *Counts) add(s *series, opened int) {
	for i := range s.handshakes.results {
		if n := s.handshakes.results[i].Load(); i == opened {
			c.Opened += n
		} else {
			c.Failed += n
		}
	}
	for i := range c.Durations {
		c.Durations[i] += s.handshakes.duration.counts[i].Load()
	}
	for cause := range c.Closes {
		if codes := s.closes.counts[cause].Load(); codes != nil {
			for i := range codes {
				c.Closes[cause] += codes[i].Load()
			}
		}
	}
	for side := range c.Sent {
		c.Sent[side].Messages += s.traffic[side].Messages
		c.Sent[side].Bytes += s.traffic[side].Bytes
	}
}

// plus adds o.
func (c *Counts) plus(o *Counts) {
	c.Opened += o.Opened
	c.Failed += o.Failed
	for i := range c.Durations {
		c.Durations[i] += o.Durations[i]
	}
	for i := range c.Closes {
		c.Closes[i] += o.Closes[i]
	}
	for side := range c.Sent {
		c.Sent[side].Messages += o.Sent[side].Messages
		c.Sent[side].Bytes += o.Sent[side].Bytes
	}
}

// AllCounts has the Counts of all pools and backends at one moment.
type AllCounts struct {
	backends map[Labels]*Counts
	pools    map[string]*Counts
}

// Backend returns the counts of a backend. Those of backends that had the same name before
// are included, as far as a scrape has them.
func (a *AllCounts) Backend(pool, name string) *Counts { return a.of(Labels{pool, name}.valid()) }

func (a *AllCounts) of(l Labels) *Counts {
	if c := a.backends[l]; c != nil {
		return c
	}
	return &Counts{}
}

// Pool returns the counts of a pool since the start, or since the pool is there: those of
// all its backends, also of those that have left, and of handshakes for which no backend
// was chosen.
func (a *AllCounts) Pool(name string) *Counts {
	if c := a.pools[validUTF8(name)]; c != nil {
		return c
	}
	return &Counts{}
}

// Counts returns what was counted so far. It asks the event loops, and must not be called
// on one.
func (m *Metrics) Counts() *AllCounts {
	m.refreshing.Lock()
	defer m.refreshing.Unlock()
	list, _ := m.refresh()
	all := &AllCounts{backends: make(map[Labels]*Counts, len(list)), pools: make(map[string]*Counts, len(m.gone))}
	for pool, c := range m.gone {
		gone := *c
		all.pools[pool] = &gone
	}
	for _, s := range list {
		if s.Pool == "" {
			continue
		}
		c := &Counts{}
		c.add(s, m.opened)
		if s.Backend != "" {
			all.backends[s.Labels] = c
		}
		if p := all.pools[s.Pool]; p != nil {
			p.plus(c)
		} else {
			sum := *c
			all.pools[s.Pool] = &sum
		}
	}
	return all
}

// keep adds what a series counted to its pool before the series is deleted. The caller
// holds refreshing.
func (m *Metrics) keep(s *series) {
	if s.Pool == "" {
		return
	}
	if m.gone[s.Pool] == nil {
		m.gone[s.Pool] = &Counts{}
	}
	m.gone[s.Pool].add(s, m.opened)
}

// forgetPools forgets the pools that aren't known any more. The caller holds refreshing.
func (m *Metrics) forgetPools(known map[Labels]bool) {
	maps.DeleteFunc(m.gone, func(pool string, _ *Counts) bool { return !known[Labels{Pool: pool}] })
}

// openedIndex is the index of the result that means a session; -1 if there is none.
func openedIndex(o *Options) int { return slices.Index(o.HandshakeResults, o.Opened) }
