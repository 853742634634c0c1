package config

import (
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

func (v *Validator) listeners(c *Config) {
	v.Require("listeners", len(c.Listeners) > 0, "no listeners: give at least one address to listen on")
	taken, names, serves := make(ports), make(map[string]Path), len(c.Listeners) == 0
	for i := range c.Listeners {
		l, p := &c.Listeners[i], Path("listeners").Index(i)
		if !v.OK(p) {
			serves = true // perhaps
			continue
		}
		address, name := p.Key("address"), p.Key("name")
		if l.TLS != nil {
			v.listenerTLS(p.Key("tls"), l.TLS)
		}
		v.introduced(p, l)
		v.access(p, l.Allow, l.Deny, l.Origins)
		if redirect := p.Key("redirect"); l.Redirect != "" && l.TLS != nil && v.OK(redirect) {
			v.Fail(redirect, "redirect is for a listener without tls, whose clients it sends to https: leave one of the two out")
		}
		v.auth(p.Key("auth"), l.Auth)
		serves = serves || l.Redirect == "" || !v.OK(p.Key("redirect"))
		if !v.Given(address) && !v.program() { // the address ":0" is zero, too
			v.Require(address, false, `the listener has no address: write for example address: ":8080"`)
		}
		free := v.OK(address) && v.port(taken, "listener address", address, l.Address)
		if l.Name == "" && !v.Given(name) {
			if !free {
				continue
			}
			l.Name, name = l.Address.String(), address
		}
		if v.OK(name) {
			v.unique(names, "listener name", l.Name, name)
		}
	}
	if !serves && v.OK("listeners") {
		v.Fail(Path("listeners").Index(0).Key("redirect"), "every listener only redirects to https, and none serves: add one with tls")
	}
	v.challengePorts(c)
	v.admin(taken, &c.Admin)
}

func (v *Validator) distinctPools(pools []Pool) {
	seen := map[string]Path{}
	for i, p := range pools {
		path := PoolPath(p.Name)
		if err := CheckName(p.Name); err != nil && v.OK(path) {
			v.Fail(path, "%v", err)
			continue
		}
		if _, again := seen[p.Name]; again {
			path = Path("pools").Index(i)
			v.Fail(path, "duplicate pool name %s", hint.Quote(p.Name))
		}
		seen[p.Name] = path
	}
}

// routes also warns of routes and pools that get no requests.
func (v *Validator) routes(c *Config) {
	if c.HTTPRoutes() == 0 && c.HasHTTP() && len(c.Pools) > 1 && v.OK("routes") {
		v.Fail(PoolPath(c.Pools[1].Name), "several pools but no routes: say under routes which requests go to which pool")
	}
	known, used, plain := namesOf(c.Pools), map[string]bool{}, map[string]bool{}
	for _, l := range c.Listeners {
		for pool := range l.Pools() {
			used[pool] = true
		}
	}
	all := c.HTTPRoutes() == 0 && c.HasHTTP() // requests go to the only pool
	seen := make(coverage)
	for i := range c.Routes {
		r, p := &c.Routes[i], Path("routes").Index(i)
		if !v.OK(p) {
			continue
		}
		v.route(c, p, r)
		v.auth(p.Key("auth"), r.Auth)
		if !r.Answers() && len(r.Split) == 0 && !v.Given(p.Key("split")) {
			v.knownPool(p.Key("pool"), c, known, r.Pool)
		}
		v.split(p.Key("split"), c, known, r.Split, opaqueBy(r))
		for pool := range r.Pools() {
			plain[pool] = plain[pool] || !r.Opaque() && (r.Match.WebSocket == nil || !*r.Match.WebSocket)
		}
		if earlier, covered := seen.add(&r.Match, p); covered {
			v.Warn(p, "this route never matches: the route %s gets all its requests", v.where(earlier))
			continue
		}
		for pool := range r.Pools() {
			used[pool] = true
		}
	}
	for _, p := range c.Pools {
		if !used[p.Name] && !all {
			v.Warn(PoolPath(p.Name), "no route leads to the pool %s", hint.Quote(p.Name))
		}
		if p.Balance == "hash" && p.Hash.Bound > 0 && p.Affinity.sticky() == "" && (all || plain[p.Name]) {
			v.Warn(PoolPath(p.Name).Key("hash"), "with a bound, some requests of a key go to another backend, which breaks the HTTP polling of socket.io and SockJS: leave bound out, add affinity, or send only websocket: true to this pool")
		}
	}
}

func namesOf(pools []Pool) map[string]bool {
	known := make(map[string]bool, len(pools))
	for i := range pools {
		known[pools[i].Name] = true
	}
	return known
}

// knownPool reports whether the pool at p is a known one.
func (v *Validator) knownPool(p Path, c *Config, known map[string]bool, name string) bool {
	if known[name] {
		return true
	}
	var names []string
	for i := range c.Pools {
		names = append(names, c.Pools[i].Name)
	}
	if v.OK(p) && len(c.Pools) > 0 && v.OK("pools") && !v.report.full() {
		v.Fail(p, "unknown pool %s%s", hint.Quote(name), orList("pools", name, names))
	}
	return false
}

// orList proposes the name that was meant, or else lists those there are.
func orList(what, word string, names []string) string {
	if near := hint.DidYouMean(word, names); near != "" {
		return near
	}
	const most = 8
	quoted := make([]string, min(len(names), most))
	for i := range quoted {
		quoted[i] = hint.Quote(names[i])
	}
	list := strings.Join(quoted, ", ")
	if more := len(names) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return " (the " + what + " are " + list + ")"
}

// pool checks how the keys of a pool go together. listed says whether its
// backends are.
func (v *Validator) pool(p Path, pool *Pool, listed bool) {
	if !v.OK(p) {
		return
	}
	v.hash(p, pool)
	v.affinity(p.Key("affinity"), &pool.Affinity)
	v.health(p.Key("health"), &pool.Health)
	v.drain(p.Key("drain"), pool)
	if pool.Admit != nil && v.OK(p.Key("admit")) {
		v.admit(p.Key("admit"), pool.Admit)
	}
	v.rebalance(p, pool)
	if pool.TLS != nil {
		v.poolTLS(p.Key("tls"), pool.TLS)
	}
	if pool.DNS != nil && v.OK(p.Key("dns")) {
		v.dns(p.Key("dns"), pool.DNS)
	}
	if pool.AWS != nil && v.OK(p.Key("aws")) {
		v.aws(p.Key("aws"), pool.AWS)
	}
	if listed {
		v.backends(p, pool)
		if v.OK(p.Key("tls")) {
			v.schemes(p, pool)
		}
	}
	if pool.Discovers() {
		return // how many backends there are is not known
	}
	most := 0
	for _, b := range pool.Backends {
		if b.MaxSessions == 0 {
			most = maxLimit
		}
		most = min(most+b.MaxSessions, maxLimit)
	}
	if pool.MaxSessions > most {
		v.Warn(p.Key("max_sessions"), "max_sessions %d is never reached: those of the backends come to %d", pool.MaxSessions, most)
	}
	primaries := Primaries(pool.Backends)
	if n := pool.Health.MinHealthy.Count; n > primaries {
		v.Warn(p.Key("health").Key("min_healthy"), "min_healthy %d is more than the pool's %d backends: their health would always be ignored", n, primaries)
	}
	if n := len(pool.Backends); n > 0 && pool.Backends[0].Backup && primaries == n && v.OK(p.Key("backends")) {
		v.Warn(p.Key("backends").Index(0).Key("backup"), "all backends of the pool are backups, which makes no difference: leave backup out, or add the backends that they stand in for")
	}
	if first := pool.Backends; pool.Balance == "first" && primaries > 1 && first[0].MaxSessions == 0 && v.OK(p.Key("balance")) && v.OK(p.Key("backends")) {
		v.Warn(p.Key("balance"), "balance: first fills a backend up to its max_sessions, and the first one has none: it gets all sessions while it is up")
	}
}

// Primaries returns how many backends are no backups. If all are backups, they are used
// like others.
func Primaries(backends []Backend) int {
	n := 0
	for i := range backends {
		if !backends[i].Backup {
			n++
		}
	}
	if n == 0 {
		return len(backends)
	}
	return n
}

func (v *Validator) hash(p Path, pool *Pool) {
	hash := p.Key("hash")
	switch {
	case pool.Balance == "hash":
		if key := hash.Key("key"); len(pool.Hash.Key) == 0 && v.OK(key) {
			pool.Hash.Key = []requestkey.Part{requestkey.ClientIP}
		}
		v.distinct("key", hash.Key("key"), len(pool.Hash.Key), func(i int) string { return pool.Hash.Key[i].String() })
	case (v.Given(hash) || len(pool.Hash.Key) > 0 || pool.Hash.Bound != 0) && v.OK(p.Key("balance")) && v.OK(hash):
		v.Fail(hash, "hash is only for balance: hash, and this pool has balance: %s", pool.Balance)
	}
}

func (v *Validator) backends(p Path, pool *Pool) {
	list := p.Key("backends")
	if len(pool.Backends) == 0 && !pool.Discovers() && v.OK(list) && v.OK(p.Key("dns")) && v.OK(p.Key("aws")) && v.OK(p.Key("file")) {
		v.Fail(list, "the pool has no backends: list them under backends, or find them by dns, aws or file")
	}
	names, addresses := map[string]Path{}, map[string]Path{}
	for i := range pool.Backends {
		b, p := &pool.Backends[i], list.Index(i)
		if !v.OK(p) {
			continue
		}
		if weight := p.Key("weight"); b.Weight == 0 && !v.Given(weight) {
			b.SetDefaults()
		}
		address, name := p.Key("address"), p.Key("name")
		v.Require(address, !b.Address.IsZero(), "the backend has no address: write for example address: 10.0.0.1:3000")
		if v.OK(address) {
			v.target(address, b.Address, "backend")
		}
		unique := v.OK(address) && v.unique(addresses, "backend address", b.Address.String(), address)
		if b.Name == "" && !v.Given(name) {
			if !unique {
				continue
			}
			b.Name, name = b.Address.String(), address
		}
		if v.OK(name) {
			v.unique(names, "backend name", b.Name, name)
		}
	}
}

func (v *Validator) target(p Path, a hostport.Address, what string) {
	if err := a.CheckTarget(what); err != nil {
		v.Fail(p, "%v", err)
	}
}

func (v *Validator) drain(p Path, pool *Pool) {
	d, timeout, spread := &pool.Drain, p.Key("timeout"), p.Key("spread")
	if v.Given(p.Key("sticky")) && pool.Affinity.sticky() == "" {
		v.Warn(p.Key("sticky"), "sticky does nothing without affinity: add affinity, or leave it out")
	}
	switch {
	case !v.OK(timeout) || !v.OK(spread) || d.Spread <= d.Timeout:
	case !v.Given(spread): // a shorter timeout is enough
		d.Spread = d.Timeout
	case v.Given(timeout):
		v.Fail(spread, "the spread of %s must not be longer than the timeout of %s, of which it is the last part", Duration(d.Spread), Duration(d.Timeout))
	default:
		v.Fail(spread, "the spread of %s must not be longer than the timeout, which is %s if left out: add a longer timeout", Duration(d.Spread), Duration(d.Timeout))
	}
}

func (v *Validator) admit(p Path, a *Admit) {
	v.Require(p.Key("rate"), a.Rate != 0, "the rate is missing: write for example rate: 200/s")
	if a.Burst == 0 && v.OK(p.Key("burst")) {
		a.Burst = max(1, int(min(a.Rate, maxRate)/4))
	}
	if a.Queue == 0 && v.Given(p.Key("queue_timeout")) {
		v.Warn(p.Key("queue_timeout"), "queue_timeout does nothing with queue: 0, since no client waits: leave it out")
	}
}

func (v *Validator) rebalance(p Path, pool *Pool) {
	b, at := pool.Rebalance, p.Key("rebalance")
	if b == nil {
		if on := p.Key("reattach").Key("on"); pool.Reattach != nil && pool.Reattach.Rebalance && v.Given(on) {
			v.Warn(on.Named("rebalance"), "rebalance does nothing here without the pool's own key of that name: add rebalance:, or leave it out")
		}
		return
	}
	if !v.OK(at) {
		return
	}
	if pool.Balance == "first" && v.OK(p.Key("balance")) {
		v.Fail(at, "rebalance evens out what balance: first brings together on few backends: leave one of the two out")
		return
	}
	by := pool.Affinity.sticky()
	if pool.Balance == "hash" {
		by = "balance: hash"
	}
	sticky := at.Key("sticky")
	switch {
	case by == "" && v.Given(sticky) && v.OK(sticky):
		v.Warn(sticky, "sticky does nothing without balance: hash or affinity: leave it out")
	case by == "":
	case b.Sticky != "move":
		v.Fail(at, "rebalance leaves sessions alone whose backend is chosen by %s, and here that is all of them: add sticky: move to have them moved, or leave rebalance out", by)
	case pool.Reattach == nil || !pool.Reattach.Rebalance:
		v.Fail(at, "a client whose backend is chosen by %s comes back to the same one when its session is closed: add reattach: {on: [drain, loss, rebalance]} to have sessions moved, or leave rebalance out", by)
	}
}

func (v *Validator) dns(p Path, d *DNS) {
	v.Require(p.Key("name"), d.Name != "", "the name to look up is missing: write for example name: _ws._tcp.chat.internal")
	kind, port, family := p.Key("type"), p.Key("port"), p.Key("family")
	given := d.Port != 0 || v.Given(port)
	switch {
	case !v.OK(kind):
	case d.Type == "srv" && given:
		v.Fail(port, "SRV records have the ports in them: leave port out, or write type: a to ask for addresses only")
	case d.Type == "a" && !given && v.OK(port):
		v.Fail(kind, "type a finds addresses without ports: add port: with the one the backends listen on")
	}
	if v.OK(kind) && v.OK(family) && d.Type == "srv" && d.Family == "both" {
		v.Fail(family, "family both is only for type a: the addresses of a host in an SRV record are those of one server, and would count it twice")
	}
	if server := p.Key("server"); !d.Server.IsZero() && v.OK(server) {
		v.target(server, d.Server, "server")
	}
}
