package hub

import (
	"bytes"
	"maps"
	"slices"
)

// presence is who is in a room: an entry for each membership on any server. Of
// several memberships of a member, the one whose entry comes first gives the
// Data.
type presence struct {
	entries map[string]Member   // by a name that no two memberships share
	of      map[string][]string // entries of a member, in order, by Member.ID
}

// add enters a membership. It reports whether the others should hear of m: the
// member was not there, or has other Data now.
func (p *presence) add(entry string, m Member) (news bool) {
	if _, ok := p.entries[entry]; ok {
		return false
	}
	if p.entries == nil {
		p.entries, p.of = make(map[string]Member), make(map[string][]string)
	}
	before, was := p.find(m.ID)
	p.entries[entry] = m
	i, _ := slices.BinarySearch(p.of[m.ID], entry)
	p.of[m.ID] = slices.Insert(p.of[m.ID], i, entry)
	after, _ := p.find(m.ID)
	return !was || !same(before, after)
}

// remove takes a membership out. What the others should hear of m by it is Left
// if the member has no other, Joined if it has other Data now, or nothing, 0.
func (p *presence) remove(entry string) (m Member, news Kind) {
	m, ok := p.entries[entry]
	if !ok {
		return Member{}, 0
	}
	before, _ := p.find(m.ID)
	delete(p.entries, entry)
	i, _ := slices.BinarySearch(p.of[m.ID], entry)
	p.of[m.ID] = slices.Delete(p.of[m.ID], i, i+1)
	after, is := p.find(m.ID)
	switch {
	case !is:
		delete(p.of, m.ID)
		return m, Left
	case !same(before, after):
		return after, Joined
	}
	return m, 0
}

// replace takes over entries as they are, and lists who joined, or has other
// Data, and who left by it. Who only changed servers did neither.
func (p *presence) replace(entries map[string]Member) (joined, left []Member) {
	old := *p
	*p = presence{}
	for entry, m := range entries {
		p.add(entry, m)
	}
	for _, m := range p.list() {
		if before, was := old.find(m.ID); !was || !same(before, m) {
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
	if own := p.of[id]; len(own) > 0 {
		return p.entries[own[0]], true
	}
	return Member{}, false
}

// list is each member once, ordered by ID.
func (p *presence) list() []Member {
	members := make([]Member, 0, len(p.of))
	for _, id := range slices.Sorted(maps.Keys(p.of)) {
		m, _ := p.find(id)
		members = append(members, m)
	}
	return members
}

func same(a, b Member) bool { return a.ID == b.ID && bytes.Equal(a.Data, b.Data) }
