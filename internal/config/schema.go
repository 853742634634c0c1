package config

import "go.yaml.in/yaml/v4"

// readFile reads the root of a file. What can only be judged together is left
// to check.
func readFile(r *report, file string, root *yaml.Node) *draft {
	d := &decoder{report: r, file: file, sizes: make(map[*yaml.Node]int)}
	f := newDraft(place{file: file})
	f.misspelt, _ = readMapping(d, root, "a mapping with listeners and pools", f.at, fileKeys, f)
	return f
}

var fileKeys = []key[draft]{
	{name: "listeners", missing: noListeners, read: readListeners},
	{name: "routes", read: readRoutes},
	{name: "pools", missing: noPools, read: readPools},
	{name: "timeouts", read: func(d *decoder, n *yaml.Node, f *draft) {
		readMapping(d, n, "a mapping of timeouts", d.at(n), timeoutKeys, &f.config.Timeouts)
	}},
	{name: "keepalive", read: func(d *decoder, n *yaml.Node, f *draft) {
		readMapping(d, n, "a mapping with interval and timeout", d.at(n), keepaliveKeys, &f.config.Keepalive)
	}},
	{name: "forwarded", read: func(d *decoder, n *yaml.Node, f *draft) {
		readMapping(d, n, "a mapping with trust", d.at(n), forwardedKeys, &f.config.Forwarded)
	}},
	{name: "limits", read: func(d *decoder, n *yaml.Node, f *draft) {
		readMapping(d, n, "a mapping of limits", d.at(n), limitKeys, &f.config.Limits)
	}},
	{name: "admin", read: func(d *decoder, n *yaml.Node, f *draft) {
		readMapping(d, n, "a mapping with an address", d.at(n), adminKeys, f)
	}},
	{name: "log", read: func(d *decoder, n *yaml.Node, f *draft) {
		readMapping(d, n, "a mapping with format and level", d.at(n), logKeys, &f.config.Log)
	}},
	{name: "engine", read: func(d *decoder, n *yaml.Node, f *draft) {
		d.choice(n, &f.config.Engine, "auto", "epoll", "portable")
	}},
}

const (
	noListeners = "no listeners: give at least one address to listen on"
	noPools     = "no pools: give at least one pool of backends"
)

func readListeners(d *decoder, n *yaml.Node, f *draft) {
	items, ok := d.list(n, "a list of listeners")
	if ok && len(items) == 0 {
		d.fail(d.at(n), noListeners)
	}
	for _, item := range items {
		l := listenerDraft{at: d.at(item)}
		if _, ok := readMapping(d, item, "a listener with name and address", l.at, listenerKeys, &l); ok {
			f.listeners = append(f.listeners, l)
		}
	}
}

var listenerKeys = []key[listenerDraft]{
	{name: "name", read: func(d *decoder, n *yaml.Node, l *listenerDraft) {
		l.name = d.name(n)
	}},
	{name: "address", missing: `the listener has no address: write for example address: ":8080"`, read: func(d *decoder, n *yaml.Node, l *listenerDraft) {
		if text, ok := d.scalar(n, `an address such as ":8080"`); ok {
			l.address = d.address(text.value, text.at, listenAddress)
		}
	}},
}

func readRoutes(d *decoder, n *yaml.Node, f *draft) {
	items, ok := d.list(n, "a list of routes")
	f.badRoutes = !ok
	for _, item := range items {
		r := routeDraft{at: d.at(item)}
		if _, ok := readMapping(d, item, "a route with match and pool", r.at, routeKeys, &r); ok {
			f.routes = append(f.routes, r)
		} else {
			f.badRoutes = true
		}
	}
}

var routeKeys = []key[routeDraft]{
	{name: "match", read: func(d *decoder, n *yaml.Node, r *routeDraft) {
		readMapping(d, n, "a mapping with host, path and websocket", d.at(n), matchKeys, &r.match)
	}},
	{name: "pool", missing: "the route has no pool: say which one serves it", read: func(d *decoder, n *yaml.Node, r *routeDraft) {
		r.pool, _ = d.scalar(n, "the name of a pool")
	}},
}

var matchKeys = []key[Match]{
	{name: "host", read: func(d *decoder, n *yaml.Node, m *Match) {
		d.parsed(n, &m.Host, "a host such as ws.example.com", parseHost)
	}},
	{name: "path", read: func(d *decoder, n *yaml.Node, m *Match) {
		d.parsed(n, &m.Path, "a path such as /ws", parsePath)
	}},
	{name: "websocket", read: func(d *decoder, n *yaml.Node, m *Match) {
		m.WebSocket = d.boolean(n)
	}},
}

var timeoutKeys = []key[Timeouts]{
	{name: "connect", read: func(d *decoder, n *yaml.Node, t *Timeouts) { d.duration(n, &t.Connect, false) }},
	{name: "handshake", read: func(d *decoder, n *yaml.Node, t *Timeouts) { d.duration(n, &t.Handshake, false) }},
	{name: "idle", read: func(d *decoder, n *yaml.Node, t *Timeouts) { d.duration(n, &t.Idle, true) }},
	{name: "max_lifetime", read: func(d *decoder, n *yaml.Node, t *Timeouts) { d.duration(n, &t.MaxLifetime, true) }},
	{name: "shutdown", read: func(d *decoder, n *yaml.Node, t *Timeouts) { d.duration(n, &t.Shutdown, false) }},
}

var keepaliveKeys = []key[Keepalive]{
	{name: "interval", read: func(d *decoder, n *yaml.Node, k *Keepalive) { d.duration(n, &k.Interval, true) }},
	{name: "timeout", read: func(d *decoder, n *yaml.Node, k *Keepalive) { d.duration(n, &k.Timeout, false) }},
}

var forwardedKeys = []key[Forwarded]{
	{name: "trust", read: func(d *decoder, n *yaml.Node, f *Forwarded) {
		items, _ := d.list(n, "a list of networks such as [10.0.0.0/8]")
		for _, item := range items {
			text, ok := d.scalar(item, "a network such as 10.0.0.0/8")
			if !ok {
				continue
			}
			prefix, err := parseTrust(text.value)
			if err != nil {
				d.fail(text.at, "%v", err)
				continue
			}
			if prefix.Bits() == 0 {
				d.warn(text.at, "%s trusts everyone: any client can claim to be any other", prefix)
			}
			f.Trust = append(f.Trust, prefix)
		}
	}},
}

// maxLimit is far above what one machine holds, and fits any counter.
const maxLimit = 100_000_000

var limitKeys = []key[Limits]{
	{name: "max_sessions", read: func(d *decoder, n *yaml.Node, l *Limits) { d.integer(n, &l.MaxSessions, 0, maxLimit) }},
	{name: "max_handshakes", read: func(d *decoder, n *yaml.Node, l *Limits) { d.integer(n, &l.MaxHandshakes, 0, maxLimit) }},
}

var adminKeys = []key[draft]{
	{name: "address", read: func(d *decoder, n *yaml.Node, f *draft) {
		text, ok := d.scalar(n, "an address such as 127.0.0.1:9900")
		if ok && text.value != "" {
			f.admin = d.address(text.value, text.at, adminAddress)
		}
	}},
}

var logKeys = []key[Log]{
	{name: "format", read: func(d *decoder, n *yaml.Node, l *Log) { d.choice(n, &l.Format, "json", "text") }},
	{name: "level", read: func(d *decoder, n *yaml.Node, l *Log) { d.choice(n, &l.Level, "debug", "info", "warn", "error") }},
}
