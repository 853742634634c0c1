// Package activation has the listening sockets that systemd gives a process when it
// starts it (sd_listen_fds(3)). They are systemd's: it opened them, perhaps on ports
// below 1024, and they stay open while the process is restarted, so that clients wait in
// the kernel instead of being refused.
package activation

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Sockets are those that the process was given. nil is none.
type Sockets struct {
	all []*socket
}

type socket struct {
	name string // FileDescriptorName= of the socket unit, by default its file name
	ip   netip.AddrPort
	transport.Given
}

func (s *socket) String() string { return fmt.Sprintf("%s (%s)", s.Address, s.name) }

// Want is an address of the configuration. Its Name is that of the listener.
type Want struct{ Name, Address string }

// Assign chooses a socket for each want that has one: the one with its address, or else
// the one with its name. The result has nil for the others. unused are the sockets that
// nobody wants, for messages.
func (s *Sockets) Assign(wants []Want) (given []*transport.Given, unused []string) {
	given = make([]*transport.Given, len(wants))
	if s == nil {
		return given, nil
	}
	taken := map[*socket]bool{}
	for _, fits := range []func(*socket, Want) bool{sameAddress, sameWildcard, func(s *socket, w Want) bool { return s.name == w.Name }} {
		for i, w := range wants {
			for _, c := range s.all {
				if given[i] == nil && !taken[c] && fits(c, w) {
					given[i], taken[c] = &c.Given, true
				}
			}
		}
	}
	for _, c := range s.all {
		if !taken[c] {
			unused = append(unused, c.String())
		}
	}
	return given, unused
}

// Close closes the sockets in this process. systemd still has them.
func (s *Sockets) Close() {
	if s == nil {
		return
	}
	for _, c := range s.all {
		c.File.Close()
	}
}

func sameAddress(s *socket, w Want) bool {
	a, err := hostport.ParseListen(w.Address, "")
	if err != nil {
		return false
	}
	if a.Path != "" {
		return s.Address == a.String()
	}
	return a.IP.IsValid() && netip.AddrPortFrom(a.IP, a.Port) == s.ip
}

// sameWildcard: an address that stands for all networks may be written in several ways. A
// socket of systemd that has only a port is [::], and accepts IPv4, too.
func sameWildcard(s *socket, w Want) bool {
	a, err := hostport.ParseListen(w.Address, "")
	return err == nil && a.Path == "" && a.Host == "" && (!a.IP.IsValid() || a.IP.IsUnspecified()) &&
		s.ip.IsValid() && s.ip.Addr().IsUnspecified() && s.ip.Port() == a.Port
}

// add appends a socket, whose address is at. name may be "".
func (s *Sockets) add(f *os.File, name, address string, ip netip.AddrPort) {
	s.all = append(s.all, &socket{name: cmp.Or(name, "unknown"), ip: ip, Given: transport.Given{File: f, Address: address}})
}
