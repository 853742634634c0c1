package relay

import (
	"slices"
	"sync"
	"sync/atomic"
)

// texts has the reasons that requests gave as text, so that a record only needs a
// number. The zero value is ready to use.
type texts struct {
	mu   sync.Mutex // held to replace list
	list atomic.Pointer[[]string]
}

// firstText is the number of the first of them.
const firstText Reason = 64

// number is the Reason for a text. Texts come from configurations and are never
// removed. If there is no room for another one, it is GoingAway.
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

// text is the text of a reason. t may be nil if no request has given one.
func (t *texts) text(r Reason) string {
	if r < firstText || t == nil {
		return r.String()
	}
	return (*t.list.Load())[r-firstText]
}
