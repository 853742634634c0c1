package config

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Pool is a group of backends that serve the same.
type Pool struct {
	Name    string
	Balance string `key:"balance" as:"algorithm"`
	// Hash is for Balance "hash", and zero with others.
	Hash Hash `key:"hash" want:"a mapping with key and bound"`
	// MaxSessions bounds the sessions of all backends together; 0 is no bound.
	MaxSessions int      `key:"max_sessions" range:"0..100000000"`
	Affinity    Affinity `key:"affinity" want:"a mapping with cookie, token or learn"`
	Health      Health   `key:"health" want:"a mapping of checks and of what follows from them"`
	Drain       Drain    `key:"drain" want:"a mapping with timeout and spread"`
	Admit       *Admit   `key:"admit" want:"a mapping with rate"` // nil: no bound
	// RetryOn has the statuses of answers after which another backend is asked: for
	// handshakes, and for plain requests that have no body and may be repeated.
	RetryOn   []StatusRange     `key:"retry_on" as:"failed status" item:"a status such as 502, or a range such as 502-504" some:"the list of statuses is empty"`
	Reattach  *session.Reattach `key:"reattach" want:"a mapping with on and timeout"`  // nil: never
	Rebalance *Rebalance        `key:"rebalance" want:"a mapping with above and rate"` // nil: never
	// ProxyProtocol is the version in which backends are told who the client is; "" is
	// none.
	ProxyProtocol string `key:"proxy_protocol" words:"v1 v2" zero:"unset"`
	// TLS is spoken to the backends; nil is plain HTTP. Check sets it if a file or a
	// flag has the addresses of backends as wss:// or https://.
	TLS *PoolTLS `key:"tls" want:"a mapping with ca and server_name"`
	// Backends have unique names and addresses. It is empty only if there is
	// DNS, AWS, File or Feed, which find others.
	Backends []Backend `key:"backends" want:"a list of backends" item:"a backend with an address"`
	DNS      *DNS      `key:"dns" want:"a mapping with name and type"`                                        // nil: none
	AWS      *AWS      `key:"aws" want:"a mapping with ec2_tag, auto_scaling_group or ecs_service, and port"` // nil: none
	// File is the absolute path of a file that lists backends; "" is none.
	File string `key:"file" as:"file" want:"the path of a file such as backends.json"`
	// Feed is the name of a list of backends that a program keeps up to date, see
	// discovery.Feeds; "" is none. No file can set it.
	Feed string
}

// Discovers reports whether backends are found that are not listed.
func (p *Pool) Discovers() bool {
	return p.DNS != nil || p.AWS != nil || p.File != "" || p.Feed != ""
}

// NewPool returns a pool of these backends with all defaults.
func NewPool(name string, backends ...Backend) Pool {
	p := Pool{Name: name, Backends: backends}
	p.SetDefaults()
	return p
}

// SetDefaults sets the defaults of everything but Name and the backends.
func (p *Pool) SetDefaults() {
	p.Balance = "least_conn"
	p.Affinity = Affinity{Fallback: "balance"}
	p.Health = defaultHealth()
	p.Drain = DefaultDrain()
}

// Algorithms lists the values of Pool.Balance, which are those of stage/balance.
var Algorithms = []string{"round_robin", "least_conn", "p2c", "random", "hash", "first"}

// Backend is one server of a pool.
type Backend struct {
	Name        string           `key:"name" as:"name"` // by default the address
	Address     hostport.Address `key:"address" as:"backend" want:"an address such as 10.0.0.1:3000" example:"10.0.0.1:3000"`
	Weight      int              `key:"weight" as:"weight" zero:"unset"`
	MaxSessions int              `key:"max_sessions" range:"0..100000000"` // 0 is no bound
	// HealthPort is where the pool's checks connect to, except its agent; 0 is as Health
	// says.
	HealthPort int `key:"health_port" zero:"unset" range:"1..65535"`
	// Backup means that it gets sessions only while no backend can take one that is not a
	// backup.
	Backup bool `key:"backup"`
}

// SetDefaults implements Defaulter.
func (b *Backend) SetDefaults() { b.Weight = 1 }

const maxWeight = 256

// Hash says which parts of a request choose its backend.
type Hash struct {
	// Key has at least one, of requestkey.Parse; several are joined.
	Key []requestkey.Part `key:"key" item:"a key such as client_ip or header:X-User, without a space after the colon" some:"nothing to hash"`
	// Bound is how many times its share of the sessions a backend may have; 0 is
	// no bound. Below the lowest, hardly anything goes where its key says; above
	// the highest, the bound does nothing.
	Bound float64 `key:"bound" as:"number" range:"0|1.05..10"`
}

// Drain says how a backend is emptied that must get no more sessions: by
// command, by a check that is answered with 503, or because it left the
// configuration or discovery. Its sessions go on, and those still there towards
// the end are closed at a message boundary.
type Drain struct {
	Timeout time.Duration `key:"timeout" range:"0|1ms..24h"` // from the beginning to the deadline
	// Spread is the last part of Timeout, over which sessions are closed
	// evenly: 0 to Timeout.
	Spread time.Duration `key:"spread" range:"0|1ms..24h"`
	// Code is for the Close frame: 1000, 1001, 1008, 1011 to 1014 or 3000 to
	// 4999.
	Code   int    `key:"code" as:"close code"`
	Reason string `key:"reason" as:"close reason"` // for the Close frame
	// Sticky is "keep" if clients that affinity brings back are still taken.
	Sticky string `key:"sticky" words:"move keep"`
}

// DefaultDrain is the drain of a pool that says nothing about it.
func DefaultDrain() Drain {
	return Drain{Timeout: 300 * time.Second, Spread: 60 * time.Second, Code: 1001, Reason: "going away", Sticky: "move"}
}

// Admit bounds how fast a pool's backends get handshakes. Those above it wait
// in one queue for the whole pool.
type Admit struct {
	Rate float64 `key:"rate" as:"rate" zero:"unset"` // handshakes a second and backend
	// Burst is how many a backend may get at once.
	Burst int `key:"burst" zero:"unset" range:"1..1000000"`
	// Queue is how many may wait. With 0, those above Rate are refused.
	Queue        int           `key:"queue" range:"0..1000000"`
	QueueTimeout time.Duration `key:"queue_timeout" range:"1ms..1h"` // of waiting
	// Ramp is how long the rate of a backend that joins or returns takes to
	// grow up to Rate.
	Ramp time.Duration `key:"ramp" range:"0|1ms..1h"`
}

// SetDefaults implements Defaulter.
func (a *Admit) SetDefaults() {
	a.Queue, a.QueueTimeout, a.Ramp = 5000, 30*time.Second, 30*time.Second
}

// Rebalance says how the sessions of a pool are evened out after a backend has
// joined, come back or grown.
type Rebalance struct {
	// Above is how far a backend must be from its fair share for anything to
	// be done, in percent of it.
	Above int `key:"above" as:"percentage"`
	// Rate is how many sessions each backend gives away, a second.
	Rate   float64       `key:"rate" as:"rate"`
	MinAge time.Duration `key:"min_age" range:"0|1ms..24h"` // of a session that is given away
	// Sticky is "move" if sessions whose backend is chosen by a hash or by
	// affinity are moved, too. Such a pool has Reattach.
	Sticky string `key:"sticky" words:"keep move"`
}

// SetDefaults implements Defaulter.
func (r *Rebalance) SetDefaults() {
	r.Above, r.Rate, r.MinAge, r.Sticky = 10, 2, time.Minute, "keep"
}

// DNS finds a pool's backends by a name that is looked up again and again.
type DNS struct {
	Name string `key:"name" as:"DNS name"`
	Type string `key:"type" words:"srv a"`
	Port int    `key:"port" zero:"unset" range:"1..65535"` // with "a", that of every backend; with "srv" 0
	// Family is "both" only with "a".
	Family string `key:"family" words:"auto ipv4 ipv6 both"`
	// Refresh is the longest time between two lookups.
	Refresh time.Duration `key:"refresh" range:"1s..1h"`
	// Server is the server to ask; zero is that of the system.
	Server hostport.Address `key:"server" want:"an address such as 10.0.0.2:53" example:"10.0.0.2:53"`
}

// SetDefaults implements Defaulter.
func (d *DNS) SetDefaults() { d.Type, d.Family, d.Refresh = "srv", "auto", 10*time.Second }
