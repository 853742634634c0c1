package relay_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// testSessionsPages: sessions are listed in pages, each one that stays open once. A
// Cursor that isn't a place in the list is the end.
func testSessionsPages(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	const sessions = 25
	clients := make([]*peer, sessions)
	for i := range clients {
		clients[i], _ = r.open()
	}
	for _, limit := range []int{1, 7, sessions, 1000} {
		seen := map[session.ID]int{}
		pages := 0
		for from, more := relay.Cursor(0), true; more; more = from != 0 {
			var page []session.Summary
			if page, from = r.engine.Sessions(from, limit, nil); len(page) > limit {
				t.Fatalf("%d on a page of %d", len(page), limit)
			}
			for _, s := range page {
				seen[s.ID]++
			}
			if pages++; pages > sessions+2 {
				t.Fatal("there is no end of pages")
			}
		}
		r.mu.Lock()
		for _, s := range r.started {
			if seen[s.ID] != 1 {
				t.Errorf("in pages of %d, a session is listed %d times", limit, seen[s.ID])
			}
		}
		r.mu.Unlock()
	}
	for _, from := range []relay.Cursor{1 << 63, ^relay.Cursor(0), 1 << 40, 1<<32 - 1} {
		if page, next := r.engine.Sessions(from, 10, nil); next != 0 && len(page) == 0 {
			t.Errorf("behind the place %d come no sessions, and then place %d", from, next)
		}
	}
	for _, c := range clients {
		c.TCPConn.Close()
	}
}
