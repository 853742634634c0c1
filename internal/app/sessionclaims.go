package app

import (
	"sync"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
)

// sessionClaims has the claims that are shown with live sessions. Sessions without any
// cost nothing. IDs are random, so any byte of one spreads them evenly. The shards keep
// the time short for which a loop may wait for another one.
type sessionClaims struct {
	shards [64]struct {
		mu      sync.Mutex // guards the following
		of      map[session.ID]claims.Claims
		largest int // number of entries that the map has had room for
	}
}

func (t *sessionClaims) put(id session.ID, c claims.Claims) {
	if c == "" {
		return
	}
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[session.ID]claims.Claims)
	}
	s.of[id] = c
	s.largest = max(s.largest, len(s.of))
}

// get returns "" for a session without any.
func (t *sessionClaims) get(id session.ID) claims.Claims {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[id]
}

func (t *sessionClaims) remove(id session.ID) {
	s := &t.shards[id[0]%64]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, id)
	// A map never releases memory by itself.
	if s.largest > 64 && len(s.of) < s.largest/4 {
		smaller := make(map[session.ID]claims.Claims, len(s.of))
		for id, c := range s.of {
			smaller[id] = c
		}
		s.of, s.largest = smaller, len(smaller)
	}
}

// find returns the sessions with a claim of that value.
func (t *sessionClaims) find(name, value string) map[session.ID]bool {
	found := map[session.ID]bool{}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for id, c := range s.of {
			if v, ok := c.Get(name); ok && v == value {
				found[id] = true
			}
		}
		s.mu.Unlock()
	}
	return found
}
