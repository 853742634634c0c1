package relay

import "github.com/holdfast-ws/holdfast/internal/session"

// Cursor is a place in an engine's list of sessions. 0 is the beginning, and as a
// result the end. It is valid for one engine only.
type Cursor uint64

// lookAtMost is how many places of the list a call of Engine.Sessions looks at, so that
// its caller can stop in between, about.
const lookAtMost = 1 << 16

// eachPortion is how many sessions Each has in memory at a time.
const eachPortion = 1000

// each is Engine.Each for an engine that has Sessions.
func each(e interface {
	Sessions(from Cursor, limit int, of *Filter) ([]session.Summary, Cursor)
}, f func(session.Summary)) {
	for from, more := Cursor(0), true; more; more = from != 0 {
		var list []session.Summary
		list, from = e.Sessions(from, eachPortion, nil)
		for _, s := range list {
			f(s)
		}
	}
}
