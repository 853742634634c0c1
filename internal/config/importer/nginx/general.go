package nginx

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// whole sets what holds for all requests.
func (cv *converter) whole(l *level, servers []*server) {
	c := &cv.c
	c.Forwarded.XForwarded = false
	c.HTTP.Via = false
	c.HTTP.AbortOnClose = !cv.on(l, "proxy_ignore_client_abort")
	cv.time(l, servers, "client_header_timeout", time.Minute, &c.Timeouts.Handshake, "timeouts.handshake")
	cv.time(l, servers, "client_body_timeout", time.Minute, &c.HTTP.BodyTimeout, "http.body_timeout")
	cv.time(l, servers, "send_timeout", time.Minute, &c.HTTP.SendTimeout, "http.send_timeout")
	cv.time(l, servers, "keepalive_timeout", 75*time.Second, &c.HTTP.IdleTimeout, "http.idle_timeout")
	levels := []*level{l}
	for _, s := range servers {
		levels = append(levels, s.lv)
	}
	if d := firstOf(levels, "large_client_header_buffers"); d != nil && len(d.Args) == 2 {
		n, err1 := parseCount(d.Args[0])
		size, err2 := parseSize(d.Args[1])
		if err1 == nil && err2 == nil {
			c.HTTP.MaxHeaderBytes = min(max(min(n, 1<<10)*size, 4<<10), 1<<20)
			cv.carry(d).at("http.max_header_bytes")
			cv.r.Locate("http.max_header_bytes", place(d.Pos))
		} else {
			cv.refuse(d, "write it as large_client_header_buffers 4 8k")
		}
	}
}

// time reads a time that holdfast has once. 0 has no meaning that it knows. If servers
// differ, the longest counts.
func (cv *converter) time(l *level, servers []*server, name string, usual time.Duration, to *time.Duration, p config.Path) {
	levels := []*level{l}
	for _, s := range servers {
		levels = append(levels, s.lv)
	}
	if len(servers) > 0 {
		levels = levels[1:]
	}
	found := map[time.Duration][]*syntax.Directive{}
	for _, lv := range levels {
		d, v := lv.one(name), usual
		if d != nil {
			read, ok := cv.duration(d, d.Args[0])
			if !ok {
				continue
			}
			v = read
			cv.carry(d).at(p)
			cv.r.Locate(p, place(d.Pos))
		}
		found[v] = append(found[v], d)
	}
	*to = usual
	if len(found) > 0 {
		*to = slices.Max(slices.Collect(maps.Keys(found)))
	}
	for v, list := range found {
		for _, d := range list {
			if d != nil && v != *to {
				cv.differ(d, fmt.Sprintf("it is the same for all servers (%s), here the longest, %s", p, config.Duration(*to)))
			}
		}
	}
}

// duration reads a time that may not be 0.
func (cv *converter) duration(d *syntax.Directive, s string) (time.Duration, bool) {
	v, err := parseTime(s)
	switch {
	case err != nil:
		cv.refuse(d, err.Error())
		return 0, false
	case v == 0:
		cv.differ(d, "0 isn't possible here: the shortest time is a millisecond")
		return time.Millisecond, true
	}
	return v, true
}

// realIP believes proxies in front who the client is.
func (cv *converter) realIP(l *level, servers []*server, sockets []*socket) {
	trusted := map[netip.Prefix]bool{}
	levels := []*level{l}
	for _, s := range servers {
		levels = append(levels, s.lv)
	}
	var list []config.Peer
	recursive, header := false, map[string]bool{}
	some := 0
	for _, lv := range levels {
		if lv.has("set_real_ip_from") {
			some++
		}
		for _, d := range lv.own("set_real_ip_from") {
			if len(d.Args) != 1 {
				continue
			}
			if d.Args[0] == "unix:" {
				list = append(list, config.Peer{})
				cv.carry(d).at("forwarded.trust")
				continue
			}
			n, err := parseNetwork(d.Args[0])
			if err != nil {
				cv.refuse(d, "write addresses or networks: "+err.Error())
				continue
			}
			if !trusted[n] {
				trusted[n] = true
				list = append(list, config.Peer{Network: n})
			}
			cv.carry(d).at("forwarded.trust")
		}
		if lv.has("set_real_ip_from") || lv == l {
			recursive = recursive || cv.on(lv, "real_ip_recursive")
		}
	}
	for _, lv := range levels {
		if d := lv.one("real_ip_header"); d != nil {
			header[strings.ToLower(d.Args[0])] = true
		} else if lv.has("set_real_ip_from") {
			header["x-real-ip"] = true
		}
	}
	first := firstOf(levels, "set_real_ip_from")
	if first == nil {
		cv.introduced(sockets, nil, false)
		return
	}
	if some > 1 || !l.has("set_real_ip_from") && len(servers) > 1 {
		cv.differ(first, "these proxies are believed for all servers")
	}
	switch from := firstOf(levels, "real_ip_header"); {
	case header["proxy_protocol"]:
		cv.carry(from)
		cv.introduced(sockets, list, true)
	case header["x-forwarded-for"] || header["x-real-ip"]:
		if header["x-forwarded-for"] {
			cv.carry(from)
			if !recursive {
				cv.differ(from, "of several addresses, the last that isn't of a trusted proxy is the client: as with real_ip_recursive on")
			}
		} else {
			cv.differ(orElse(from, first), "X-Forwarded-For and Forwarded of these proxies are believed, X-Real-IP isn't: have them send X-Forwarded-For")
		}
		cv.differ(first, "X-Forwarded-Proto, -Host and -Port of these proxies are believed, too")
		cv.c.Forwarded.Trust = list
		cv.r.Locate("forwarded.trust", place(first.Pos))
		cv.introduced(sockets, nil, false)
	default:
		cv.refuse(from, "holdfast finds the client's address in X-Forwarded-For, in Forwarded and in the PROXY protocol")
		cv.introduced(sockets, nil, false)
	}
}

func orElse(a, b *syntax.Directive) *syntax.Directive {
	if a != nil {
		return a
	}
	return b
}

func firstOf(levels []*level, name string) *syntax.Directive {
	for _, l := range levels {
		for _, d := range l.own(name) {
			if len(d.Args) > 0 {
				return d
			}
		}
	}
	return nil
}

// introduced says which proxies in front speak the PROXY protocol.
func (cv *converter) introduced(sockets []*socket, trust []config.Peer, believed bool) {
	for _, k := range sockets {
		if !k.proxyProtocol {
			continue
		}
		p := config.Path("listeners").Index(k.index).Key("proxy_protocol")
		l := &cv.c.Listeners[k.index]
		l.ProxyProtocol = &config.ProxyProtocol{Trust: trust}
		if !believed || len(trust) == 0 {
			l.ProxyProtocol.Trust = []config.Peer{{Network: everyone[0]}, {Network: everyone[1]}}
			cv.differ(k.from, "what the PROXY protocol says is believed, as the client's address: list the proxies in front under proxy_protocol: {trust: […]}").at(p)
		} else {
			cv.differ(k.from, "only the proxies of set_real_ip_from can connect").at(p)
		}
		cv.r.Locate(p, place(k.from.Pos))
	}
}

// retry is what proxy_next_upstream says for a pool, at all of its locations.
type retry struct {
	d        *syntax.Directive
	statuses []config.StatusRange
}

// retries sets after which answers of a backend another one is asked.
func (sc *scope) retries(lv *level, pool string) {
	cv := sc.cv
	d := lv.one("proxy_next_upstream")
	for _, name := range []string{"proxy_next_upstream_tries", "proxy_next_upstream_timeout"} {
		if t := lv.one(name); t != nil {
			cv.differ(t, "at most three backends are asked, each for as long as the timeouts say")
		}
	}
	var statuses []config.StatusRange
	if d != nil {
		for _, word := range d.Args {
			switch status, is := strings.CutPrefix(word, "http_"); {
			case is:
				n, err := strconv.Atoi(status)
				if err != nil {
					cv.refuse(d, "unknown condition "+word)
					return
				}
				statuses = append(statuses, config.StatusRange{From: n, To: n})
			case word == "off":
				cv.differ(d, "if a backend can't be connected to, another one is asked all the same")
			case word == "non_idempotent":
				cv.differ(d, "a POST that may have been done is never repeated")
			}
		}
		cv.carry(d).at(config.PoolPath(pool).Key("retry_on"))
	}
	known := cv.retryOn[pool]
	if known == nil {
		cv.retryOn[pool] = &retry{d, statuses}
		return
	}
	if !slices.Equal(known.statuses, statuses) {
		if from := orElse(d, known.d); from != nil {
			cv.differ(from, "it holds for the whole pool, and other locations have another one")
		}
		if len(statuses) > len(known.statuses) {
			known.statuses = statuses
		}
	}
}

// timeouts sets those of a route to a backend.
func (sc *scope) timeouts(lv *level, r *route) {
	cv := sc.cv
	get := func(name string) *time.Duration {
		v := time.Minute
		if d := lv.one(name); d != nil {
			if n, ok := cv.duration(d, d.Args[0]); ok {
				v = n
				cv.carry(d).in(r, "timeouts")
			}
		}
		return &v
	}
	r.Timeouts.Connect = get("proxy_connect_timeout")
	read := get("proxy_read_timeout")
	r.Timeouts.Handshake, r.Timeouts.Idle, r.Timeouts.Response = read, read, read
	if d := lv.one("proxy_send_timeout"); d != nil {
		cv.skip(d, "timeouts.response is also how long a backend may take nothing of a request")
	}
}

// healthCheck reads the active checks of the commercial version.
func (sc *scope) healthCheck(lv *level, pool string) {
	cv := sc.cv
	for _, d := range lv.own("health_check") {
		i := slices.IndexFunc(cv.c.Pools, func(p config.Pool) bool { return p.Name == pool })
		h := &cv.c.Pools[i].Health
		h.Interval, h.Fall, h.Rise = 5*time.Second, 1, 1
		check := &config.HTTPCheck{Path: "/", Expect: []config.StatusRange{{From: 200, To: 399}}}
		check.Host = sc.proxy.host
		var err error
		for _, arg := range d.Args {
			name, value, _ := strings.Cut(arg, "=")
			switch name {
			case "uri":
				check.Path = value
			case "interval":
				h.Interval, err = parseTime(value)
			case "fails":
				h.Fall, err = parseCount(value)
			case "passes":
				h.Rise, err = parseCount(value)
			case "port":
				h.Port, err = parseCount(value)
			case "jitter", "mandatory", "persistent", "keepalive_time":
			default:
				err = fmt.Errorf("unknown parameter %s: expect: and body: of the check say what the answer must be", hint.Quote(arg))
			}
			if err != nil {
				cv.refuse(d, err.Error())
				return
			}
		}
		h.Timeout = min(h.Timeout, h.Interval/2)
		h.HTTP = check
		at := config.PoolPath(pool).Key("health").Key("http")
		cv.carry(d).at(at)
		cv.r.Locate(at, place(d.Pos))
	}
}

// join moves timeouts that all routes have to the top of the Config, and sets what pools
// have from all of their routes.
func (cv *converter) join() {
	for i := range cv.c.Pools {
		p := &cv.c.Pools[i]
		if r := cv.retryOn[p.Name]; r != nil {
			p.RetryOn = r.statuses
		}
	}
	for _, t := range []struct {
		of  func(*config.RouteTimeouts) **time.Duration
		all *time.Duration
	}{
		{func(t *config.RouteTimeouts) **time.Duration { return &t.Connect }, &cv.c.Timeouts.Connect},
		{func(t *config.RouteTimeouts) **time.Duration { return &t.Idle }, &cv.c.Timeouts.Idle},
		{func(t *config.RouteTimeouts) **time.Duration { return &t.Response }, &cv.c.HTTP.ResponseTimeout},
		{func(t *config.RouteTimeouts) **time.Duration { return &t.Handshake }, nil},
	} {
		times := map[time.Duration]int{}
		for _, r := range cv.passes {
			times[**t.of(&r.Timeouts)]++
		}
		if t.all == nil {
			times = map[time.Duration]int{cv.c.Timeouts.Handshake: 1}
		} else if len(times) == 1 {
			*t.all = slices.Collect(maps.Keys(times))[0]
		}
		if len(times) != 1 {
			continue
		}
		for v := range times {
			for _, r := range cv.passes {
				if at := t.of(&r.Timeouts); **at == v {
					*at = nil
				}
			}
		}
	}
	sizes := map[int]bool{}
	for _, r := range cv.passes {
		sizes[*r.Limits.MaxBody] = true
	}
	if len(sizes) == 1 {
		cv.c.Limits.MaxBody = cv.passes[0].Limits.MaxBody
		for _, r := range cv.passes {
			r.Limits.MaxBody = nil
		}
	}
}
