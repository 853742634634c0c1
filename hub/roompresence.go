package hub

import (
	"strconv"
	"strings"
)

// maxUnindexed is the number of memberships up to which a room has no index of them.
const maxUnindexed = 16

// replacePresence replaces the presence by that of the snapshot, except that
// this server's own memberships are taken from memory. Those that Redis has lost are
// added again.
func (r *redisRoom) replacePresence(s snapshot) {
	if r.opts.NoPresence {
		return
	}
	dead := r.hub.deadServers()
	own := make(map[string]*Membership)
	for m := range r.memberships {
		own[m.entry] = m
	}
	for entry := range s.entries {
		// Entries of dead servers are still in Redis if no other server had
		// members in the room when they died. Remove them now: Redis forgets
		// after a time which servers are dead.
		if server := serverOf(entry); dead[server] || server == r.hub.serverID && own[entry] == nil {
			delete(s.entries, entry)
			r.hub.maintainer.removeEntry(r, entry)
		}
	}
	var lost []string
	for entry, m := range own {
		if !m.registered {
			continue
		}
		if _, ok := s.entries[entry]; !ok {
			lost = append(lost, entry)
		}
		s.entries[entry] = m.member
	}
	r.hub.maintainer.addEntries(r, lost)
	if r.epoch != "" && r.epoch != s.epoch {
		// Redis has lost the members. Keep those of other servers until they
		// have had time to add them again.
		kept := false
		for entry, m := range r.presence.entries {
			if server := serverOf(entry); server != r.hub.serverID && !dead[server] {
				s.entries[entry] = m
				kept = true
			}
		}
		if kept {
			r.hub.maintainer.callAfter(r.hub.opts.leaseTime(), r.resync)
		}
	}
	r.version = s.version
	if s.epoch != "" {
		r.epoch = s.epoch
	}
	joined, left := r.presence.replace(s.entries)
	for _, m := range joined {
		r.pushPresence(Joined, m)
	}
	for _, m := range left {
		r.pushPresence(Left, m)
	}
}

// applyBuffered applies to s the changes of presence that were received since it was
// read. The members of a large room aren't read at once, so this is necessary before
// s can be compared with the presence. It reports false if a change is missing.
func (r *redisRoom) applyBuffered(s *snapshot) bool {
	if r.opts.NoPresence {
		return true
	}
	for _, text := range r.buffered {
		if text == "" || text[0] != '+' && text[0] != '-' {
			continue
		}
		p, err := parsePayload(text)
		switch {
		case err != nil || p.version <= s.version:
			continue
		case s.version != 0 && p.version != s.version+1:
			return false
		}
		if s.version == 0 {
			s.epoch = epochBefore(p.version)
		}
		s.version = p.version
		if p.kind == '+' {
			s.entries[p.entry] = p.member
		} else {
			delete(s.entries, p.entry)
		}
	}
	return true
}

// epochBefore returns the epoch if version is the first change after a snapshot in
// which nobody was present. The epoch is the version before it, see prelude.lua.
func epochBefore(version uint64) string { return strconv.FormatUint(version-1, 10) }

// ownEntry returns the membership on this server that has that entry, or nil.
func (r *redisRoom) ownEntry(entry string) *Membership {
	if r.byEntry == nil && len(r.memberships) > maxUnindexed {
		r.byEntry = make(map[string]*Membership)
		for m := range r.memberships {
			r.byEntry[m.entry] = m
		}
	}
	if r.byEntry != nil {
		return r.byEntry[entry]
	}
	for m := range r.memberships {
		if m.entry == entry {
			return m
		}
	}
	return nil
}

// lostEntries returns those of the entries that belong to memberships on this server,
// each followed by its member.
func (r *redisRoom) lostEntries(entries []string) (args []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, entry := range entries {
		if m := r.ownEntry(entry); m != nil {
			args = append(args, entry, formatMember(m.member))
		}
	}
	return args
}

// removeDead removes the members of dead servers.
func (r *redisRoom) removeDead(dead map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for entry := range r.presence.entries {
		if dead[serverOf(entry)] {
			r.removePresent(entry)
			r.hub.maintainer.removeEntry(r, entry)
		}
	}
}

// serverOf returns the ID of the server that an entry belongs to.
func serverOf(entry string) string {
	server, _, _ := strings.Cut(entry, "/")
	return server
}
