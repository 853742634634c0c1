// Package listener is the stage that owns the listening addresses. A reload
// keeps the sockets of addresses that stay, so that no connection in the
// kernel's queue is lost.
package listener

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Spec is one listener of the configuration.
type Spec = transport.ListenerSpec

// Set is the listeners of a process. Its methods may be called from any
// goroutine except the tasks that Network runs.
type Set struct {
	Network transport.Network
	Serve   func(transport.Conn) // see transport.Network.Listen

	mu     sync.Mutex // guards the following
	open   []*bound   // in the order of the configuration
	closed bool
}

// address is what b accepts on.
func (b *bound) address() string {
	if b.Given != nil {
		return b.Given.Address
	}
	return b.Address
}

type bound struct {
	Spec
	transport.Listener
}

// Info is an open listener.
type Info struct {
	Name string
	Addr netip.AddrPort // hostport.UnixPeer for a unix socket
	unix string         // the address of a unix socket; otherwise ""
}

// String is the address, in the form of a hostport.Address.
func (i Info) String() string { return cmp.Or(i.unix, i.Addr.String()) }

// OpenError says which listener can't be opened.
type OpenError struct {
	Listener string // its name
	Err      error
}

func (e *OpenError) Error() string { return fmt.Sprintf("listener %q: %v", e.Listener, e.Err) }

func (e *OpenError) Unwrap() error { return e.Err }

// Apply opens and closes listeners so that they match specs. Listeners are
// identified by address and given socket; several with port 0 keep the ports they got, in their
// order. Apply first opens the new ones. If one can't be opened, nothing
// changes, and the error is an *OpenError. Listeners that stay get their new Spec, and
// those that are not in specs any more are closed last.
func (s *Set) Apply(specs []Spec) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("listeners are closed")
	}
	before := slices.Clone(s.open)
	var next, opened []*bound
	for _, spec := range specs {
		if i := slices.IndexFunc(before, func(b *bound) bool { return b.Address == spec.Address && b.Given == spec.Given }); i >= 0 {
			next = append(next, &bound{spec, before[i].Listener})
			before = slices.Delete(before, i, i+1)
			continue
		}
		ln, err := s.Network.Listen(spec, s.Serve)
		if err != nil {
			for _, b := range opened {
				b.Close()
			}
			return &OpenError{spec.Name, err}
		}
		b := &bound{spec, ln}
		opened, next = append(opened, b), append(next, b)
	}
	for _, b := range next {
		b.SetSpec(b.Spec)
		if path, ok := strings.CutPrefix(b.Address, "unix:"); ok && hostport.IsUnix(b.Address) && b.Given == nil {
			os.Chmod(path, b.SocketMode) // if the file is gone, nobody can connect anyway
		}
	}
	for _, b := range before {
		b.Close()
	}
	s.open = next
	return nil
}

// List returns the open listeners in the order of the configuration.
func (s *Set) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Info
	for _, b := range s.open {
		info := Info{Name: b.Name, Addr: b.Addr()}
		if at := b.address(); hostport.IsUnix(at) {
			info.unix = at
		}
		all = append(all, info)
	}
	return all
}

// Close closes all listeners. Connections that were accepted go on.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, b := range s.open {
		b.Close()
	}
	s.open = nil
}
