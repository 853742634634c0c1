package relay

import (
	"slices"
	"sync"
	"sync/atomic"
)

// texts are the reasons that Orders have brought along in words, so that a
// record needs no more than their number. The zero value is ready.
type texts struct {
	mu   sync.Mutex // held by who replaces list
	list atomic.Pointer[[]string]
}

// firstText is the number of the first reason in words.
const firstText Reason = 64

// number is that of text. They are as many as configurations have had; once
// there is no room for another, GoingAway stands for it.
func (t *texts) number(text string) Reason {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	if p := t.list.Load(); p != nil {
		list = *p
	}
	i := slices.Index(list, text)
	if i < 0 {
		if len(list) > 255-int(firstText) {
			return GoingAway
		}
		i = len(list)
		list = append(slices.Clone(list), text)
		t.list.Store(&list)
	}
	return firstText + Reason(i)
}

// reason is that of an Order, by number.
func (t *texts) reason(o *Order) Reason {
	if o.Text == "" {
		return o.Reason
	}
	return t.number(o.Text)
}

// of is the text of a reason, its own or one of the fixed ones. t may be nil,
// and has none of its own then.
func (t *texts) of(r Reason) string {
	if r < firstText || t == nil {
		return r.String()
	}
	return (*t.list.Load())[r-firstText]
}
