package changes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// Pool is what others say of a pool.
type Pool struct {
	Name string
	// File has the backends of the configuration, with all names and weights set.
	File []pool.BackendSpec
	// Found returns those of discovery but for those that have one of these names or
	// addresses; nil means that there is none.
	Found func(names, addresses map[string]bool) []pool.BackendSpec
}

// Merged is what a pool is by all of them.
type Merged struct {
	// Backends are those of the configuration first, then those that were added, then
	// those of discovery.
	Backends []pool.BackendSpec
	// Added has the names of those that were added.
	Added map[string]bool
	// Base has the backends as they are without changes, by name.
	Base map[string]pool.BackendSpec
	// Rows are the changes, in the order of names and fields.
	Rows []Row
}

// Row is one change, for people.
type Row struct {
	Pool, Backend string
	Field         string // "added", "removed", "weight", "max_sessions" or "admin"
	File, Now     string // the value without the change, and with it; "" is none
	Since         time.Time
	Problem       string // why it has no effect; "" if it has
}

// Merge joins the changes of a pool with what others say. A backend that was added counts
// before one of discovery with the same name or address, as one of the configuration does,
// so that it stays when discovery finds it, too. Removals never leave a pool without
// backends: if they would, none of them has an effect.
func (s Set) Merge(p Pool) Merged {
	m := Merged{Added: map[string]bool{}, Base: map[string]pool.BackendSpec{}}
	of := s[p.Name]
	problems := map[string]string{} // of those that were added, by name
	names, addresses := map[string]bool{}, map[string]bool{}
	for _, b := range p.File {
		names[b.Name], addresses[b.Address] = true, true
		m.Base[b.Name] = b
	}
	var added []pool.BackendSpec
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if a := of[name].Added; a != nil {
			if problems[name] = conflict(p.File, of, added, name, a); problems[name] == "" {
				added = append(added, pool.BackendSpec{Name: name, Address: a.Address, Weight: a.Weight, MaxSessions: a.MaxSessions, HealthPort: a.HealthPort, Backup: a.Backup})
				names[name], addresses[a.Address] = true, true
				m.Added[name] = true
			}
		}
	}
	all := slices.Concat(p.File, added)
	if p.Found != nil {
		found := p.Found(names, addresses)
		for _, b := range found {
			m.Base[b.Name] = b
		}
		all = append(all, found...)
	}
	hides := func(i int) bool {
		// Of two with the same name, the first is the configuration's.
		return of[all[i].Name].Removed != nil && !(i >= len(p.File) && m.Added[all[i].Name])
	}
	empty := len(all) > 0
	for i := range all {
		empty = empty && hides(i)
	}
	for i, b := range all {
		if !empty && hides(i) {
			continue
		}
		if c := of[b.Name]; !m.Added[b.Name] {
			if c.Weight != nil {
				b.Weight = c.Weight.Now
			}
			if c.MaxSessions != nil {
				b.MaxSessions = c.MaxSessions.Now
			}
		}
		m.Backends = append(m.Backends, b)
	}
	m.rows(p.Name, of, problems, empty)
	return m
}

// conflict says why a backend that was added can't be used; "" if it can. added are those
// that can.
func conflict(file []pool.BackendSpec, of map[string]Backend, added []pool.BackendSpec, name string, a *Added) string {
	for _, b := range file {
		switch {
		case of[b.Name].Removed != nil:
		case b.Name == name && b.Address == a.Address:
			return "the configuration has it, too"
		case b.Name == name:
			return fmt.Sprintf("the configuration has a backend with this name and the address %s", b.Address)
		case b.Address == a.Address:
			return fmt.Sprintf("it has the address of the backend %s of the configuration", b.Name)
		}
	}
	for _, b := range added {
		if b.Address == a.Address {
			return fmt.Sprintf("it has the address of the backend %s, which was added, too", b.Name)
		}
	}
	return ""
}

// rows lists the changes.
func (m *Merged) rows(in string, of map[string]Backend, problems map[string]string, empty bool) {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		c := of[name]
		base, known := m.Base[name]
		there := slices.ContainsFunc(m.Backends, func(b pool.BackendSpec) bool { return b.Name == name })
		add := func(field, file, now string, since time.Time, problem string) {
			m.Rows = append(m.Rows, Row{Pool: in, Backend: name, Field: field, File: file, Now: now, Since: since, Problem: problem})
		}
		const nobody = "the pool has no backend with this name now"
		if a := c.Added; a != nil {
			add("added", "", a.Address, a.Since, problems[name])
		}
		if r := c.Removed; r != nil {
			problem := ""
			switch {
			case !known:
				problem = "neither the configuration nor discovery has it now"
			case empty:
				problem = "the pool would have no backends"
			}
			add("removed", base.Address, "", r.Since, problem)
		}
		missing := ""
		if !there {
			missing = nobody
		}
		number := func(field string, n *Number, file int) {
			if n == nil {
				return
			}
			text := ""
			if known {
				text = strconv.Itoa(file)
			}
			add(field, text, strconv.Itoa(n.Now), n.Since, missing)
		}
		number("weight", c.Weight, base.Weight)
		number("max_sessions", c.MaxSessions, base.MaxSessions)
		if a := c.Admin; a != nil {
			add("admin", "ready", string(a.State), a.Since, missing)
		}
	}
}

// Strays lists the changes of pools that the configuration doesn't have.
func (s Set) Strays(has func(in string) bool) (rows []Row) {
	for _, in := range slices.Sorted(maps.Keys(s)) {
		if has(in) {
			continue
		}
		m := s.Merge(Pool{Name: in})
		for _, r := range m.Rows {
			r.Problem = "the configuration has no such pool now"
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Backend, b.Backend))
	})
	return rows
}
