// Package discovery follows lists of backends in DNS, in AWS, in a file that another
// program writes, or that a program sets (Feeds).
//
// The application makes a Watcher, calls Apply with each configuration, and builds a
// pool's backends from Members. Options.OnChange tells it when they change. Names of
// backends that are configured directly are resolved by upstream/pool.
//
// If anything fails, the last good list stays in use. That includes answers which say
// that there is nothing (NXDOMAIN, no records, an empty list): a DNS server that lost
// its zone, or a script that found no service, must not take a whole pool down. For a
// pool without backends, remove it from the configuration. Only Feeds may be empty.
package discovery

import (
	"log/slog"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/awsapi"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Spec says where the backends of a pool are listed. If both DNS and File are set, the
// lists are joined, and so are those of AWS and of a program; of those with the same name
// or address, the file's entry wins, then that of DNS, of AWS, and the program's.
type Spec struct {
	DNS  *DNS   // nil means none
	AWS  *AWS   // nil means none
	File string // path of a JSON file, see ReadFile; "" means none
	Feed string // a list of Options.Feeds; "" means none
}

// Values of DNS.Type.
const (
	SRV = "srv" // RFC 2782: hosts, ports and weights
	A   = "a"   // A and AAAA records: addresses, all with DNS.Port
)

// Values of DNS.Family.
const (
	// Auto uses IPv4 addresses if there are any. It uses IPv6 addresses if there
	// are no IPv4 addresses, or none that this machine has a route to. DNS doesn't
	// say which addresses belong to one server, so using both would count servers
	// with both twice.
	Auto = "auto"
	IPv4 = "ipv4"
	IPv6 = "ipv6"
	// Both uses all addresses, each as a backend. With type A only.
	Both = "both"
)

// DNS is a name to look up.
type DNS struct {
	// Name is tried with the search domains of /etc/resolv.conf, like any name,
	// unless it ends with a dot. Then it takes a single query, and no other zone
	// can answer it.
	Name string
	Type string
	Port int // of each address with type A
	// Family says which addresses of a name are used; "" means Auto.
	Family string
	// Refresh is the longest time between two queries. Shorter TTLs are
	// followed, down to a second. 0 means 10 s.
	Refresh time.Duration
	// Server is queried, also for the targets of SRV records. Zero means the
	// servers of /etc/resolv.conf.
	Server hostport.Address
}

// AWS is a set of servers in an AWS account, all with one port.
type AWS struct {
	Query awsapi.Query
	Port  int
	// Refresh is the longest time between two questions. 0 means 15 s.
	Refresh time.Duration
}

// Member is one backend of a list.
type Member struct {
	// Name is the file's name for the backend, or else the address. For an SRV
	// record it is "target:port" if the target has one address, and
	// "target:port@ip" for each of several. In AWS it is the ID of the instance or task.
	Name        string
	Address     string // in the normal form of a hostport.Address; from DNS with an IP address
	Weight      int    // 1 to 256
	MaxSessions int    // 0 means unlimited
	// Host is the name for which the backend has a certificate, if it speaks TLS:
	// an SRV record's target, or the name that was looked up for its addresses. From
	// a file it is "", which means the host of Address.
	Host string
	// HealthPort is where checks connect to; 0 means as the pool says.
	HealthPort int
	// Backup means that it gets sessions only while no other can take them.
	Backup bool
	// State is whether the backend takes sessions, as far as the list says so. Only
	// those of Feeds have others than Ready.
	State MemberState
	// Deadline is when a backend that is Terminating will be killed; zero if that isn't
	// known.
	Deadline time.Time
}

// MemberState is the state of a backend as its list has it.
type MemberState uint8

const (
	// Ready takes sessions.
	Ready MemberState = iota
	// Unready takes no new sessions. Those that it has go on.
	Unready
	// Terminating takes no new sessions, and is being emptied.
	Terminating
)

// In reports whether m is one of the backends with these names and addresses. An SRV
// record's member is also found by its target and port, however many addresses the
// target has.
func (m Member) In(names, addresses map[string]bool) bool {
	target, _, _ := strings.Cut(m.Name, "@")
	return names[m.Name] || names[target] || addresses[m.Address] || addresses[target]
}

// Options are a Watcher's dependencies.
type Options struct {
	Log *slog.Logger // nil means no log
	// OnChange is called when Members has other lists for these pools, 100 ms or
	// more after the first of several changes. Calls are made one at a time on a
	// goroutine of their own and may take long. Apply may have removed a pool
	// meanwhile. nil means no calls.
	OnChange func(pools []string)
	// Feeds has the lists of Spec.Feed; nil means that there are none.
	Feeds *Feeds
}

// State describes one list.
type State struct {
	Pool      string
	Source    string    // such as "DNS SRV _ws._tcp.chat.internal" or "file backends.json"
	Backends  int       // in the last good list
	Answered  time.Time // when that was last confirmed; zero before the first
	LastError string    // why the list, or a part of it, can't be updated now; "" if it can
	Since     time.Time // of LastError
}
