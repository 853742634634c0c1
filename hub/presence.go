package hub

import (
	"cmp"
	"maps"
	"slices"
)

// presence is who is in a room: an entry for each membership on any server,
// and how many of them each member has.
type presence struct {
	entries map[string]Member // by a name that no two memberships share
	count   map[string]int    // by Member.ID
}

// add enters a membership; first says that the member was not there.
func (p *presence) add(entry string, m Member) (first bool) {
	if _, ok := p.entries[entry]; ok {
		return false
	}
	if p.entries == nil {
		p.entries, p.count = make(map[string]Member), make(map[string]int)
	}
	p.entries[entry] = m
	p.count[m.ID]++
	return p.count[m.ID] == 1
}

// remove takes a membership out; last says that the member has no other.
func (p *presence) remove(entry string) (m Member, last bool) {
	m, ok := p.entries[entry]
	if !ok {
		return Member{}, false
	}
	delete(p.entries, entry)
	p.count[m.ID]--
	if p.count[m.ID] > 0 {
		return m, false
	}
	delete(p.count, m.ID)
	return m, true
}

// replace takes over entries as they are, and lists who joined and left by it.
// Who only changed servers did neither.
func (p *presence) replace(entries map[string]Member) (joined, left []Member) {
	before := p.list()
	was := p.count
	*p = presence{}
	for entry, m := range entries {
		if p.add(entry, m) && was[m.ID] == 0 {
			joined = append(joined, m)
		}
	}
	for _, m := range before {
		if p.count[m.ID] == 0 {
			left = append(left, m)
		}
	}
	slices.SortFunc(joined, byID)
	return joined, left
}

// list is each member once, ordered by ID. Of several memberships, the one
// whose entry comes first gives the Data.
func (p *presence) list() []Member {
	members := make([]Member, 0, len(p.count))
	for _, entry := range slices.Sorted(maps.Keys(p.entries)) {
		members = append(members, p.entries[entry])
	}
	slices.SortStableFunc(members, byID)
	return slices.CompactFunc(members, func(a, b Member) bool { return a.ID == b.ID })
}

func byID(a, b Member) int { return cmp.Compare(a.ID, b.ID) }
