package httpproxy

import (
	"container/list"
	"net/http"
	"sync"
	"time"
)

// running are the requests that are at a backend now, the oldest first.
type running struct {
	mu  sync.Mutex // guards all, and events, at and timer of each
	all list.List  // of *runningRequest
}

type runningRequest struct {
	backend uint32
	events  bool             // its answer is an event stream
	cut     func(why *Error) // must not block
	at      *list.Element
	timer   *time.Timer // cuts it; nil if it isn't to be cut
}

func (r *running) add(backend uint32, cut func(*Error)) *runningRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := &runningRequest{backend: backend, cut: cut}
	one.at = r.all.PushBack(one)
	return one
}

func (r *running) remove(one *runningRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one.at == nil {
		return
	}
	r.all.Remove(one.at)
	one.at = nil
	if one.timer != nil {
		one.timer.Stop()
	}
}

func (r *running) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.Len()
}

// isEvents records that the answer to one is an event stream.
func (r *running) isEvents(one *runningRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one.events = true
}

// cutAll does what c says. It calls told for each request that is cut, and returns
// how many it selected.
func (r *running) cutAll(c Cut, told func(reason string)) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var these []*runningRequest
	for e := r.all.Front(); e != nil; e = e.Next() {
		if one := e.Value.(*runningRequest); c.Which == nil || c.Which(one.backend, one.events) {
			these = append(these, one)
		}
	}
	for i, one := range these {
		if one.timer != nil {
			one.timer.Stop()
		}
		if !c.Now {
			i++
		}
		in := c.Spread * time.Duration(i) / time.Duration(len(these))
		one.timer = time.AfterFunc(in, func() {
			if !r.isRunning(one) {
				return
			}
			if told != nil {
				told(c.Reason)
			}
			one.cut(&Error{Status: http.StatusServiceUnavailable, Text: "the server is taken out of service"})
		})
	}
	return len(these)
}

func (r *running) isRunning(one *runningRequest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return one.at != nil
}

// keepAll cancels what cutAll has planned for those that which selects.
func (r *running) keepAll(which func(backend uint32, events bool) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.all.Front(); e != nil; e = e.Next() {
		if one := e.Value.(*runningRequest); which(one.backend, one.events) && one.timer != nil {
			one.timer.Stop()
			one.timer = nil
		}
	}
}
