package generation

import (
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/sticky"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Learned is the affinity of a pool that is learned: a table, which outlives the Pool, says
// which member a key belongs to.
type Learned struct {
	table *sticky.Table
	// from are the parts of a request that may be a key. The first that is in it and in the
	// table counts.
	from []requestkey.Part
	// answer are the parts of a backend's answer whose values belong to that backend. Without
	// any, a key belongs to the first backend that it gets.
	answer []requestkey.Part

	homes   []sticky.Home // by member
	members map[sticky.Home]int
}

// NewLearned makes the affinity of a pool's members, given by their names.
func NewLearned(table *sticky.Table, from, answer []requestkey.Part, names []string) *Learned {
	l := &Learned{table: table, from: from, answer: answer, members: make(map[sticky.Home]int, len(names))}
	for i, name := range names {
		home := sticky.HomeOf(name)
		l.homes = append(l.homes, home)
		if _, twice := l.members[home]; !twice {
			l.members[home] = i
		}
	}
	return l
}

// usualSources is how many sources of keys cause no allocation.
const usualSources = 4

// keys appends the keys that are in a request, in the order of l.from.
func (l *Learned) keys(keys []sticky.Key, r requestkey.Request) []sticky.Key {
	var buf [128]byte
	for _, part := range l.from {
		if value, ok := part.Append(buf[:0], r); ok && len(value) > 0 {
			keys = append(keys, l.table.KeyOf(value, part == requestkey.ClientIP))
		}
	}
	return keys
}

// find returns the first of the keys that belongs to a member. result says what is known if
// there is none. The table must be locked.
func (l *Learned) find(keys []sticky.Key) (of sticky.Key, member int, result string) {
	result = AffinityNew
	for _, key := range keys {
		home, ok := l.table.Find(key)
		if !ok {
			continue
		}
		if i, is := l.members[home]; is {
			return key, i, AffinityKept
		}
		result = AffinityGone
	}
	return of, -1, result
}

// knows reports whether a key of r belongs to a member.
func (l *Learned) knows(r requestkey.Request) bool {
	var room [usualSources]sticky.Key
	keys := l.keys(room[:0], r)
	if len(keys) == 0 {
		return false
	}
	l.table.Lock()
	defer l.table.Unlock()
	_, home, _ := l.find(keys)
	return home >= 0
}

// learnFirst makes the first of the keys belong to a member, unless keys are only learned
// from answers. The table must be locked.
func (l *Learned) learnFirst(keys []sticky.Key, member int) {
	if len(l.answer) == 0 && len(keys) > 0 {
		l.table.Set(keys[0], l.homes[member])
	}
}

// takeLearned is Take in a pool whose affinity is learned. It holds the table's lock while it
// chooses, so that several first requests with one key get the same backend.
func (p *Pool) takeLearned(limits balance.RateLimits, r requestkey.Request, q balance.Query) (c balance.Choice, result string, err error) {
	l := p.Learned
	var room [usualSources]sticky.Key
	keys := l.keys(room[:0], r)
	l.table.Lock()
	defer l.table.Unlock()
	key, home, result := l.find(keys)
	if home >= 0 {
		if !q.Tried.Has(home) {
			c, ok := p.Picker.TakeMember(home)
			if !ok {
				c, ok = p.takeDraining(home, r)
			}
			if ok {
				l.learnFirst(keys, home) // by which it may be known from now on
				c, err = takeToken(limits, c)
				return c, AffinityKept, err
			}
		}
		if p.Refuse {
			return c, AffinityRefused, ErrAffinity
		}
		result = AffinityMoved
	}
	if c, err = p.takeAny(limits, r, q); err != nil {
		return c, result, err
	}
	l.learnFirst(keys, c.Index)
	if home >= 0 {
		l.table.Set(key, l.homes[c.Index])
	}
	return c, result, nil
}

// moved notes that the session of a request has got another member.
func (l *Learned) moved(r requestkey.Request, member int) {
	var room [usualSources]sticky.Key
	keys := l.keys(room[:0], r)
	l.table.Lock()
	defer l.table.Unlock()
	if key, home, _ := l.find(keys); home >= 0 {
		l.table.Set(key, l.homes[member])
	}
}

// Learn learns from the answer of a backend to a request; header is as
// requestkey.Request.Header. It does nothing in a pool without Learned.
func (p *Pool) Learn(r requestkey.Request, backend string, header func(name string, i int) ([]byte, bool)) {
	l := p.Learned
	switch {
	case l == nil:
	case len(l.answer) == 0:
		l.confirm(r, sticky.HomeOf(backend))
	default:
		l.LearnAnswer(backend, header)
	}
}

// confirm learns the key of a request whose backend was chosen while it waited in a queue,
// without the table.
func (l *Learned) confirm(r requestkey.Request, home sticky.Home) {
	var room [usualSources]sticky.Key
	keys := l.keys(room[:0], r)
	if len(keys) == 0 {
		return
	}
	l.table.Lock()
	defer l.table.Unlock()
	if _, known := l.table.Find(keys[0]); !known {
		l.table.Set(keys[0], home)
	}
}

// LearnAnswer learns from the fields of a backend's answer.
func (l *Learned) LearnAnswer(backend string, header func(name string, i int) ([]byte, bool)) {
	home := sticky.HomeOf(backend)
	for _, part := range l.answer {
		part.InAnswer(header, func(value []byte) {
			key := l.table.KeyOf(value, false)
			l.table.Lock()
			defer l.table.Unlock()
			l.table.Set(key, home)
		})
	}
}
