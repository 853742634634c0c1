// Package changes has what operators have changed of backends at run time, beside the
// configuration and discovery: backends that were added and removed, their weights and
// limits, and those that are drained or in maintenance.
//
// A Set is immutable, like a configuration: each change makes another one. Merge joins it
// with what the configuration and discovery say of a pool. The application builds a
// generation of that, and keeps the Set in a file.
package changes

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// Set has the changes of backends by pool and by name. A change belongs to a name,
// whatever address the backend with that name has. The zero value has none.
type Set map[string]map[string]Backend

// Backend is what was changed of one backend. Fields that are nil are as the configuration
// or discovery has them.
type Backend struct {
	// Added is a backend that neither has. If Removed is set, too, it takes the place of
	// one with the same name.
	Added *Added `json:"added,omitempty"`
	// Removed says that one of the configuration or of discovery isn't used.
	Removed     *Removed `json:"removed,omitempty"`
	Weight      *Number  `json:"weight,omitempty"`
	MaxSessions *Number  `json:"max_sessions,omitempty"`
	Admin       *Admin   `json:"admin,omitempty"`
}

// Added is a backend that was added, with what was changed of it later.
type Added struct {
	Address     string    `json:"address"` // in the normal form of a hostport.Address
	Weight      int       `json:"weight"`
	MaxSessions int       `json:"max_sessions,omitempty"`
	HealthPort  int       `json:"health_port,omitempty"`
	Backup      bool      `json:"backup,omitempty"`
	Since       time.Time `json:"since"`
}

// Removed is when a backend was removed.
type Removed struct {
	Since time.Time `json:"since"`
}

// Number is a number that was changed.
type Number struct {
	Now   int       `json:"now"`
	Since time.Time `json:"since"`
}

// Admin is the state that an operator has set.
type Admin struct {
	State State     `json:"state"`
	Since time.Time `json:"since"`
}

// State is an administrative state.
type State string

// Values of State. A backend that is ready has no change.
const (
	Drain State = "drain"
	Maint State = "maint"
)

// Pool returns the state for upstream/pool.
func (s State) Pool() pool.Admin {
	switch s {
	case Drain:
		return pool.Drain
	case Maint:
		return pool.Maint
	}
	return pool.Ready
}

func (b *Backend) isZero() bool { return *b == Backend{} }

// Of returns what was changed of a backend.
func (s Set) Of(in, name string) Backend { return s[in][name] }

// With returns the Set with another change of a backend. f must replace what pointers point
// to, not change it.
func (s Set) With(in, name string, f func(*Backend)) Set {
	b := s.Of(in, name)
	f(&b)
	next := maps.Clone(s)
	if next == nil {
		next = Set{}
	}
	of := maps.Clone(s[in])
	if of == nil {
		of = map[string]Backend{}
	}
	if of[name] = b; b.isZero() {
		delete(of, name)
	}
	if next[in] = of; len(of) == 0 {
		delete(next, in)
	}
	return next
}

// Without returns the Set without the changes of a backend; with "" of all backends of a
// pool, and with two of all.
func (s Set) Without(in, name string) Set {
	switch {
	case in == "":
		return Set{}
	case name == "":
		next := maps.Clone(s)
		delete(next, in)
		return next
	}
	return s.With(in, name, func(b *Backend) { *b = Backend{} })
}

// Len is the number of backends with changes.
func (s Set) Len() (n int) {
	for _, of := range s {
		n += len(of)
	}
	return n
}

// maxWeight is the highest weight, as in a configuration.
const maxWeight = 256

// Check reports what is wrong with a Set that was read from a file.
func (s Set) Check() error {
	for in, of := range s {
		for name, b := range of {
			if err := b.check(); err != nil {
				return fmt.Errorf("backend %s of pool %s: %w", hint.Quote(name), hint.Quote(in), err)
			}
		}
	}
	return nil
}

func (b *Backend) check() error {
	weight := func(n int) error {
		if n < 1 || n > maxWeight {
			return fmt.Errorf("weight %d is not from 1 to %d", n, maxWeight)
		}
		return nil
	}
	most := func(n int) error {
		if n < 0 {
			return fmt.Errorf("max_sessions %d is negative", n)
		}
		return nil
	}
	var errs []error
	if a := b.Added; a != nil {
		address, err := hostport.ParseBackend(a.Address)
		if err == nil && address.String() != a.Address {
			err = fmt.Errorf("the address %s is not in its normal form", hint.Quote(a.Address))
		}
		errs = append(errs, err, weight(a.Weight), most(a.MaxSessions))
		if a.HealthPort < 0 || a.HealthPort > 65535 {
			errs = append(errs, fmt.Errorf("health_port %d is no port", a.HealthPort))
		}
	}
	if b.Weight != nil {
		errs = append(errs, weight(b.Weight.Now))
	}
	if b.MaxSessions != nil {
		errs = append(errs, most(b.MaxSessions.Now))
	}
	if a := b.Admin; a != nil && a.State != Drain && a.State != Maint {
		errs = append(errs, fmt.Errorf("the state %s is neither drain nor maint", hint.Quote(string(a.State))))
	}
	return errors.Join(errs...)
}

// Settle returns the Set without what the configuration now says itself of a pool, whose
// backends are listed. discovers says that the pool has others, too.
//
// A backend that was added and is listed now, with the same address, is the
// configuration's from now on; its weight stays a change if it is another one.
func (s Set) Settle(in string, listed []pool.BackendSpec, discovers bool) Set {
	if len(s[in]) == 0 {
		return s
	}
	file := map[string]*pool.BackendSpec{}
	for i := range listed {
		file[listed[i].Name] = &listed[i]
	}
	of := maps.Clone(s[in]) // once, as there may be thousands
	for name, b := range of {
		if b.settle(file[name], discovers); b.isZero() {
			delete(of, name)
		} else {
			of[name] = b
		}
	}
	next := maps.Clone(s)
	if next[in] = of; len(of) == 0 {
		delete(next, in)
	}
	return next
}

// settle drops what file, nil if it isn't listed, says itself.
func (b *Backend) settle(file *pool.BackendSpec, discovers bool) {
	if file == nil {
		if !discovers {
			b.Removed = nil
		}
		return
	}
	if a := b.Added; a != nil && a.Address == file.Address {
		b.Added, b.Removed = nil, nil
		b.Weight, b.MaxSessions = &Number{a.Weight, a.Since}, &Number{a.MaxSessions, a.Since}
	}
	if b.Weight != nil && b.Weight.Now == file.Weight {
		b.Weight = nil
	}
	if b.MaxSessions != nil && b.MaxSessions.Now == file.MaxSessions {
		b.MaxSessions = nil
	}
}
