package listener_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/listener"
)

// network records what is listened on.
type network struct {
	transport.Network
	open  map[string]int // by address; how many were ever opened
	log   []string
	names map[string]string // by address, as SetSpec was told
}

var errInUse = errors.New("address already in use")

func (n *network) Listen(spec transport.ListenerSpec, _ func(transport.Conn)) (transport.Listener, error) {
	address := spec.Address
	if strings.HasPrefix(address, "bad") {
		return nil, errInUse
	}
	if _, twice := n.open[address]; twice {
		return nil, fmt.Errorf("%s is open: %w", address, errInUse)
	}
	n.open[address] = len(n.log)
	n.log = append(n.log, "+"+address)
	return &ln{n, address}, nil
}

type ln struct {
	n       *network
	address string
}

func (l *ln) Addr() netip.AddrPort { return netip.MustParseAddrPort(l.address) }

func (l *ln) SetSpec(spec transport.ListenerSpec) { l.n.names[l.address] = spec.Name }

func (l *ln) Close() error {
	delete(l.n.open, l.address)
	l.n.log = append(l.n.log, "-"+l.address)
	return nil
}

func specs(addresses ...string) (all []listener.Spec) {
	for i, a := range addresses {
		all = append(all, listener.Spec{Name: fmt.Sprint("ln", i), Address: a})
	}
	return all
}

const a, b, c = "127.0.0.1:1", "127.0.0.1:2", "[::1]:3"

func TestApply(t *testing.T) {
	n := &network{open: map[string]int{}, names: map[string]string{}}
	s := &listener.Set{Network: n}
	for _, step := range []struct {
		name string
		to   []listener.Spec
		log  string // what was opened and closed, in order
		err  string
		open []string
	}{
		{"the first", specs(a, b), "+" + a + " +" + b, "", []string{a, b}},
		{"the same", specs(a, b), "", "", []string{a, b}},
		{"in other order and under other names", specs(b, a), "", "", []string{a, b}},
		{"one goes, one comes, which is first", specs(b, c), "+" + c + " -" + a, "", []string{b, c}},
		{"one can't be opened: nothing changes", specs(a, "bad:1"), "+" + a + " -" + a, `listener "ln1": address already in use`, []string{b, c}},
		{"not even what would go", specs("bad:1"), "", `listener "ln0": address already in use`, []string{b, c}},
		{"all go", nil, "", "", nil},
		{"and come back", specs(a), "+" + a, "", []string{a}},
	} {
		n.log = nil
		err := s.Apply(step.to)
		if (err == nil) != (step.err == "") || err != nil && (err.Error() != step.err || !errors.Is(err, errInUse)) {
			t.Errorf("%s: %v, want %q", step.name, err, step.err)
		}
		if got := strings.Join(n.log, " "); got != step.log && step.name != "all go" {
			t.Errorf("%s: %s, want %s", step.name, got, step.log)
		}
		if open := slices.Sorted(maps.Keys(n.open)); !slices.Equal(open, step.open) {
			t.Errorf("%s: open are %v, want %v", step.name, open, step.open)
		}
		names := map[string]string{}
		for _, spec := range step.to {
			names[spec.Address] = spec.Name
		}
		if l := s.List(); len(l) != len(step.open) {
			t.Errorf("%s: List has %v", step.name, l)
		} else if err == nil {
			for _, i := range l {
				if names[i.Addr.String()] != i.Name {
					t.Errorf("%s: %v has the name %q", step.name, i.Addr, i.Name)
				}
				if n.names[i.Addr.String()] != i.Name {
					t.Errorf("%s: connections of %v are told the name %q", step.name, i.Addr, n.names[i.Addr.String()])
				}
			}
		}
	}
}

func TestClose(t *testing.T) {
	n := &network{open: map[string]int{}, names: map[string]string{}}
	s := &listener.Set{Network: n}
	if err := s.Apply(specs(a, b)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.Close()
		if len(n.open) != 0 || len(s.List()) != 0 || len(n.log) != 4 {
			t.Errorf("after Close %v is open, List has %v; %v", n.open, s.List(), n.log)
		}
	}
	if err := s.Apply(specs(a)); err == nil || len(n.open) != 0 {
		t.Errorf("Apply after Close: %v", err)
	}
}
