// Package listener is the stage that owns the listening addresses. A reload
// keeps those that stay, so that no connection in the kernel's queue is lost.
package listener

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Spec is one listener as the configuration has it.
type Spec struct {
	Name    string
	Address string // "host:port"; no host is every address
}

// Set is the listeners of a process. Its methods may be called from anywhere
// but the tasks that Network runs.
type Set struct {
	Network transport.Network
	Serve   func(transport.Conn) // owns each connection, see transport.Network

	mu     sync.Mutex // guards the following
	open   map[string]*bound
	closed bool
}

type bound struct {
	Spec
	transport.Listener
}

// Info is an open listener.
type Info struct {
	Name string
	Addr netip.AddrPort
}

// Apply makes specs what is listened on. Listeners are told apart by address.
// New ones are opened first; if one can't be, nothing has changed, and the
// error says which. Those that are not in specs any more are closed last.
func (s *Set) Apply(specs []Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("listeners are closed")
	}
	next := make(map[string]*bound, len(specs))
	var opened []*bound
	for _, spec := range specs {
		if b := s.open[spec.Address]; b != nil {
			next[spec.Address] = &bound{spec, b.Listener}
			continue
		}
		ln, err := s.Network.Listen(spec.Address, s.Serve)
		if err != nil {
			for _, b := range opened {
				b.Close()
			}
			return fmt.Errorf("listener %q: %w", spec.Name, err)
		}
		b := &bound{spec, ln}
		opened = append(opened, b)
		next[spec.Address] = b
	}
	for address, b := range s.open {
		if next[address] == nil {
			b.Close()
		}
	}
	s.open = next
	return nil
}

// List is what is listened on now.
func (s *Set) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Info
	for _, b := range s.open {
		all = append(all, Info{b.Name, b.Addr()})
	}
	return all
}

// Close stops listening. Connections that were accepted go on.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, b := range s.open {
		b.Close()
	}
	s.open = nil
}
