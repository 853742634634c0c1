package discovery

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Feeds are lists of backends that a program keeps up to date, by name. A pool follows
// one by Spec.Feed. The methods are safe for concurrent use.
//
// Unlike other lists, an empty one is believed: a program knows when there is nothing.
type Feeds struct {
	// setting is held during a whole change, so that Watchers see changes in their
	// order. A Watcher's own lock may be taken meanwhile.
	setting  sync.Mutex
	watchers []*Watcher // guarded by setting

	mu    sync.Mutex          // guards the following; a Watcher's lock may be held
	lists map[string][]Member // normal; replaced, never changed
}

// NewFeeds returns Feeds without a list.
func NewFeeds() *Feeds { return &Feeds{lists: map[string][]Member{}} }

// Set replaces a list. If it is equal to the one before, nothing happens. Members are
// in any order, and belong to the caller. A name is by default the address, a weight
// 1. Of several with the same name or address, one that is Ready counts, then one that
// is Unready, then the first by name.
func (f *Feeds) Set(feed string, members []Member) {
	f.setting.Lock()
	defer f.setting.Unlock()
	before, known := f.list(feed)
	if known && isNormal(members, before) {
		return
	}
	now := normalised(members)
	if known && slices.Equal(before, now) {
		return
	}
	f.mu.Lock()
	f.lists[feed] = now
	f.mu.Unlock()
	f.tell(feed)
}

// Remove forgets a list, which no pool should follow any more. One that does has no
// backends from then on.
func (f *Feeds) Remove(feed string) {
	f.setting.Lock()
	defer f.setting.Unlock()
	if _, known := f.list(feed); !known {
		return
	}
	f.mu.Lock()
	delete(f.lists, feed)
	f.mu.Unlock()
	f.tell(feed)
}

// tell makes the Watchers look at a list. setting must be held.
func (f *Feeds) tell(feed string) {
	for _, w := range f.watchers {
		w.fed(feed)
	}
}

// list returns a list, which must not be changed, and whether there is one.
func (f *Feeds) list(feed string) (members []Member, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	members, known = f.lists[feed]
	return members, known
}

// attach makes a Watcher follow changes, until detach.
func (f *Feeds) attach(w *Watcher) {
	f.setting.Lock()
	defer f.setting.Unlock()
	f.watchers = append(f.watchers, w)
}

func (f *Feeds) detach(w *Watcher) {
	f.setting.Lock()
	defer f.setting.Unlock()
	f.watchers = slices.DeleteFunc(f.watchers, func(other *Watcher) bool { return other == w })
}

// normal brings a member into the form in which equal ones are ==.
func (m Member) normal() Member {
	m.Name, m.Weight = cmp.Or(m.Name, m.Address), max(m.Weight, 1)
	if m.State != Terminating {
		m.Deadline = time.Time{}
	}
	m.Deadline = m.Deadline.Round(0).UTC() // without the monotonic clock, and a location
	return m
}

// isNormal reports whether members come to the normal list, as far as that is visible
// without an allocation.
func isNormal(members, normal []Member) bool {
	return slices.EqualFunc(members, normal, func(m, n Member) bool { return m.normal() == n })
}

// normalised returns a list sorted by name, with unique names and addresses.
func normalised(members []Member) []Member {
	all := make([]Member, 0, len(members))
	for _, m := range members {
		all = append(all, m.normal())
	}
	slices.SortStableFunc(all, func(a, b Member) int { return cmp.Or(cmp.Compare(a.State, b.State), byName(a, b)) })
	names, addresses := make(map[string]bool, len(all)), make(map[string]bool, len(all))
	all = slices.DeleteFunc(all, func(m Member) bool {
		if names[m.Name] || addresses[m.Address] {
			return true
		}
		names[m.Name], addresses[m.Address] = true, true
		return false
	})
	slices.SortFunc(all, byName)
	return all
}

// fed takes over a list of Feeds that has changed.
func (w *Watcher) fed(feed string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	members, known := w.lists.list(feed)
	for _, f := range w.fedBy[feed] {
		f.set(members, "", false)
		if !known {
			f.answered = time.Time{}
		}
	}
}

// take gives a new feed the list of Feeds, if there is one. watcher.mu must be held.
func (f *feed) take() {
	if f.watcher.lists == nil {
		return
	}
	if members, known := f.watcher.lists.list(f.source.feed); known {
		f.members, f.answered = members, time.Now()
	}
}
