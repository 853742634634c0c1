package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// The modes of a listener, Listener.Mode.
const (
	ModeHTTP        = "http"
	ModeTCP         = "tcp"
	ModePassthrough = "tls-passthrough"
)

// Opaque reports whether the balancer passes on the bytes of the listener's connections
// as they are.
func (l *Listener) Opaque() bool { return l.Mode == ModeTCP || l.Mode == ModePassthrough }

// Opaque reports whether the route is for connections whose TLS is passed through.
func (r *Route) Opaque() bool { return r.Match.SNI != pattern.Host{} || r.Match.ALPN != "" }

// HasHTTP reports whether a listener takes requests.
func (c *Config) HasHTTP() bool {
	for i := range c.Listeners {
		if !c.Listeners[i].Opaque() {
			return true
		}
	}
	return false
}

// HTTPRoutes are the routes for requests. If there are none, the only pool serves all.
func (c *Config) HTTPRoutes() (n int) {
	for i := range c.Routes {
		if !c.Routes[i].Opaque() {
			n++
		}
	}
	return n
}

// listener is the one of that name; nil if there is none. Names that are addresses are
// set only while listeners are checked.
func (c *Config) listener(name string) *Listener {
	for i := range c.Listeners {
		if name != "" && c.Listeners[i].Name == name {
			return &c.Listeners[i]
		}
	}
	return nil
}

// layer4 checks what connections without requests need, and sets the pool of a listener
// that has no choice.
func (v *Validator) layer4(c *Config) {
	uses := poolUses{}
	passes, ends := false, false // some listener passes TLS through, or ends it and passes on what is inside
	for i := range c.Listeners {
		l := &c.Listeners[i]
		passes = passes || l.Mode == ModePassthrough || !v.OK(Path("listeners").Index(i).Key("mode"))
		ends = ends || l.endsTLS()
	}
	for i := range c.Routes {
		p := Path("routes").Index(i)
		if r := &c.Routes[i]; v.OK(p) && v.opaqueRoute(c, p, r, passes, ends) {
			on := c.listener(r.Match.Listener)
			for pool := range r.Pools() {
				uses.add(pool, "the route "+v.where(p), passes && (on == nil || on.Mode == ModePassthrough))
			}
		}
	}
	routed := len(uses) > 0
	for i := range c.Listeners {
		l, p := &c.Listeners[i], Path("listeners").Index(i)
		if !v.OK(p) || !v.OK(p.Key("mode")) {
			continue
		}
		v.mode(p, l)
		if l.Opaque() && v.OK(p.Key("pool")) && v.listenerPool(p, c, l, routed) {
			for pool := range l.Pools() {
				uses.add(pool, "the listener "+v.where(p), l.Mode == ModePassthrough)
			}
		}
	}
	if v.OK("listeners") && !c.HasHTTP() && len(c.Listeners) > 0 {
		v.unreachableRoutes(c)
	}
	for i := range c.Pools {
		if p := PoolPath(c.Pools[i].Name); v.OK(p) {
			v.opaquePool(p, &c.Pools[i], uses[c.Pools[i].Name])
		}
	}
}

// mode checks how the mode of a listener goes together with its other keys.
func (v *Validator) mode(p Path, l *Listener) {
	pool, split, redirect, tls, origins, auth := p.Key("pool"), p.Key("split"), p.Key("redirect"), p.Key("tls"), p.Key("origins"), p.Key("auth")
	switch {
	case !l.Opaque():
		if (l.Pool != "" || v.Given(pool)) && v.OK(pool) {
			v.Fail(pool, "pool is for a listener with mode: tcp or tls-passthrough, and this one takes requests: say under routes which pool they go to")
		}
		if (len(l.Split) > 0 || v.Given(split)) && v.OK(split) {
			v.Fail(split, "split is for a listener with mode: tcp or tls-passthrough, and this one takes requests: say under routes which pools they go to")
		}
		return
	case l.Redirect != "" && v.OK(redirect):
		v.Fail(redirect, "redirect answers requests, and with mode: %s there are none: leave one of the two out", l.Mode)
	case l.Origins != nil && v.OK(origins):
		v.Fail(origins, "origins are of requests, and with mode: %s there are none: leave one of the two out", l.Mode)
	case l.Auth != nil && v.OK(auth):
		v.Fail(auth, "auth is of requests, and with mode: %s there are none: admit clients by their address (allow), or with mode: tcp and tls by their certificate (client_ca)", l.Mode)
	}
	if l.TLS == nil || !v.OK(tls) {
		return
	}
	if l.Mode == ModePassthrough {
		v.Fail(tls, "with mode: tls-passthrough the backends make the TLS handshakes: leave tls out, or write mode: tcp to make them here")
		return
	}
	if headers := tls.Key("client_headers"); len(l.TLS.ClientHeaders) > 0 && v.OK(headers) {
		v.Fail(headers, "client_headers are added to requests, and with mode: tcp there are none: leave them out")
	}
}

// listenerPool checks the pool of an opaque listener, and reports whether it has one.
// routed says that routes go by sni or alpn.
func (v *Validator) listenerPool(p Path, c *Config, l *Listener, routed bool) bool {
	pool, split := p.Key("pool"), p.Key("split")
	if len(l.Split) > 0 || v.Given(split) {
		if l.Pool != "" && v.OK(split) {
			v.Fail(split, "the listener has a pool, too: leave pool out, and list it in split with its weight")
		}
		v.split(split, c, namesOf(c.Pools), l.Split, "mode: "+l.Mode)
		return v.OK(split)
	}
	if l.Pool == "" && len(c.Pools) == 1 && (l.Mode == ModeTCP || !routed) {
		l.Pool = c.Pools[0].Name
	}
	switch {
	case l.Pool != "":
		return v.knownPool(pool, c, namesOf(c.Pools), l.Pool)
	case l.Mode == ModePassthrough && routed:
		return false
	case l.Mode == ModePassthrough && v.OK("routes") && v.OK("pools"):
		v.Fail(pool, "no route goes by sni or alpn, and the listener has no pool: write pool: with where all its connections go, or add routes such as {match: {sni: a.example.com}, pool: %s}", somePool(c))
	case l.Mode == ModeTCP && v.OK("pools"):
		v.Fail(pool, "the listener has mode: tcp and no pool: write where its connections go, such as pool: %s", somePool(c))
	}
	return false
}

func somePool(c *Config) string {
	if len(c.Pools) == 0 {
		return "NAME"
	}
	return hint.Cut(c.Pools[0].Name)
}

// endsTLS reports whether l has connections with TLS whose insides are passed on as they
// are. Routes by sni are for them, too; by alpn there is nothing to choose, as the balancer
// agrees on no protocol there.
func (l *Listener) endsTLS() bool { return l.Mode == ModeTCP && l.TLS != nil }

// opaqueRoute checks a route for connections without requests, and reports whether it is
// one. passes and ends say which listeners there are for it.
func (v *Validator) opaqueRoute(c *Config, p Path, r *Route, passes, ends bool) bool {
	on := p.Key("match").Key("listener")
	if !r.Opaque() {
		if l := c.listener(r.Match.Listener); l != nil && l.Opaque() && v.OK(on) {
			v.Fail(on, "the listener %s has mode: %s and takes no requests: leave the route out, or match sni or alpn too", hint.Quote(l.Name), l.Mode)
		}
		v.upgrades(p, r)
		return false
	}
	bySNI := r.Match.ALPN == ""
	if l := c.listener(r.Match.Listener); l != nil && l.Mode != ModePassthrough && !(bySNI && l.endsTLS()) && v.OK(on) {
		v.Fail(on, "the listener %s doesn't have mode: tls-passthrough, which sni and alpn are for", hint.Quote(l.Name))
		return false
	}
	match, key := p.Key("match"), "sni"
	if (r.Match.SNI == pattern.Host{}) {
		key = "alpn"
	}
	switch {
	case !v.OK(match):
		return false
	case !passes && !(bySNI && ends):
		v.Fail(match.Key(key), "%s is for connections to a listener with mode: tls-passthrough, and there is none: match host instead, or give a listener that mode", key)
		return false
	}
	v.onlyOpaque(match, reflect.ValueOf(r.Match), key, "sni", "alpn", "listener", "client")
	v.onlyOpaque(p, reflect.ValueOf(*r), key, "match", "pool", "split", "limits", "timeouts", "allow", "deny")
	return v.OK(p.Key("pool")) && v.OK(p.Key("split"))
}

// onlyOpaque reports what a route by sni or alpn has that is about requests: all but the
// keys that are allowed.
func (v *Validator) onlyOpaque(p Path, section reflect.Value, by string, allowed ...string) {
	keys := KeysOf(section.Type())
	for i := range keys {
		k := &keys[i]
		if slices.Contains(allowed, k.Name) || !v.OK(p.Key(k.Name)) {
			continue
		}
		if field := k.Field(section); v.Given(p.Key(k.Name)) || field.IsValid() && !field.IsZero() {
			v.Fail(p.Key(k.Name), "%s is about requests, which the balancer doesn't see if it passes TLS through (%s): leave one of them out", k.Name, by)
		}
	}
}

// upgrades checks the upgrades of a route for requests.
func (v *Validator) upgrades(p Path, r *Route) {
	list := p.Key("upgrades")
	if len(r.Upgrades) == 0 {
		if v.Given(list) && v.OK(list) {
			v.Fail(list, "the list is empty: name at least one upgrade, such as websocket, or leave it out")
		}
		return
	}
	webSocket, ok := false, true
	for i, name := range r.Upgrades {
		item := list.Index(i)
		if !v.OK(item) {
			continue
		}
		if err := checkUpgrade(name); err != nil {
			v.Fail(item, "%v", err)
			ok = false
		}
		webSocket = webSocket || strings.EqualFold(name, "websocket")
	}
	v.distinct("upgrade", list, len(r.Upgrades), func(i int) string { return strings.ToLower(r.Upgrades[i]) })
	if only := r.Match.WebSocket; !ok || !v.OK(list) || !v.OK(p.Key("match").Key("websocket")) {
		return
	} else if only != nil && *only && !(webSocket && len(r.Upgrades) == 1) {
		v.Fail(list, "the route matches WebSockets only (websocket: true), which ask for the upgrade websocket: leave upgrades out")
	} else if !webSocket && (only == nil || *only) {
		v.Fail(list, "the route gets WebSockets too: add websocket to the list, or websocket: false to its match")
	}
}

// checkUpgrade checks the name of a protocol in the field Upgrade (RFC 9110 section 7.8).
func checkUpgrade(s string) error {
	name, version, versioned := strings.Cut(s, "/")
	switch low := strings.ToLower(name); {
	case !requestkey.IsToken(name) || versioned && !requestkey.IsToken(version) || len(s) > 128:
		return fmt.Errorf("bad upgrade %s: write the name of a protocol as in the header Upgrade, such as tcp", hint.Quote(s))
	case low == "h2c" || low == "http" || low == "tls":
		// It would carry any number of requests that no rule is asked about.
		return fmt.Errorf("the upgrade %s would let clients send the backend further requests past all rules: leave it out", hint.Quote(s))
	}
	return nil
}

// unreachableRoutes reports routes for requests if no listener takes any.
func (v *Validator) unreachableRoutes(c *Config) {
	for i := range c.Routes {
		if p := Path("routes").Index(i); !c.Routes[i].Opaque() && v.OK(p) && v.OK(p.Key("match")) {
			v.Fail(p, "the route is for requests, and no listener takes any (mode: http): match sni or alpn, or write pool: at the listener for all its other connections")
		}
	}
}

// poolUses says by name which pools get connections without requests.
type poolUses map[string]*poolUse

type poolUse struct {
	by     string // the first listener or route, for errors
	passes string // the first that passes TLS through; "" for none
}

func (u poolUses) add(pool, by string, passes bool) {
	if pool == "" {
		return
	}
	if u[pool] == nil {
		u[pool] = &poolUse{by: by}
	}
	if passes {
		u[pool].passes = cmp.Or(u[pool].passes, by)
	}
}

// opaquePool checks a pool by what it gets; use is nil if it gets only requests.
func (v *Validator) opaquePool(p Path, pool *Pool, use *poolUse) {
	if use == nil {
		return
	}
	affinity, key := p.Key("affinity"), p.Key("hash").Key("key")
	if a := pool.Affinity.Cookie; a != nil && v.OK(affinity.Key("cookie")) {
		v.Fail(affinity.Key("cookie"), "%s brings connections without cookies to this pool: write token: {from: [client_ip]}, or use balance: hash", use.by)
	}
	if t := pool.Affinity.Token; t != nil && v.OK(affinity.Key("token").Key("from")) {
		v.onlyAddress(affinity.Key("token").Key("from"), t.From, use)
	}
	if l := pool.Affinity.Learn; l != nil && v.OK(affinity.Key("learn").Key("from")) {
		if answer := affinity.Key("learn").Key("answer"); len(l.Answer) > 0 && v.OK(answer) {
			v.Fail(answer, "%s brings connections to this pool whose answers are not read: leave answer out", use.by)
		}
		v.onlyAddress(affinity.Key("learn").Key("from"), l.From, use)
	}
	if pool.Balance == "hash" && v.OK(key) {
		v.onlyAddress(key, pool.Hash.Key, use)
	}
	if tls := p.Key("tls"); pool.TLS != nil && use.passes != "" && v.OK(tls) {
		v.Fail(tls, "%s passes TLS of clients through to this pool, which would be TLS within TLS: leave tls out", use.passes)
	}
}

func (v *Validator) onlyAddress(p Path, parts []requestkey.Part, use *poolUse) {
	for i, part := range parts {
		if part != requestkey.ClientIP && v.OK(p.Index(i)) {
			v.Fail(p.Index(i), "%s brings connections without requests to this pool, so that only client_ip is known and not %s", use.by, part)
		}
	}
}

// checkProtocol checks a name of ALPN (RFC 7301 section 3.1), of which all that are
// registered for use are visible ASCII.
func checkProtocol(s string) error {
	switch {
	case s == "":
		return errors.New("the protocol is empty: leave the key out to match every one")
	case len(s) > 255 || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > unicode.MaxASCII || unicode.IsControl(c) }):
		return fmt.Errorf("bad protocol %s: write a name of ALPN, such as h2", hint.Quote(s))
	}
	return nil
}
