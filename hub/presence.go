package hub

import (
	"bytes"
	"maps"
	"slices"
)

// presence records who is in a room. It has an entry for each membership on any
// server. If a member has several memberships, its Data is that of the entry
// that sorts first.
type presence struct {
	entries map[string]Member   // by entry, a name unique to a membership
	byID    map[string][]string // a member's entries in order, by Member.ID
}

// add adds an entry. It reports whether other members must be notified: m wasn't
// present before, or its Data has changed.
func (p *presence) add(entry string, m Member) (changed bool) {
	if _, ok := p.entries[entry]; ok {
		return false
	}
	if p.entries == nil {
		p.entries, p.byID = make(map[string]Member), make(map[string][]string)
	}
	before, was := p.find(m.ID)
	p.entries[entry] = m
	i, _ := slices.BinarySearch(p.byID[m.ID], entry)
	p.byID[m.ID] = slices.Insert(p.byID[m.ID], i, entry)
	after, _ := p.find(m.ID)
	return !was || !equal(before, after)
}

// remove removes an entry. It returns the event of which other members must be
// notified: Left if the member has no other entry, Joined if its Data has
// changed, or 0 for none.
func (p *presence) remove(entry string) (m Member, k Kind) {
	m, ok := p.entries[entry]
	if !ok {
		return Member{}, 0
	}
	before, _ := p.find(m.ID)
	delete(p.entries, entry)
	i, _ := slices.BinarySearch(p.byID[m.ID], entry)
	p.byID[m.ID] = slices.Delete(p.byID[m.ID], i, i+1)
	after, is := p.find(m.ID)
	switch {
	case !is:
		delete(p.byID, m.ID)
		return m, Left
	case !equal(before, after):
		return after, Joined
	}
	return m, 0
}

// replace replaces all entries. It returns the members who have joined or whose
// Data has changed, and those who have left. A member who only changed servers
// is in neither list.
func (p *presence) replace(entries map[string]Member) (joined, left []Member) {
	old := *p
	*p = presence{}
	for entry, m := range entries {
		p.add(entry, m)
	}
	for _, m := range p.list() {
		if before, was := old.find(m.ID); !was || !equal(before, m) {
			joined = append(joined, m)
		}
	}
	for _, m := range old.list() {
		if _, is := p.find(m.ID); !is {
			left = append(left, m)
		}
	}
	return joined, left
}

func (p *presence) find(id string) (m Member, ok bool) {
	if own := p.byID[id]; len(own) > 0 {
		return p.entries[own[0]], true
	}
	return Member{}, false
}

// list returns each member once, sorted by ID.
func (p *presence) list() []Member {
	members := make([]Member, 0, len(p.byID))
	for _, id := range slices.Sorted(maps.Keys(p.byID)) {
		m, _ := p.find(id)
		members = append(members, m)
	}
	return members
}

func equal(a, b Member) bool { return a.ID == b.ID && bytes.Equal(a.Data, b.Data) }
