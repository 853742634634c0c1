// Package listener is the stage that owns the listening addresses. A reload
// keeps those that stay, so that no connection in the kernel's queue is lost.
package listener

import (
	"fmt"
	"net/netip"
	"slices"
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
	open   []*bound   // in the order of the configuration
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

// Apply makes specs what is listened on. Listeners are told apart by address;
// of several with port 0, each keeps the port it got, in their order. New ones
// are opened first; if one can't be, nothing has changed, and the error says
// which. Those that are not in specs any more are closed last.
func (s *Set) Apply(specs []Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("listeners are closed")
	}
	before := slices.Clone(s.open)
	var next, opened []*bound
	for _, spec := range specs {
		if i := slices.IndexFunc(before, func(b *bound) bool { return b.Address == spec.Address }); i >= 0 {
			next = append(next, &bound{spec, before[i].Listener})
			before = slices.Delete(before, i, i+1)
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
		opened, next = append(opened, b), append(next, b)
	}
	for _, b := range before {
		b.Close()
	}
	s.open = next
	return nil
}

// List is what is listened on now, in the order of the configuration.
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
