package relay_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// infoOf is what the fixture knows of a client's session.
func (r *fixture) infoOf(client *peer) session.Info {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.started) - 1; i >= 0; i-- {
		if r.started[i].Client.String() == client.TCPConn.LocalAddr().String() {
			return r.started[i]
		}
	}
	r.t.Fatal("a session that has never begun")
	panic("unreachable")
}

// testListUnderChurn: while sessions open and end between the pages of a list, each that
// is open all the time is on exactly one page, and none is on two. With a filter this holds
// for those that it includes.
func testListUnderChurn(t *testing.T, e engine) {
	r := newFixture(t, e, quick, relay.Limits{})
	open := map[session.ID]*peer{}
	odd := map[session.ID]bool{}
	begin := func() {
		r.backendID.Store(uint32(len(odd) % 2))
		c, b := r.open()
		i := r.infoOf(c)
		open[i.ID], odd[i.ID] = c, i.Backend == 1
		go func() {
			for _, err := b.next(); err == nil; _, err = b.next() {
			}
			b.TCPConn.Close()
		}()
	}
	end := func(id session.ID) {
		open[id].TCPConn.Close()
		delete(open, id)
	}
	rapid.Check(t, func(t *rapid.T) {
		for id := range open {
			if len(open) <= 3 {
				break
			}
			end(id)
		}
		for range rapid.IntRange(0, 6).Draw(t, "new ones") {
			begin()
		}
		var of *relay.Filter
		if rapid.Bool().Draw(t, "with a filter") {
			of = &relay.Filter{Backends: map[uint32]bool{1: true}}
		}
		stayed := map[session.ID]bool{}
		for id := range open {
			stayed[id] = of == nil || odd[id]
		}
		seen := map[session.ID]int{}
		limit := rapid.IntRange(1, 7).Draw(t, "limit")
		for from, more := relay.Cursor(0), true; more; more = from != 0 {
			var page []session.Summary
			if page, from = r.engine.Sessions(from, limit, of); len(page) > limit {
				t.Fatalf("%d on a page of %d", len(page), limit)
			}
			for _, s := range page {
				if seen[s.ID]++; of != nil && !odd[s.ID] {
					t.Fatalf("a session that the filter doesn't include: %+v", s)
				}
			}
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0:
				begin()
			case 1:
				for id := range open { // any
					end(id)
					delete(stayed, id)
					r.until("the session has ended", func() bool {
						r.mu.Lock()
						defer r.mu.Unlock()
						_, ended := r.ended[id]
						return ended
					})
					break
				}
			}
		}
		for id, wanted := range stayed {
			if wanted && seen[id] != 1 {
				t.Errorf("%s is listed %d times in pages of %d", id, seen[id], limit)
			}
		}
		for id, n := range seen {
			if n > 1 {
				t.Errorf("%s is listed %d times", id, n)
			}
		}
	})
	for id := range open {
		end(id)
	}
}

// testIdleOfList: a session is idle from its last message on; what keeps the connection
// alive doesn't count.
func testIdleOfList(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{KeepaliveInterval: 70 * time.Millisecond, KeepaliveTimeout: patience})
		p, q := r.both(from)
		texts := make(chan string, 10)
		answers := func(g got) {
			if g.first == fin|opText {
				texts <- g.payload
			}
		}
		done := [2]chan struct{}{p.answer(answers), q.answer(answers)}
		p.text("one")
		<-texts
		const long = 500 * time.Millisecond
		idle := &relay.Filter{Idle: long}
		r.until("it is idle", func() bool {
			list, _ := r.engine.Sessions(0, 1, idle)
			return len(list) == 1 && list[0].Idle >= long
		})
		p.text("two")
		<-texts
		began := time.Now()
		r.until("it isn't idle any more", func() bool {
			idle := r.onlySession().Idle
			return idle <= time.Since(began)+long/2
		})
		p.TCPConn.Close()
		q.CloseWrite()
		<-done[0]
		<-done[1]
	}
}
