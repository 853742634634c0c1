// Package config turns a YAML file into a checked, plain Go value.
//
// All mistakes of a file are told at once, each with its position. What Parse
// accepts can be used without further checks: every route's pool exists, every
// address is well-formed, every number is in range. Whether names resolve, ports
// are free and files of backends exist is not looked at.
//
// docs/config.md describes every key.
package config

import (
	"net/netip"
	"time"
)

// Config is a whole configuration, with the defaults filled in.
type Config struct {
	// Listeners has at least one entry.
	Listeners []Listener
	// Routes are tried in order. Empty means that the only pool serves all.
	Routes []Route
	// Pools has at least one entry, in the order of the file.
	Pools     []Pool
	Timeouts  Timeouts
	Keepalive Keepalive
	Forwarded Forwarded
	Limits    Limits
	Admin     Admin
	Log       Log
	// Engine is "auto", "epoll" or "portable".
	Engine string

	// Warnings are told to the user; the configuration works all the same.
	Warnings []Error
}

// Pos is a place in the file, counted from 1, columns in characters. The zero
// Pos belongs to what was not read from a file.
type Pos struct{ Line, Col int }

// Listener is an address to accept clients on.
type Listener struct {
	Name string
	// Address is "host:port". The host may be empty (every network), the port
	// may be 0 (the system chooses).
	Address string
	Pos
}

// Route sends the requests that Match to a pool.
type Route struct {
	Match Match
	Pool  string // the Name of a pool in Pools
	Pos
}

// Match is what a request must have; a zero field matches every request.
type Match struct {
	// Host is in lower case without a port: a name, an IPv4 address, an IPv6
	// address in brackets, or "*.example.com" for all names below example.com.
	Host string
	// Path is a prefix on segment borders without a trailing slash: "/ws"
	// matches /ws and /ws/x, not /wsx.
	Path string
	// WebSocket true matches only upgrade requests, false only others.
	WebSocket *bool
}

// Timeouts bound the phases of a session. Only Idle and MaxLifetime may be 0,
// which means no bound.
type Timeouts struct {
	Connect     time.Duration
	Handshake   time.Duration
	Idle        time.Duration
	MaxLifetime time.Duration
	Shutdown    time.Duration
}

// Keepalive says when the balancer pings and how long it waits for a sign of
// life. Interval 0 turns it off.
type Keepalive struct {
	Interval time.Duration
	Timeout  time.Duration
}

// Forwarded says whose X-Forwarded-* and Forwarded headers are believed.
type Forwarded struct {
	Trust []netip.Prefix // masked; a single address is a /32 or /128
}

// Limits bound what is open at a time. 0 means derived from the descriptor
// limit at start.
type Limits struct {
	MaxSessions   int
	MaxHandshakes int
}

// Admin is the address of the admin interface, always with a host part. Empty
// means off.
type Admin struct {
	Address string
}

// Log says how and how much is logged.
type Log struct {
	Format string // "json" or "text"
	Level  string // "debug", "info", "warn" or "error"
}

// Defaults is the configuration of an empty file: usable once it has
// listeners and pools.
func Defaults() Config {
	return Config{
		Timeouts: Timeouts{
			Connect:   5 * time.Second,
			Handshake: 10 * time.Second,
			Idle:      time.Hour,
			Shutdown:  30 * time.Second,
		},
		Keepalive: Keepalive{Interval: 25 * time.Second, Timeout: 10 * time.Second},
		Log:       Log{Format: "json", Level: "info"},
		Engine:    "auto",
	}
}
