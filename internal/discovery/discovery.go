// Package discovery follows lists of backends that stand elsewhere: in DNS, or
// in a file that something else writes.
//
// Whatever goes wrong there, the last good list stays in use. That includes
// answers that say firmly that there is nothing (NXDOMAIN, no records, an empty
// list): a DNS server that lost its zone, or a script that found no service,
// must not take a whole pool down. To have a pool without backends, take it out
// of the configuration.
package discovery

import (
	"log/slog"
	"strings"
	"time"
)

// Spec says where the backends of a pool are listed. With both DNS and File
// they are joined; where both have a name or an address, the file's entry
// counts.
type Spec struct {
	DNS  *DNS   // nil means none
	File string // path of a JSON file, see ReadFile; "" means none
}

// Values of DNS.Type.
const (
	SRV = "srv" // RFC 2782: hosts, ports and weights
	A   = "a"   // A and AAAA records: addresses that share DNS.Port
)

// DNS is a name to ask for.
type DNS struct {
	// Name is tried with the search domains of /etc/resolv.conf, as any
	// name, unless it ends with a dot. One that does is asked for with one
	// question instead of several, and nobody else's zone can answer it.
	Name string
	Type string
	Port int // of each address with type A
	// Refresh is the longest time between two questions; shorter TTLs are
	// followed, down to a second. 0 means 10 s.
	Refresh time.Duration
	// Server is the host:port to ask. "" means the servers of
	// /etc/resolv.conf. It is asked for the targets of SRV records as well.
	Server string
}

// Member is one backend of a list.
type Member struct {
	// Name is that of a file, if it has one, or the address. Of an SRV record
	// it is "target:port" where the target has one address, and
	// "target:port@ip" for each where it has several.
	Name        string
	Address     string // host:port, as pool.ParseAddress takes it; of DNS with an IP address
	Weight      int    // 1 to 256
	MaxSessions int    // 0 means no bound
}

// Among tells whether m is one of the backends with these names and addresses:
// an SRV record also by its target and port, however many addresses that has.
func (m Member) Among(names, addresses map[string]bool) bool {
	target, _, _ := strings.Cut(m.Name, "@")
	return names[m.Name] || names[target] || addresses[m.Address] || addresses[target]
}

// Options are what a Watcher needs from outside.
type Options struct {
	Log *slog.Logger // nil means no log
	// Changed is told that Members has another list for a pool, at the
	// earliest 100 ms after the first of several changes. Calls come one at a
	// time from a goroutine of their own and may take long. A pool may have
	// been taken out by Apply meanwhile. nil means nobody is told.
	Changed func(pool string)
}

// State tells how following one list goes.
type State struct {
	Pool     string
	Source   string    // such as "DNS SRV _ws._tcp.chat.internal" or "file backends.json"
	Backends int       // in the last good answer
	Answered time.Time // when that was confirmed last; zero before the first
	Trouble  string    // why it, or a part of it, isn't followed now; "" while all is well
	Since    time.Time // of the trouble
}
