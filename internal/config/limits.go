package config

import (
	"math"
	"net/netip"
	"reflect"
)

// Limits bound what is open at a time. 0 means derived from the descriptor
// limit at start. The highest is far above what one machine holds, and fits any
// counter.
type Limits struct {
	MaxSessions   int `key:"max_sessions" range:"0..100000000"`
	MaxHandshakes int `key:"max_handshakes" range:"0..100000000"`
	// MaxHandshakesPerAddress is for one address, or the first 64 bits of an IPv6
	// address.
	MaxHandshakesPerAddress int `key:"max_handshakes_per_address" range:"0..100000000"`
	// RouteLimits hold for each route that has none of its own.
	RouteLimits
	// Exempt has masked prefixes of clients to whom no limit by address applies.
	Exempt []netip.Prefix `key:"exempt" want:"a list of networks such as [10.0.0.0/8]" item:"a network such as 10.0.0.0/8"`
	// SendBuffer is in bytes; 0 leaves it to the system. Less than a packet or
	// two would only slow the balancer down; systems have none larger than a few
	// MiB.
	SendBuffer int `key:"send_buffer" as:"size" range:"0|16KiB..1024MiB"`
	// BacklogMemory is in bytes, of all sessions together; 0 is no bound. The highest
	// is far above what one machine has.
	BacklogMemory int `key:"backlog_memory" as:"size" range:"0|1MiB..1048576MiB"`
}

// maxLimit is the highest of Limits, and of the limits of pools and backends.
const maxLimit = 100_000_000

// RouteLimits bound what the clients of a route may do. A value that is nil was left
// out; 0 is no bound.
type RouteLimits struct {
	MaxSessionsPerAddress *int         `key:"max_sessions_per_address" as:"integer" range:"0..100000000"`
	NewSessionsPerAddress *AddressRate `key:"new_sessions_per_address" want:"a mapping with rate and burst"`
	// MaxRequestsPerAddress and NewRequestsPerAddress count requests of plain HTTP and
	// handshakes together. A session is a request under way.
	MaxRequestsPerAddress *int         `key:"max_requests_per_address" as:"integer" range:"0..100000000"`
	NewRequestsPerAddress *AddressRate `key:"new_requests_per_address" want:"a mapping with rate and burst"`
	MaxSessionsPerClaim   *ClaimLimit  `key:"max_sessions_per_claim" want:"a mapping with claim and max"`
	// MaxBody is in bytes, of the body of a request of plain HTTP. The highest is far
	// above what anyone sends.
	MaxBody *int `key:"max_body" as:"size" range:"0|1..1048576MiB"`
	SessionLimits
}

// AddressRate bounds how fast one address may begin something.
type AddressRate struct {
	Rate float64 `key:"rate" as:"per second" write:"always"` // 0 is no bound
	// Burst is how many it may begin at once. By default it is what Rate allows in
	// two seconds.
	Burst int `key:"burst" zero:"unset" range:"1..1000000"`
}

// ClaimLimit bounds the sessions of all clients whose tokens have the same value of a
// claim.
type ClaimLimit struct {
	Claim string `key:"claim" want:"the name of a claim such as sub"`
	Max   int    `key:"max" range:"0..100000000" write:"always"` // 0 is no bound
}

// routeLimits are the fields of RouteLimits.
var routeLimits = reflect.VisibleFields(reflect.TypeFor[RouteLimits]())

// LimitsOf returns the limits that hold for the i-th route: its own, and those of Limits
// for what it leaves out. Those of Limits hold for what needs no route, whose i is higher.
func (c *Config) LimitsOf(i int) RouteLimits {
	if i >= len(c.Routes) {
		return c.Limits.RouteLimits
	}
	limits := c.Routes[i].Limits
	own, all := reflect.ValueOf(&limits).Elem(), reflect.ValueOf(c.Limits.RouteLimits)
	for _, f := range routeLimits {
		if v := own.FieldByIndex(f.Index); !f.Anonymous && v.IsZero() {
			v.Set(all.FieldByIndex(f.Index))
		}
	}
	return limits
}

func (v *Validator) limits(c *Config) {
	v.routeLimits("limits", &c.Limits.RouteLimits)
	v.exceeds("limits", &c.Limits.SessionLimits)
	withTokens := false
	for i := range c.Routes {
		r, p := &c.Routes[i], Path("routes").Index(i).Key("limits")
		v.routeLimits(p, &r.Limits)
		all := c.LimitsOf(i)
		v.exceeds(p, &all.SessionLimits)
		tokens := c.hasTokens(r)
		if withTokens = withTokens || tokens; !tokens {
			v.limitsClaims(p, &r.Limits)
		}
	}
	if !withTokens && !(len(c.Routes) == 0 && c.hasTokens(new(Route))) {
		v.limitsClaims("limits", &c.Limits.RouteLimits)
	}
	for i, prefix := range c.Limits.Exempt {
		if item := Path("limits.exempt").Index(i); v.OK(item) {
			if err := checkTrust(prefix); err != nil {
				v.Fail(item, "%v", err)
			} else if prefix.Bits() == 0 {
				v.Warn(item, "%s is everyone: no limit by address applies to anybody", prefix)
			}
		}
	}
}

// hasTokens reports whether clients of a route have tokens, on some listener.
func (c *Config) hasTokens(r *Route) bool {
	for i := range c.Listeners {
		if a := c.AuthOf(r, &c.Listeners[i]); a != nil && a.JWT != nil {
			return true
		}
	}
	return false
}

// limitsClaims warns of a limit by a claim where there are none.
func (v *Validator) limitsClaims(p Path, l *RouteLimits) {
	if n, at := l.MaxSessionsPerClaim, p.Key("max_sessions_per_claim"); n != nil && n.Max > 0 && v.OK(at) {
		v.Warn(at, "max_sessions_per_claim does nothing without tokens: add auth with jwt, or leave it out")
	}
}

func (v *Validator) routeLimits(p Path, l *RouteLimits) {
	if !v.OK(p) {
		return
	}
	v.addressRate(p.Key("new_sessions_per_address"), l.NewSessionsPerAddress)
	v.addressRate(p.Key("new_requests_per_address"), l.NewRequestsPerAddress)
	if n, at := l.MaxSessionsPerClaim, p.Key("max_sessions_per_claim"); n != nil && v.OK(at) {
		v.Require(at.Key("claim"), n.Claim != "", "the claim is missing: write for example claim: sub")
		if most := at.Key("max"); !v.program() {
			v.Require(most, v.Given(most), "max is missing: write for example max: 5")
		}
	}
}

func (v *Validator) addressRate(p Path, n *AddressRate) {
	if n == nil || !v.OK(p) {
		return
	}
	if rate := p.Key("rate"); n.Rate == 0 && !v.program() {
		v.Require(rate, v.Given(rate), "the rate is missing: write for example rate: 10")
	}
	if n.Burst == 0 && v.OK(p.Key("burst")) {
		n.Burst = max(1, int(math.Ceil(2*min(n.Rate, maxRate))))
	}
}
