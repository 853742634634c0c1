package config

import (
	"iter"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Split divides requests or connections among pools by weight. A client that belongs to
// one of the pools by its affinity stays there.
type Split []SplitPart

// SplitPart is one of the pools of a Split, with its share. It has exactly one of Pool and
// Respond.
type SplitPart struct {
	Pool string `key:"pool" want:"the name of a pool"` // in Pools
	// Weight is in proportion to those of the other parts. A part with 0 gets no new
	// clients, only those that belong to its pool.
	Weight  int      `key:"weight" range:"0..1000000" write:"always"`
	Respond *Respond `key:"respond" want:"a mapping with status and body"` // nil: none

	// RequestHeaders and ResponseHeaders are after those of the route.
	RequestHeaders  HeaderEdits `key:"request_headers" want:"a mapping with set, add and remove"`
	ResponseHeaders HeaderEdits `key:"response_headers" want:"a mapping with set, add and remove"`
}

// SetDefaults implements Defaulter.
func (p *SplitPart) SetDefaults() { p.Weight = 1 }

// maxSplit bounds the parts of a split.
const maxSplit = 64

// Pools are the names of the pools that requests of the route go to.
func (r *Route) Pools() iter.Seq[string] { return poolsOf(r.Pool, r.Split) }

// Pools are the names of the pools that connections of a listener without requests go to.
func (l *Listener) Pools() iter.Seq[string] { return poolsOf(l.Pool, l.Split) }

// toPools reports whether requests go to some pool.
func (r *Route) toPools() bool {
	for range r.Pools() {
		return true
	}
	return false
}

func (r *Route) leadsTo(pool string) bool {
	for name := range r.Pools() {
		if name == pool {
			return true
		}
	}
	return false
}

// opaqueBy is the condition by which a route is for connections without requests; "" if it
// isn't.
func opaqueBy(r *Route) string {
	switch {
	case r.Match.SNI != pattern.Host{}:
		return "sni"
	case r.Match.ALPN != "":
		return "alpn"
	}
	return ""
}

func poolsOf(pool string, split Split) iter.Seq[string] {
	return func(yield func(string) bool) {
		if pool != "" && !yield(pool) {
			return
		}
		for i := range split {
			if split[i].Pool != "" && !yield(split[i].Pool) {
				return
			}
		}
	}
}

// split checks the pools of a route or a listener at p, except their header fields. opaque
// is a mode or a condition by which it has connections instead of requests; "" is none.
func (v *Validator) split(p Path, c *Config, known map[string]bool, s Split, opaque string) {
	if !v.OK(p) {
		return
	}
	if len(s) == 0 {
		if v.Given(p) {
			v.Fail(p, "the list of pools is empty: give at least one")
		}
		return
	}
	if len(s) > maxSplit {
		v.Fail(p, "the list has %d pools, and %d is the most", len(s), maxSplit)
		return
	}
	sum, sure := 0, true
	for i := range s {
		part, at := &s[i], p.Index(i)
		if !v.OK(at) {
			sure = false
			continue
		}
		sum += part.Weight
		sure = sure && v.OK(at.Key("weight"))
		pool, respond := at.Key("pool"), at.Key("respond")
		switch {
		case part.Respond != nil && opaque != "" && v.OK(respond):
			v.Fail(respond, "respond answers requests, and with %s there are none: leave it out", opaque)
		case part.Respond != nil && part.Pool != "" && v.OK(pool) && v.OK(respond):
			v.Fail(respond, "this part of the split has a pool, too: leave one of the two out")
		case part.Respond == nil && part.Pool == "":
			v.Require(pool, v.Given(pool) || v.Given(respond), "this part of the split has no pool: write for example {pool: chat, weight: 90}")
		case part.Pool != "" && v.OK(pool):
			v.knownPool(pool, c, known, part.Pool)
		}
		if part.Respond != nil && v.OK(respond) {
			v.respond(respond, part.Respond)
		}
		v.splitHeaders(at, part, opaque)
	}
	if sum == 0 && sure && v.OK(p) {
		v.Fail(p, "all weights are 0, so that nobody gets a pool: give one of the pools a weight")
	}
	seen := map[string]Path{}
	for i := range s {
		if at := p.Index(i); s[i].Pool != "" && v.OK(at) && v.OK(at.Key("pool")) {
			v.unique(seen, "pool", s[i].Pool, at.Key("pool"))
		}
	}
}

// splitHeaders reports edits of header fields where there are none.
func (v *Validator) splitHeaders(at Path, part *SplitPart, opaque string) {
	for _, e := range []struct {
		key string
		HeaderEdits
	}{{"request_headers", part.RequestHeaders}, {"response_headers", part.ResponseHeaders}} {
		some := e.Set != nil || e.Add != nil || e.Remove != nil
		switch p := at.Key(e.key); {
		case !some && !v.Given(p) || !v.OK(p):
		case opaque != "":
			v.Fail(p, "%s is about requests, and with %s there are none: leave it out", e.key, opaque)
		case part.Respond != nil && e.key == "request_headers":
			v.Fail(p, "%s is about backends, and this part of the split answers its requests itself: leave it out", e.key)
		}
	}
}

// isolate checks the hosts of a listener with TLS that are apart.
func (v *Validator) isolate(p Path, t *ListenerTLS) {
	list := p.Key("isolate")
	if !v.OK(list) {
		return
	}
	v.distinct("host", list, len(t.Isolate), func(i int) string { return t.Isolate[i].String() })
	if i := slices.Index(t.Isolate, pattern.Host{}); i >= 0 && v.OK(list.Index(i)) {
		v.Fail(list.Index(i), "the host is empty: those that aren't in the list are one group already")
	}
}
