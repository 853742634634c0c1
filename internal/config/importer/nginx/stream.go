package nginx

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// stream converts the block stream, whose servers pass on bytes.
func (cv *converter) stream(l *level) {
	ups, maps := cv.ups, cv.maps
	cv.ups, cv.maps = cv.upstreams(l), cv.mappings(l)
	cv.connZones = cv.zones(l, "limit_conn_zone")
	defer func() { cv.ups, cv.maps = ups, maps }()
	var servers []*server
	for _, d := range l.own("server") {
		if !d.HasBlock {
			cv.refuse(d, "write it as server { … }")
			continue
		}
		cv.carry(d)
		servers = append(servers, &server{d: d, lv: l.within(d)})
	}
	var s streams
	for _, k := range cv.sockets(servers) {
		s.socket(cv, k)
	}
	for _, u := range cv.ups {
		if len(u.pools) == 0 && !cv.known(u.d) {
			cv.skip(u.d, "nothing connects to it")
			cv.skipAll(u.d.Block, "nothing connects to it")
		}
	}
}

// streams has what is the same for all servers of stream.
type streams struct {
	idle    *time.Duration
	connect *time.Duration
	perIP   *int
}

// socket makes the listener of a socket, and says where its connections go.
func (s *streams) socket(cv *converter, k *socket) {
	if slices.Contains(k.from.Args, "udp") {
		return
	}
	lv := k.fallback.lv
	pass := lv.one("proxy_pass")
	if pass == nil {
		cv.refuse(lv.block, "it has no proxy_pass")
		return
	}
	set := settings{tls: cv.streamTLS(lv, pass)}
	if cv.on(lv, "proxy_protocol") {
		set.proxyProtocol = "v1"
	}
	l := cv.listener(k)
	p := config.Path("listeners").Index(k.index)
	l.Origins, l.Mode = nil, config.ModeTCP
	cv.introduced([]*socket{k}, cv.streamTrust(lv), true)
	if cv.on(lv, "ssl_preread") {
		l.Mode = config.ModePassthrough
		cv.carry(lv.one("ssl_preread")).at(p.Key("mode"))
	} else if k.ssl {
		cv.listenerTLS(k, l)
	}
	if rules := lv.allOf("allow", "deny"); len(rules) > 0 {
		allow, deny, err := cv.rules(rules)
		for _, d := range rules {
			if err != nil {
				cv.refuse(d, err.Error())
				continue
			}
			cv.carry(d).at(p.Key(d.Name))
		}
		l.Allow, l.Deny = allow, deny
	}
	cv.streamPass(l, p, pass, set)
	s.shared(cv, lv)
}

// shared sets what holdfast has once for all connections.
func (s *streams) shared(cv *converter, lv *level) {
	set := func(name string, usual time.Duration, known **time.Duration, to *time.Duration, p config.Path) {
		v := usual
		d := lv.one(name)
		if d != nil {
			n, ok := cv.duration(d, d.Args[0])
			if !ok {
				return
			}
			v = n
			cv.carry(d).at(p)
		}
		if *known != nil && **known != v {
			v = max(v, **known)
			if d != nil {
				cv.differ(d, fmt.Sprintf("it is the same for all servers of stream (%s), here the longest: %s", p, config.Duration(v)))
			}
		}
		*known, *to = &v, v
	}
	set("proxy_timeout", 10*time.Minute, &s.idle, &cv.c.Timeouts.Idle, "timeouts.idle")
	if len(cv.passes) == 0 || cv.c.Timeouts.Connect == time.Minute {
		set("proxy_connect_timeout", time.Minute, &s.connect, &cv.c.Timeouts.Connect, "timeouts.connect")
	}
	for _, d := range lv.all("limit_conn") {
		if len(d.Args) != 2 {
			continue
		}
		z := cv.connZones[d.Args[0]]
		n, err := parseCount(d.Args[1])
		if err == nil {
			err = z.perClient()
		}
		if err == nil && (len(cv.passes) > 0 || s.perIP != nil && *s.perIP != n) {
			err = fmt.Errorf("holdfast has one limit for all connections without requests (limits.max_sessions_per_address)")
		}
		if err != nil {
			cv.refuse(d, err.Error())
			continue
		}
		cv.carryZone(z)
		s.perIP = &n
		cv.c.Limits.MaxSessionsPerAddress = &n
		cv.differ(d, "it counts the connections of all servers together").at("limits.max_sessions_per_address")
	}
}

// streamTLS is how backends are reached by TLS.
func (cv *converter) streamTLS(lv *level, pass *syntax.Directive) *config.PoolTLS {
	if !cv.on(lv, "proxy_ssl") {
		return nil
	}
	host := hostOnly(pass.Args[0])
	sc := &scope{cv: cv, proxy: &target{tls: true, host: host, port: hostPort(pass.Args[0]), up: &upstream{address: pass.Args[0]}}, socket: &socket{}, server: &server{}}
	return sc.proxyTLS(lv)
}

// streamPass says where the connections of a listener go.
func (cv *converter) streamPass(l *config.Listener, p config.Path, pass *syntax.Directive, set settings) {
	pool := func(to string) string {
		u := cv.ups[to]
		if u == nil {
			if hostPort(to) == "" && !strings.HasPrefix(to, "unix:") || strings.Contains(to, "$") {
				cv.refuse(pass, "where the connections go must be known beforehand: "+hint.Quote(to)+" is no upstream, and has no port")
				return ""
			}
			if u = cv.direct[to]; u == nil {
				u = &upstream{name: to, d: pass, address: to}
				cv.direct[to] = u
			}
		}
		name := cv.pool(u, set)
		if name == "" {
			cv.refuse(pass, "its upstream has no server that can be used")
		}
		return name
	}
	pieces := split(pass.Args[0])
	if len(pieces) != 1 || pieces[0].variable == "" {
		l.Pool = pool(pass.Args[0])
		cv.carry(pass).at(p.Key("pool"))
		return
	}
	m := cv.maps[pieces[0].variable]
	var on func(e entry) ([]config.Match, error)
	switch {
	case m != nil && m.source == "$ssl_preread_server_name" && l.Mode == config.ModePassthrough:
		on = m.bySNI
	case m != nil && m.source == "$ssl_preread_alpn_protocols" && l.Mode == config.ModePassthrough:
		on = m.byALPN
	default:
		cv.refuse(pass, "connections can be told apart by $ssl_preread_server_name and $ssl_preread_alpn_protocols, in a map")
		return
	}
	cv.carry(m.d)
	cv.carry(pass).at(p.Key("pool"))
	for _, d := range m.d.Block {
		cv.carry(d)
	}
	for _, e := range m.entries {
		matches, err := on(e)
		if err != nil {
			cv.refuse(e.d, err.Error())
			continue
		}
		to := pool(e.value)
		for _, match := range matches {
			if to == "" {
				continue
			}
			if match.Listener = l.Name; len(cv.c.Listeners) == 1 {
				match.Listener = ""
			}
			at := config.Path("routes").Index(len(cv.c.Routes))
			cv.c.Routes = append(cv.c.Routes, config.Route{Match: match, Pool: to})
			cv.r.Locate(at, place(e.d.Pos))
		}
	}
	if m.fallback != "" {
		l.Pool = pool(m.fallback)
	}
}

// tailOnly is an expression for all names below one, such as ^.*\.example\.com$.
var tailOnly = regexp.MustCompile(`^\^?(?:\(?\.[*+]\)?|\[\^\.\]\+)?\\\.((?:[\w-]+\\\.)*[\w-]+)\$$`)

func (m *mapping) bySNI(e entry) ([]config.Match, error) {
	names := []string{e.key}
	switch {
	case e.regex:
		tail := tailOnly.FindStringSubmatch(strings.TrimPrefix(e.key, "(?i)"))
		if tail == nil {
			return nil, fmt.Errorf("names are compared as a whole, or as *.example.com: list them")
		}
		names = []string{"*." + strings.ReplaceAll(tail[1], `\.`, ".")}
	case e.key == "":
		return nil, fmt.Errorf("connections without a name go where all others go (default)")
	case strings.HasPrefix(e.key, "."):
		names = []string{e.key[1:], "*" + e.key}
	}
	var list []config.Match
	for _, name := range names {
		h, err := pattern.ParseHost(strings.ToLower(name))
		if err != nil {
			return nil, err
		}
		list = append(list, config.Match{SNI: h})
	}
	return list, nil
}

func (m *mapping) byALPN(e entry) ([]config.Match, error) {
	protocol := strings.Trim(strings.TrimPrefix(e.key, "(?i)"), `^$\b`)
	if e.regex && regexp.QuoteMeta(protocol) != protocol && protocol != "http/1.1" {
		return nil, fmt.Errorf("protocols are compared as a whole")
	}
	return []config.Match{{ALPN: protocol}}, nil
}

// streamTrust are the proxies in front of a stream server.
func (cv *converter) streamTrust(lv *level) (list []config.Peer) {
	for _, d := range lv.all("set_real_ip_from") {
		if len(d.Args) == 1 {
			if n, err := parseNetwork(d.Args[0]); err == nil {
				list = append(list, config.Peer{Network: n})
				cv.carry(d)
			}
		}
	}
	return list
}
