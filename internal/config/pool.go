package config

import (
	"slices"

	"go.yaml.in/yaml/v4"
)

// Pool is a group of backends that serve the same.
type Pool struct {
	Name    string
	Balance string // "round_robin", "least_conn", "p2c", "random" or "hash"
	// Hash is for Balance "hash", and zero with others.
	Hash Hash
	// MaxSessions bounds the sessions of all backends together; 0 is no bound.
	MaxSessions int
	Affinity    Affinity
	Health      Health
	Drain       Drain
	Admit       *Admit     // nil: no bound
	Reattach    *Reattach  // nil: never
	Rebalance   *Rebalance // nil: never
	// Backends are those in the file; names and addresses are unique among
	// them. It is empty only if there is DNS or File, which find others.
	Backends []Backend
	DNS      *DNS // nil: none
	// File is the absolute path of a file that lists backends; "" is none.
	File string
	Pos
}

// Backend is one server of a pool.
type Backend struct {
	Name        string
	Address     string // "host:port", the host a name or an IP, the port not 0
	Weight      int    // 1 to 256
	MaxSessions int    // 0 is no bound
}

// Hash says what of a request chooses its backend.
type Hash struct {
	// Key has at least one of "client_ip", "path", "header:NAME",
	// "query:NAME" and "cookie:NAME"; several are joined.
	Key []string
	// Bound is how many times its share of the sessions a backend may have: 0
	// is no bound, else 1.05 to 10.
	Bound float64
}

// Values a key has when it is left out. DefaultBalance and DefaultWeight are
// for every pool and backend and so not part of Defaults.
const (
	DefaultBalance = "least_conn"
	DefaultWeight  = 1
)

const maxWeight = 256

const noBackends = "the pool has no backends: list them under backends, or find them by dns or file"

type poolDraft struct {
	name        located[string]
	balance     located[string]
	hash        located[Hash]
	maxSessions located[int]
	affinity    Affinity
	health      healthDraft
	drain       drainDraft
	admit       *Admit
	reattach    *Reattach
	onRebalance place // where reattach says that word
	rebalance   *rebalanceDraft
	backends    []backendDraft
	dns         *DNS
	file        string
	// sourced: there is something that backends come from, be it a wrong one.
	sourced bool
	// empty is where an empty list of backends stands.
	empty place
}

type backendDraft struct {
	name        located[string]
	address     located[address]
	weight      int
	maxSessions int
}

func newPoolDraft(name located[string]) poolDraft {
	return poolDraft{
		name:     name,
		balance:  located[string]{value: DefaultBalance, ok: true},
		hash:     located[Hash]{value: Hash{Key: []string{"client_ip"}, Bound: 1.25}},
		affinity: Affinity{Fallback: "balance"},
		health:   newHealthDraft(),
		drain:    newDrainDraft(),
	}
}

func readPools(d *decoder, n *yaml.Node, f *draft) {
	entries, ok := d.entries(n, "a mapping from names to pools")
	f.badPools = !ok
	if ok && len(entries) == 0 {
		d.fail(d.at(n), noPools)
	}
	for _, e := range entries {
		p := newPoolDraft(d.checkName(located[string]{e.key, e.at, true}))
		p.empty = e.at
		misspelt, ok := readMapping(d, e.value, "a pool with balance and backends", e.at, poolKeys, &p)
		for _, source := range []string{"backends", "dns", "file"} {
			p.sourced = p.sourced || slices.Contains(misspelt, source)
		}
		if ok && !p.sourced {
			d.fail(p.empty, noBackends)
		}
		f.pools = append(f.pools, p)
	}
}

var poolKeys = []key[poolDraft]{
	{name: "balance", read: func(d *decoder, n *yaml.Node, p *poolDraft) {
		p.balance.ok = d.choice(n, &p.balance.value, "round_robin", "least_conn", "p2c", "random", "hash")
	}},
	{name: "hash", read: func(d *decoder, n *yaml.Node, p *poolDraft) {
		if !isNull(n) {
			p.hash.at, p.hash.ok = d.at(n), true
			readMapping(d, n, "a mapping with key and bound", p.hash.at, hashKeys, &p.hash.value)
		}
	}},
	{name: "max_sessions", read: func(d *decoder, n *yaml.Node, p *poolDraft) {
		p.maxSessions.at, p.maxSessions.ok = d.at(n), d.integer(n, &p.maxSessions.value, 0, maxLimit)
	}},
	{name: "affinity", read: readAffinity},
	{name: "health", read: readHealth},
	{name: "drain", read: readDrain},
	{name: "admit", read: readAdmit},
	{name: "reattach", read: readReattach},
	{name: "rebalance", read: readRebalance},
	{name: "backends", read: func(d *decoder, n *yaml.Node, p *poolDraft) {
		items, ok := d.list(n, "a list of backends")
		p.sourced = !ok || len(items) > 0
		p.empty = d.at(n)
		for _, item := range items {
			b := backendDraft{weight: DefaultWeight}
			if _, ok := readMapping(d, item, "a backend with an address", d.at(item), backendKeys, &b); ok {
				p.backends = append(p.backends, b)
			}
		}
	}},
	{name: "dns", read: readDNS},
	{name: "file", read: readFilePath},
}

var backendKeys = []key[backendDraft]{
	{name: "name", read: func(d *decoder, n *yaml.Node, b *backendDraft) {
		b.name = d.name(n)
	}},
	{name: "address", missing: "the backend has no address: write for example address: 10.0.0.1:3000", read: func(d *decoder, n *yaml.Node, b *backendDraft) {
		if text, ok := d.scalar(n, "an address such as 10.0.0.1:3000"); ok {
			b.address = d.address(text.value, text.at, backendAddress)
		}
	}},
	{name: "weight", read: func(d *decoder, n *yaml.Node, b *backendDraft) {
		d.weight(n, &b.weight)
	}},
	{name: "max_sessions", read: func(d *decoder, n *yaml.Node, b *backendDraft) {
		d.integer(n, &b.maxSessions, 0, maxLimit)
	}},
}

var hashKeys = []key[Hash]{
	{name: "key", read: func(d *decoder, n *yaml.Node, h *Hash) {
		d.requestParts(n, &h.Key, hashParts)
	}},
	{name: "bound", read: func(d *decoder, n *yaml.Node, h *Hash) {
		d.bound(n, &h.Bound)
	}},
}

// checkPool looks at how the keys of a pool go together.
func (r *report) checkPool(p poolDraft) Pool {
	pool := Pool{
		Name:        p.name.value,
		Balance:     p.balance.value,
		MaxSessions: p.maxSessions.value,
		Affinity:    p.affinity,
		Health:      p.health.settings(),
		Drain:       r.checkDrain(p),
		Admit:       p.admit,
		Reattach:    p.reattach,
		Rebalance:   r.checkRebalance(p),
		Backends:    r.checkBackends(p.backends),
		DNS:         p.dns,
		File:        p.file,
		Pos:         p.name.at.Pos,
	}
	if p.balance.value == "hash" {
		pool.Hash = p.hash.value
	} else if p.hash.ok && p.balance.ok {
		r.fail(p.hash.at, "hash is only for balance: hash, and this pool has balance: %s", p.balance.value)
	}
	if pool.DNS != nil || pool.File != "" {
		return pool // how many backends there are is not known
	}
	most := 0
	for _, b := range pool.Backends {
		if b.MaxSessions == 0 {
			most = maxLimit
		}
		most = min(most+b.MaxSessions, maxLimit)
	}
	if p.maxSessions.ok && pool.MaxSessions > most {
		r.warn(p.maxSessions.at, "max_sessions %d is never reached: those of the backends come to %d", pool.MaxSessions, most)
	}
	if h := p.health.minHealthy; h.ok && h.value.count > len(pool.Backends) {
		r.warn(h.at, "min_healthy %d is more than the backends there are, %d: their health would never count", h.value.count, len(pool.Backends))
	}
	return pool
}

func (r *report) checkBackends(drafts []backendDraft) (backends []Backend) {
	names, addresses := make(map[string]place), make(map[string]place)
	for _, b := range drafts {
		address := located[string]{b.address.value.String(), b.address.at, b.address.ok}
		unique := r.checkUnique(addresses, "backend address", address)
		name := b.name
		if !name.ok && unique {
			name = address
		}
		r.checkUnique(names, "backend name", name)
		backends = append(backends, Backend{name.value, address.value, b.weight, b.maxSessions})
	}
	return backends
}
