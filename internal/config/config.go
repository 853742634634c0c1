// Package config is the model of a configuration: its values, their defaults,
// and the rules for them. A program builds a Config starting from Defaults and
// the SetDefaults methods, and calls Validate. The package config/yaml builds
// one from a file; config/scenario has the model of simulations.
//
// A Config that Validate accepts can be used without further checks: every
// route's pool exists, every address is well-formed, every number is in range.
// Validate doesn't look whether names resolve, ports are free or files exist.
//
// docs/config.md describes every key.
package config

import (
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Address is the type of addresses in a Config.
type Address = hostport.Address

// Config is a whole configuration. The tags are described at Key.
type Config struct {
	// Listeners has at least one entry.
	Listeners []Listener `key:"listeners" want:"a list of listeners" item:"a listener with name and address"`
	// Routes are tried in order. Without one for requests, the only pool serves all.
	Routes []Route `key:"routes" want:"a list of routes" item:"a route with match and pool"`
	// Pools has at least one entry, in the order of the file. Their names are
	// unique.
	Pools     []Pool    `key:"pools" want:"a mapping from names to pools" item:"a pool with balance and backends"`
	Timeouts  Timeouts  `key:"timeouts" want:"a mapping of timeouts"`
	Shutdown  Shutdown  `key:"shutdown" want:"a mapping with delay"`
	Keepalive Keepalive `key:"keepalive" want:"a mapping with interval and timeout"`
	Forwarded Forwarded `key:"forwarded" want:"a mapping with trust and the fields to send"`
	// RequestHeaders and ResponseHeaders hold for all routes. A route's own are added;
	// where both name a field, the route's count.
	RequestHeaders  HeaderEdits `key:"request_headers" want:"a mapping with set, add and remove"`
	ResponseHeaders HeaderEdits `key:"response_headers" want:"a mapping with set, add and remove"`
	HTTP            HTTP        `key:"http" want:"a mapping of what holds for plain HTTP"`
	Limits          Limits      `key:"limits" want:"a mapping of limits"`
	Admin           Admin       `key:"admin" want:"a mapping with socket and address"`
	Log             Log         `key:"log" want:"a mapping with format and level"`
	// Tracing is nil if there are no traces.
	Tracing *Tracing `key:"tracing" want:"a mapping with endpoint"`
	Engine  string   `key:"engine" words:"auto epoll portable"`

	// Origin is one line for the log about a Config that was made from something else than
	// a file of ours; "" is none.
	Origin string

	// Warnings are about a configuration that works all the same. Validate
	// sets them.
	Warnings []Error

	source Source // where the values were given; nil for a program's
}

// Place returns where the value at a path was given, or else the section around it. It
// is zero for a Config that a program has built.
func (c *Config) Place(p Path) Place {
	if c.source == nil {
		return Place{}
	}
	return c.source.Place(p)
}

// Locate sets the places of errors that were found where values are used, such as
// files that can't be read.
func (c *Config) Locate(errs []Error) {
	for i := range errs {
		errs[i].Place = c.Place(errs[i].Path)
	}
}

// Defaults returns the configuration of an empty file: usable once it has
// listeners and pools.
func Defaults() Config {
	return Config{
		Timeouts: Timeouts{
			Connect:    5 * time.Second,
			Handshake:  10 * time.Second,
			Idle:       time.Hour,
			IdleCounts: "all",
			Close:      30 * time.Second,
			Shutdown:   30 * time.Second,
		},
		Shutdown:  Shutdown{Delay: 5 * time.Second},
		Forwarded: Forwarded{XForwarded: true},
		HTTP: HTTP{
			ResponseTimeout:    60 * time.Second,
			BodyTimeout:        60 * time.Second,
			SendTimeout:        60 * time.Second,
			IdleTimeout:        75 * time.Second,
			BackendIdleTimeout: 60 * time.Second,
			MaxHeaderBytes:     16 << 10,
			Via:                true,
		},
		Keepalive: Keepalive{Interval: 25 * time.Second, Timeout: 10 * time.Second},
		Limits:    Limits{RouteLimits: RouteLimits{SessionLimits: DefaultSessionLimits()}, SendBuffer: 256 << 10, BacklogMemory: 256 << 20},
		Admin:     Admin{Socket: SocketAuto, State: StateAuto},
		Log:       Log{Format: "json", Level: "info", HTTP: "off"},
		Engine:    "auto",
	}
}

// Listener is an address to accept clients on.
type Listener struct {
	Name string `key:"name" as:"name"` // by default the address
	// Address may have no host (every network) and the port 0 (the system
	// chooses), or be a unix socket.
	Address hostport.Address `key:"address" as:"listener" want:"an address such as \":8080\"" example:":8080 or 127.0.0.1:8080" write:"always"`
	// Mode is what clients speak, one of ModeHTTP, ModeTCP and ModePassthrough; "" is
	// ModeHTTP.
	Mode string `key:"mode" words:"http tcp tls-passthrough" zero:"unset"`
	// Pool gets the connections of a listener without requests: with ModePassthrough
	// those that no route matches, which are refused if it is "".
	Pool string `key:"pool" want:"the name of a pool"`
	// Split is instead of Pool.
	Split Split `key:"split" want:"a list of pools with weights" item:"a pool with a weight such as {pool: chat, weight: 90}"`
	// Silent closes connections without requests that can't be served, without an alert of
	// TLS; GATEWAY-TLS of the Gateway API's conformance suite asks for that. No file can
	// set it.
	Silent bool
	// SocketMode has the permissions of a unix socket; "" is 0660. See Permissions.
	SocketMode string `key:"socket_mode" as:"permissions"`
	// ProxyProtocol is nil for a listener without proxies that speak it.
	ProxyProtocol *ProxyProtocol `key:"proxy_protocol" want:"a mapping with trust"`
	// TLS is nil for a listener without it.
	TLS *ListenerTLS `key:"tls" want:"a mapping with certificates or acme"`
	// MaxSessions bounds the listener's connections; 0 is no bound.
	MaxSessions int `key:"max_sessions" range:"0..100000000"`
	// Redirect is "https" on a listener that sends clients to https; otherwise "".
	Redirect string `key:"redirect" words:"https" zero:"unset"`
	// Allow and Deny hold for everything that comes on the listener, beside those of
	// routes; see Route.
	Allow []netip.Prefix `key:"allow" want:"a list of networks such as [10.0.0.0/8]" item:"a network such as 10.0.0.0/8" some:"the list of networks is empty"`
	Deny  []netip.Prefix `key:"deny" want:"a list of networks such as [10.0.0.0/8]" item:"a network such as 10.0.0.0/8" some:"the list of networks is empty"`
	// Origins is for routes without their own; nil is the same site.
	Origins *Origins `key:"origins" want:"same_site, any, or a list of origins such as https://app.example.com"`
	// Auth is for the requests of routes that have none; nil is everyone.
	Auth *Auth `key:"auth" want:"a mapping with jwt or request"`
}

// Timeouts bound the phases of a session. Only Idle and MaxLifetime may be 0,
// which means no bound.
type Timeouts struct {
	Connect   time.Duration `key:"connect"`
	Handshake time.Duration `key:"handshake"`
	Idle      time.Duration `key:"idle" range:"0|1ms..8760h"`
	// IdleCounts is what Idle counts from the last of.
	IdleCounts  string        `key:"idle_counts" words:"all messages"`
	MaxLifetime time.Duration `key:"max_lifetime" range:"0|1ms..8760h"`
	Close       time.Duration `key:"close"`
	Shutdown    time.Duration `key:"shutdown"`
}

// Shutdown says how the balancer stops.
type Shutdown struct {
	// Delay is how long it still accepts sessions after SIGTERM, while its
	// health is 503. 0 is none.
	Delay time.Duration `key:"delay" range:"0|1ms..8760h"`
}

// Keepalive says when the balancer pings and how long it waits for a sign of
// life. Interval 0 turns it off.
type Keepalive struct {
	Interval time.Duration `key:"interval" range:"0|1ms..8760h"`
	Timeout  time.Duration `key:"timeout"`
}

// Forwarded says whose X-Forwarded-* and Forwarded fields are believed, and
// which of these fields backends get.
type Forwarded struct {
	// Trust has masked prefixes; a single address is a /32 or /128.
	Trust []Peer `key:"trust" want:"a list of networks such as [10.0.0.0/8]" item:"a network such as 10.0.0.0/8, or unix"`

	XForwarded bool `key:"x_forwarded"`
	Forwarded  bool `key:"forwarded"`
	XRealIP    bool `key:"x_real_ip"`

	RequestID    bool `key:"request_id"`
	TraceContext bool `key:"trace_context"`
}

// HTTP bounds the steps of plain HTTP requests; the bound of heads and Via apply
// to handshakes, too. Connecting and a head's time are in Timeouts.
type HTTP struct {
	ResponseTimeout    time.Duration `key:"response_timeout"`
	BodyTimeout        time.Duration `key:"body_timeout"`
	SendTimeout        time.Duration `key:"send_timeout"`
	IdleTimeout        time.Duration `key:"idle_timeout"`
	BackendIdleTimeout time.Duration `key:"backend_idle_timeout" range:"0|1ms..8760h"` // 0 keeps no connection
	// MaxHeaderBytes below the least would shut out browsers; each handshake
	// may take a buffer of the most.
	MaxHeaderBytes int `key:"max_header_bytes" range:"4096..1048576"`
	// MaxConnectionsPerAddress is for one address, or the first 64 bits of an IPv6
	// address; 0 is no bound.
	MaxConnectionsPerAddress int  `key:"max_connections_per_address" range:"0..100000000"`
	AbortOnClose             bool `key:"abort_on_close"`
	Via                      bool `key:"via"`
}
