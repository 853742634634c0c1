package nginx

import (
	"cmp"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// upstream is a block of servers, or what stands for one in a proxy_pass.
type upstream struct {
	name string
	d    *syntax.Directive // the block; the proxy_pass if there is none
	lv   *level            // nil without a block

	address string // without a block: the server's
	pools   []int  // of the pools that were made of it, one for each way of TLS
}

// upstreams finds the blocks of http or stream.
func (cv *converter) upstreams(l *level) map[string]*upstream {
	found := map[string]*upstream{}
	for _, d := range l.own("upstream") {
		switch {
		case len(d.Args) != 1 || !d.HasBlock:
			cv.refuse(d, "write it as upstream NAME { server …; }")
		case found[d.Args[0]] != nil:
			cv.refuse(d, "there is an upstream of this name already, on line "+lineOf(found[d.Args[0]].d))
		default:
			found[d.Args[0]] = &upstream{name: d.Args[0], d: d, lv: l.within(d)}
		}
	}
	return found
}

// settings is what else distinguishes the pools of an upstream.
type settings struct {
	tls           *config.PoolTLS
	proxyProtocol string
}

func (s settings) equal(p *config.Pool) bool {
	return s.proxyProtocol == p.ProxyProtocol && reflect.DeepEqual(s.tls, p.TLS)
}

// pool returns the name of the pool of an upstream that is reached in this way. It is ""
// if the upstream has no server that can be used.
func (cv *converter) pool(u *upstream, s settings) string {
	for _, i := range u.pools {
		if p := &cv.c.Pools[i]; s.equal(p) {
			return p.Name
		}
	}
	name := u.name
	for n := 2; cv.poolNames[name]; n++ {
		name = fmt.Sprintf("%s-%d", u.name, n)
	}
	p := config.NewPool(name)
	p.Balance, p.TLS, p.ProxyProtocol = "round_robin", s.tls, s.proxyProtocol
	path := config.PoolPath(name)
	if u.lv == nil {
		a, err := serverAddress(u.address, defaultPort(s))
		if err != nil {
			cv.refuse(u.d, err.Error())
			return ""
		}
		p.Backends = []config.Backend{{Address: a, Weight: 1}}
	} else {
		cv.carry(u.d).at(path)
		cv.servers(u, &p, defaultPort(s))
		if len(p.Backends) == 0 && p.DNS == nil {
			cv.differ(u.d, "it has no server that is used, so the answer is 502")
			return ""
		}
		cv.balance(u, &p)
	}
	if single(&p) { // nginx doesn't count the failures of the only server
		p.Health.MaxFails, p.Health.SlowStart = 0, 0
	}
	if p.Health.MaxFails == 0 {
		p.Health.FailTimeout = config.NewPool("").Health.FailTimeout // it does nothing
	}
	cv.poolNames[name] = true
	u.pools = append(u.pools, len(cv.c.Pools))
	cv.c.Pools = append(cv.c.Pools, p)
	cv.r.Locate(path, place(u.d.Pos))
	return name
}

func single(p *config.Pool) bool { return len(p.Backends) == 1 && p.DNS == nil }

func defaultPort(s settings) string {
	if s.tls != nil {
		return "443"
	}
	return "80"
}

// serverAddress reads the address of a server.
func serverAddress(s, port string) (hostport.Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return hostport.ParseBackend("unix:" + filepath.Clean(path))
	}
	if i := strings.LastIndexByte(s, ':'); i < 0 || strings.HasSuffix(s, "]") {
		s += ":" + port
	}
	return hostport.ParseBackend(s)
}

// servers reads the servers of an upstream.
func (cv *converter) servers(u *upstream, p *config.Pool, port string) {
	at := map[hostport.Address]int{}
	fails := passive{cv: cv, health: &p.Health}
	for _, d := range u.lv.own("server") {
		if len(d.Args) == 0 {
			cv.refuse(d, "the address is missing")
			continue
		}
		a, err := serverAddress(d.Args[0], port)
		if err != nil {
			cv.refuse(d, err.Error())
			continue
		}
		b, used := config.Backend{Address: a, Weight: 1}, true
		cv.carry(d)
		health, service := failures{1, 10 * time.Second}, ""
		for _, arg := range d.Args[1:] {
			if down := cv.serverOption(d, arg, p, &b, &health, &service); down {
				used = false
			}
		}
		if service != "" {
			cv.service(u, d, p, d.Args[0], service)
			continue
		}
		if !used {
			cv.differ(d, "it is left out while it is down: to take a server out for a time, use holdfast drain")
			continue
		}
		fails.add(d, health)
		if i, again := at[a]; again {
			p.Backends[i].Weight += b.Weight
			cv.differ(d, "one backend with the weight of both")
			continue
		}
		at[a] = len(p.Backends)
		path := config.PoolPath(p.Name).Key("backends").Index(len(p.Backends))
		cv.carry(d).at(path)
		cv.r.Locate(path, place(d.Pos))
		p.Backends = append(p.Backends, b)
	}
	cv.weights(u, p)
	fails.set()
}

// serverOption reads one parameter of a server, and reports whether it is down.
func (cv *converter) serverOption(d *syntax.Directive, arg string, p *config.Pool, b *config.Backend, f *failures, service *string) (down bool) {
	name, value, _ := strings.Cut(arg, "=")
	var err error
	switch name {
	case "weight":
		if b.Weight, err = parseCount(value); err == nil && b.Weight == 0 {
			err = fmt.Errorf("weight 0 isn't allowed: mark it as down")
		}
	case "max_conns":
		b.MaxSessions, err = parseCount(value)
	case "max_fails":
		f.max, err = parseCount(value)
	case "fail_timeout":
		f.timeout, err = parseTime(value)
	case "slow_start":
		p.Health.SlowStart, err = parseTime(value)
	case "backup":
		b.Backup = true
	case "down":
		return true
	case "resolve": // names are looked up again in any case
	case "service":
		*service = value
	case "route":
		cv.differ(d, "sessions aren't bound by names of routes")
	case "drain":
		cv.differ(d, "to drain a server, use holdfast drain")
	default:
		err = fmt.Errorf("unknown parameter %s%s", hint.Quote(arg), hint.DidYouMean(name, serverWords))
	}
	if err != nil {
		cv.refuse(d, err.Error())
	}
	return false
}

var serverWords = []string{"weight", "max_conns", "max_fails", "fail_timeout", "slow_start", "backup", "down", "resolve", "service", "route"}

// service finds the servers in SRV records.
func (cv *converter) service(u *upstream, d *syntax.Directive, p *config.Pool, host, service string) {
	if p.DNS != nil || len(u.lv.own("server")) > 1 {
		cv.refuse(d, "servers from SRV records can't be beside others: make an upstream of their own for them")
		return
	}
	if !strings.HasPrefix(service, "_") && !strings.Contains(service, ".") {
		service = "_" + service + "._tcp"
	}
	dns := new(config.DNS)
	dns.SetDefaults()
	dns.Name = service + "." + host
	p.DNS = dns
	cv.carry(d).at(config.PoolPath(p.Name).Key("dns"))
}

// weights brings weights into the range of holdfast.
func (cv *converter) weights(u *upstream, p *config.Pool) {
	const most = 256
	heaviest := 0
	for _, b := range p.Backends {
		heaviest = max(heaviest, b.Weight)
	}
	if heaviest <= most {
		return
	}
	for i := range p.Backends {
		p.Backends[i].Weight = max(1, (p.Backends[i].Weight*most+heaviest/2)/heaviest)
	}
	cv.differ(u.d, fmt.Sprintf("the highest weight is %d: all are smaller in the same proportion", most))
}

// failures is when a server is taken for failed.
type failures struct {
	max     int
	timeout time.Duration
}

// passive joins the failures of the servers of an upstream, which holdfast has for a
// whole pool.
type passive struct {
	cv     *converter
	health *config.Health
	list   []failures
	from   []*syntax.Directive
}

func (p *passive) add(d *syntax.Directive, f failures) {
	p.list, p.from = append(p.list, f), append(p.from, d)
}

// set takes the most patient values.
func (p *passive) set() {
	if len(p.list) == 0 {
		return
	}
	widest := slices.MaxFunc(p.list, func(a, b failures) int {
		return cmp.Or(cmp.Compare(patience(a.max), patience(b.max)), -cmp.Compare(a.timeout, b.timeout))
	})
	p.health.MaxFails = min(widest.max, 1000)
	if p.health.FailTimeout = widest.timeout; widest.timeout == 0 {
		p.health.FailTimeout = time.Millisecond
	}
	for i, f := range p.list {
		if f != widest {
			p.cv.differ(p.from[i], fmt.Sprintf("max_fails and fail_timeout are those of the whole pool, here %d and %s", widest.max, config.Duration(widest.timeout)))
		}
	}
}

// patience orders numbers of failures; 0 is any number.
func patience(n int) int {
	if n == 0 {
		return 1 << 30
	}
	return n
}
