package nginx

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

var everyone = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// rules are allow and deny in the order of the file, of which the first that has an
// address counts. They return lists in which deny comes before allow, as in a Config.
func (cv *converter) rules(list []*syntax.Directive) (allow, deny []netip.Prefix, err error) {
	var before []netip.Prefix // what earlier rules are about
	for _, d := range list {
		if len(d.Args) != 1 {
			return nil, nil, fmt.Errorf("write it with an address, a network or all")
		}
		networks := everyone
		if d.Args[0] == "unix:" {
			return nil, nil, fmt.Errorf("clients by a unix socket can't be listed: who may connect is decided by the permissions of the socket (socket_mode)")
		}
		if d.Args[0] != "all" {
			n, err := parseNetwork(d.Args[0])
			if err != nil {
				return nil, nil, err
			}
			networks = []netip.Prefix{n}
		}
		for _, n := range networks {
			for _, rest := range without(n, before) {
				if d.Name == "allow" {
					allow = append(allow, rest)
				} else {
					deny = append(deny, rest)
				}
			}
		}
		before = append(before, networks...)
	}
	open := false // addresses that no rule is about are admitted
	for _, n := range everyone {
		open = open || len(without(n, before)) > 0
	}
	switch {
	case open:
		return nil, deny, nil
	case len(allow) == 0:
		return nil, everyone, nil
	case len(deny) < len(allow):
		return nil, deny, nil
	}
	return allow, nil, nil
}

// without is what remains of a network without others.
func without(n netip.Prefix, others []netip.Prefix) []netip.Prefix {
	rest := []netip.Prefix{n}
	for _, o := range others {
		if !n.Overlaps(o) {
			continue
		}
		var next []netip.Prefix
		for _, r := range rest {
			next = append(next, minus(r, o)...)
		}
		rest = next
	}
	return rest
}

// minus is what remains of one network without another: nothing, all, or the halves that
// are left when it is halved again and again.
func minus(a, b netip.Prefix) []netip.Prefix {
	switch {
	case !a.Overlaps(b):
		return []netip.Prefix{a}
	case b.Bits() <= a.Bits():
		return nil
	}
	var rest []netip.Prefix
	for bits := a.Bits() + 1; bits <= b.Bits(); bits++ {
		half, _ := b.Addr().Prefix(bits)
		rest = append(rest, other(half))
	}
	return rest
}

// other is the other half of the network that is twice as large.
func other(p netip.Prefix) netip.Prefix {
	bytes, bit := p.Addr().AsSlice(), p.Bits()-1
	bytes[bit/8] ^= 0x80 >> (bit % 8)
	addr, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(addr, p.Bits())
}

func (cv *converter) deniesAll(list []*syntax.Directive) bool {
	allow, deny, err := cv.rules(list)
	return err == nil && allow == nil && slices.Equal(deny, everyone)
}

// access sets who is admitted by their address.
func (sc *scope) access(lv *level, r *route) {
	list := lv.allOf("allow", "deny")
	if len(list) == 0 {
		return
	}
	allow, deny, err := sc.cv.rules(list)
	for _, d := range list {
		if err != nil {
			sc.cv.refuse(d, err.Error())
			continue
		}
		sc.cv.carry(d).in(r, d.Name)
	}
	if s := lv.one("satisfy"); s != nil {
		if s.Args[0] == "any" && lv.one("auth_request") != nil {
			sc.cv.refuse(s, "clients must pass both the networks and the endpoint")
		} else {
			sc.cv.carry(s)
		}
	}
	r.Allow, r.Deny = allow, deny
}

// zone is what a limit counts by.
type zone struct {
	d    *syntax.Directive
	key  string
	rate float64 // a second; of limit_req
}

// zones reads the zones of limits, by name. Those of requests and of connections have
// names of their own.
func (cv *converter) zones(l *level, name string) map[string]zone {
	found := map[string]zone{}
	for _, d := range l.own(name) {
		z, id := zone{d: d}, ""
		var err error
		for _, arg := range d.Args {
			if value, ok := option(arg, "zone"); ok {
				id, _, _ = strings.Cut(value, ":")
			} else if value, ok := option(arg, "rate"); ok {
				z.rate, err = parseRate(value)
			} else if arg != "sync" {
				z.key += arg
			}
		}
		if err != nil {
			cv.refuse(d, err.Error())
		}
		found[id] = z
	}
	return found
}

func parseRate(s string) (float64, error) {
	digits, unit, _ := strings.Cut(s, "r/")
	n, err := strconv.ParseUint(digits, 10, 20)
	if err != nil || n == 0 || unit != "s" && unit != "m" {
		return 0, fmt.Errorf("bad rate %s: write for example 10r/s", hint.Quote(s))
	}
	if unit == "m" {
		return float64(n) / time.Minute.Seconds(), nil
	}
	return float64(n), nil
}

// perClient checks that a zone is one for each client.
func (z zone) perClient() error {
	switch bare(z.key) {
	case "$binary_remote_addr", "$remote_addr":
		return nil
	case "":
		return fmt.Errorf("there is no zone of this name")
	}
	return fmt.Errorf("holdfast counts by the client's address, not by %s", hint.Quote(z.key))
}

// limits sets the limits of one client, and of a request.
func (sc *scope) limits(lv *level, r *route) {
	cv := sc.cv
	most := 1 << 20
	if d := lv.one("client_max_body_size"); d != nil {
		n, err := parseSize(d.Args[0])
		if err != nil {
			cv.refuse(d, err.Error())
		} else {
			most = min(n, 1<<40)
			cv.carry(d).in(r, "limits")
		}
	}
	r.Limits.MaxBody = &most
	const together = "each route counts for itself, and handshakes count as requests"
	for _, d := range lv.all("limit_conn") {
		var n int
		err := fmt.Errorf("write it as limit_conn ZONE NUMBER")
		if len(d.Args) == 2 {
			z := cv.connZones[d.Args[0]]
			if err = z.perClient(); err == nil {
				n, err = parseCount(d.Args[1])
				cv.carryZone(z)
			}
		}
		switch {
		case err != nil:
			cv.refuse(d, err.Error())
			continue
		case r.Limits.MaxRequestsPerAddress != nil:
			cv.refuse(d, "there is another limit for the same client")
			continue
		}
		r.Limits.MaxRequestsPerAddress = &n
		cv.differ(d, "one client too many gets 429 (nginx: limit_conn_status, 503); "+together).in(r, "limits")
	}
	for _, d := range lv.all("limit_req") {
		if err := sc.limitReq(d, r); err != nil {
			cv.refuse(d, err.Error())
			continue
		}
		cv.differ(d, "what is too much gets 429 (nginx: limit_req_status, 503), and nothing is delayed; "+together).in(r, "limits")
	}
	for _, name := range []string{"limit_conn_dry_run", "limit_req_dry_run"} {
		if d := lv.one(name); d != nil && d.Args[0] == "on" {
			cv.refuse(d, "a limit without effect: leave it out")
		} else if d != nil {
			cv.carry(d)
		}
	}
	for _, name := range []string{"limit_conn_status", "limit_req_status"} {
		if d := lv.one(name); d != nil && d.Args[0] != "429" {
			cv.differ(d, "the status is 429")
		} else if d != nil {
			cv.carry(d)
		}
	}
}

func (cv *converter) carryZone(z zone) {
	if z.d != nil {
		cv.carry(z.d)
	}
}

func (sc *scope) limitReq(d *syntax.Directive, r *route) (err error) {
	z, burst := zone{}, 0
	for _, arg := range d.Args {
		if value, ok := option(arg, "zone"); ok {
			z = sc.cv.reqZones[value]
		} else if value, ok := option(arg, "burst"); ok {
			if burst, err = parseCount(value); err != nil {
				return err
			}
		} else if name, _, _ := strings.Cut(arg, "="); name != "nodelay" && name != "delay" {
			return fmt.Errorf("unknown parameter %s", hint.Quote(arg))
		}
	}
	if err := z.perClient(); err != nil {
		return err
	}
	if r.Limits.NewRequestsPerAddress != nil {
		return fmt.Errorf("there is another limit for the same client")
	}
	sc.cv.carryZone(z)
	r.Limits.NewRequestsPerAddress = &config.AddressRate{Rate: z.rate, Burst: burst + 1}
	return nil
}
