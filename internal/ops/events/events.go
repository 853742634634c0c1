// Package events has the latest changes of state, numbered, for those who follow them:
// GET /v1/events, and with it the dashboard and the command line. A Broker never waits
// for them: it keeps a bounded number of events, and each of them reads at its own pace.
// One that is too slow is told how many it has missed.
//
// Most events are lines of the log, too: see Logger.
package events

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Kept is how many events the balancer keeps.
const Kept = 1000

// portion is how many events Follow copies at a time. Publish waits that long at most.
const portion = 100

// Broker keeps the latest events. Its methods are safe for concurrent use; only Follow
// waits.
type Broker struct {
	mu     sync.Mutex // guards the following
	ring   []api.Event
	size   int
	last   uint64        // the ID of the latest event
	came   chan struct{} // closed at the next event; nil if nobody waits for it
	closed bool
	stats  Stats
}

// New makes a Broker that keeps the latest size events.
func New(size int) *Broker { return &Broker{size: size} }

// Stats counts those who follow.
type Stats struct {
	Followers int    // now
	Missed    uint64 // events that they could not be told of, since they were too slow
}

// Stats returns the present numbers.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Publish adds an event and gives it its ID, and the time if it has none. The event's
// Detail must not change any more.
func (b *Broker) Publish(e api.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Level == "" {
		e.Level = "info"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	e.ID = b.last
	if len(b.ring) < b.size {
		b.ring = append(b.ring, e)
	} else {
		b.ring[(e.ID-1)%uint64(b.size)] = e
	}
	b.wake()
}

// Last returns the ID of the latest event, 0 if there was none.
func (b *Broker) Last() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

func (b *Broker) wake() {
	if b.came != nil {
		close(b.came)
		b.came = nil
	}
}

// Close ends all calls of Follow, once they have passed on what was published before.
func (b *Broker) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.wake()
}

// Follow calls f with each event after that ID, first with those that are still known,
// then with each new one, until ctx is done, f returns an error, or the Broker is
// closed; it returns the error of ctx or f. Without more it returns nil instead of waiting
// for new ones. Where events are no longer known, there is an EventMissed instead. An ID
// that no event has had yet, as from another process, is like 0: then f gets all that are
// known.
func (b *Broker) Follow(ctx context.Context, after uint64, more bool, f func(api.Event) error) error {
	after = b.begin(after)
	defer b.end()
	for asked := false; ; asked = true {
		list, came, closed := b.next(after)
		if asked && len(list) > 0 && list[0].Kind == api.EventMissed {
			b.tooSlow(list[0].ID - after)
		}
		for _, e := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(e); err != nil {
				return err
			}
			after = e.ID
		}
		switch {
		case len(list) > 0:
			continue
		case closed || !more:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-came:
		}
	}
}

// begin counts a follower. It returns an ID of the past as it is, and 0 for another one.
func (b *Broker) begin(after uint64) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats.Followers++
	if after > b.last {
		return 0
	}
	return after
}

func (b *Broker) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats.Followers--
}

func (b *Broker) tooSlow(missed uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats.Missed += missed
}

// next returns a portion of the events after that ID, or if there are none, what is
// closed when there are.
func (b *Broker) next(after uint64) (list []api.Event, came <-chan struct{}, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if after == b.last {
		if b.came == nil && !b.closed {
			b.came = make(chan struct{})
		}
		return nil, b.came, b.closed
	}
	if oldest := b.last - uint64(len(b.ring)) + 1; after+1 < oldest {
		list = append(list, missed(oldest-1, oldest-1-after))
		after = oldest - 1
	}
	for id := after + 1; id <= b.last && len(list) < portion; id++ {
		list = append(list, b.ring[(id-1)%uint64(b.size)])
	}
	return list, nil, false
}

// missed says that events up to last are no longer known. Whoever goes on after it has
// not missed them twice.
func missed(last, count uint64) api.Event {
	return api.Event{ID: last, Time: time.Now(), Kind: api.EventMissed, Level: "warn",
		Message: fmt.Sprintf("%d events are no longer known", count), Detail: map[string]any{"count": count}}
}
