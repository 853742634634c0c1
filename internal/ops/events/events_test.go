package events

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// publish adds n events.
func publish(b *Broker, n int) {
	for range n {
		b.Publish(api.Event{Kind: api.EventReload})
	}
}

// follower reads events until it is ended.
type follower struct {
	mu     sync.Mutex
	ids    []uint64
	missed uint64
	end    context.CancelFunc
	err    chan error
}

func follow(b *Broker, after uint64) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{end: cancel, err: make(chan error, 1)}
	go func() { f.err <- b.Follow(ctx, after, true, f.take) }()
	return f
}

func (f *follower) take(e api.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Kind == api.EventMissed {
		f.missed += e.Detail["count"].(uint64)
		return nil
	}
	f.ids = append(f.ids, e.ID)
	return nil
}

func (f *follower) got() (ids []uint64, missed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ids), f.missed
}

// from lists the numbers from first to last.
func from(first, last uint64) (all []uint64) {
	for ; first <= last; first++ {
		all = append(all, first)
	}
	return all
}

func TestFollow(t *testing.T) {
	tests := []struct {
		name           string
		before, later  int
		after          uint64
		first, last    uint64
		missed, oldest uint64
	}{
		{name: "nothing yet", later: 3, first: 1, last: 3},
		{name: "known ones first", before: 5, later: 2, first: 1, last: 7},
		{name: "after one", before: 5, later: 2, after: 4, first: 5, last: 7},
		{name: "after the last", before: 5, later: 1, after: 5, first: 6, last: 6},
		{name: "of another process", before: 5, later: 1, after: 900, first: 1, last: 6},
		{name: "of another process, nothing here yet", later: 2, after: 900, first: 1, last: 2},
		{name: "some are gone", before: 25, first: 16, last: 25, missed: 15},
		{name: "some are gone after one", before: 25, after: 12, first: 16, last: 25, missed: 3},
		{name: "the oldest known", before: 25, after: 15, first: 16, last: 25},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(10)
				publish(b, test.before)
				f := follow(b, test.after)
				synctest.Wait()
				for range test.later {
					publish(b, 1)
					synctest.Wait()
				}
				ids, missed := f.got()
				if want := from(test.first, test.last); !slices.Equal(ids, want) || missed != test.missed {
					t.Errorf("got %v, and %d are missed; want %v and %d", ids, missed, want, test.missed)
				}
				f.end()
				if err := <-f.err; !errors.Is(err, context.Canceled) {
					t.Errorf("Follow returns %v", err)
				}
			})
		})
	}
}

// TestSlowFollower: one that doesn't read holds up neither the publisher nor others. In the
// end it gets all events, or EventMissed.
func TestSlowFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10)
		var ids []uint64
		missed := uint64(0)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			done <- b.Follow(ctx, 0, true, func(e api.Event) error {
				time.Sleep(time.Hour)
				if e.Kind == api.EventMissed {
					missed += e.Detail["count"].(uint64)
					return nil
				}
				ids = append(ids, e.ID)
				return nil
			})
		}()
		quick := follow(b, 0)
		for range 100 {
			publish(b, 1)
			synctest.Wait()
		}
		if got, _ := quick.got(); !slices.Equal(got, from(1, 100)) {
			t.Errorf("another got %v", got)
		}
		time.Sleep(200 * time.Hour)
		synctest.Wait()
		if len(ids)+int(missed) != 100 || missed < 50 || !slices.Equal(ids[len(ids)-10:], from(91, 100)) {
			t.Errorf("it got %v and missed %d", ids, missed)
		}
		if s := b.Stats(); s != (Stats{2, missed}) {
			t.Errorf("%+v, want 2 followers, of which one missed %d", s, missed)
		}
		cancel()
		<-done
		quick.end()
		<-quick.err
		if s := b.Stats(); s.Followers != 0 {
			t.Errorf("in the end %+v", s)
		}
	})
}

// TestConcurrently: whoever follows gets all events in order, whoever publishes them.
func TestConcurrently(t *testing.T) {
	const publishers, each = 4, 500
	b := New(publishers * each)
	var followers []*follower
	for range 8 {
		followers = append(followers, follow(b, 0))
	}
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() { publish(b, each) })
	}
	all.Wait()
	b.Close()
	for _, f := range followers {
		if err := <-f.err; err != nil {
			t.Errorf("after Close, Follow returns %v", err)
		}
		if ids, missed := f.got(); missed != 0 || !slices.Equal(ids, from(1, publishers*each)) {
			t.Errorf("one got %d events and missed %d", len(ids), missed)
		}
		f.end()
	}
}

// TestNoMore: whoever wants no new events gets those that are known, and no end is
// waited for.
func TestNoMore(t *testing.T) {
	b := New(300)
	publish(b, 400)
	n := 0
	if err := b.Follow(context.Background(), 0, false, func(api.Event) error { n++; return nil }); err != nil || n != 301 {
		t.Errorf("%v after %d events", err, n)
	}
	if s := b.Stats(); s != (Stats{}) { // it came too late, and wasn't too slow
		t.Errorf("%+v", s)
	}
}

func TestErrorEndsFollow(t *testing.T) {
	b := New(10)
	publish(b, 3)
	bad := errors.New("gone")
	n := 0
	if err := b.Follow(context.Background(), 0, true, func(api.Event) error { n++; return bad }); !errors.Is(err, bad) || n != 1 {
		t.Errorf("%v after %d events", err, n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Follow(ctx, 0, true, func(api.Event) error { t.Error("called"); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	b := New(10)
	plain := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	log := b.Logger(plain, api.EventDrain).With("pool", "chat", "cause", "x")
	log.Debug("not an event")
	log.Info("a backend is being emptied", "backend", "a", "timeout", time.Minute, "sessions", 3, "error", errors.New("bad"))
	log.WithGroup("g").With("k", 1).Warn("two", "l", []string{"m"})
	var got []api.Event
	b.Follow(context.Background(), 0, false, func(e api.Event) error {
		if e.Time.IsZero() {
			t.Error("without a time")
		}
		e.Time = time.Time{}
		got = append(got, e)
		return nil
	})
	want := []api.Event{
		{ID: 1, Kind: "drain", Level: "info", Pool: "chat", Backend: "a", Message: "a backend is being emptied",
			Detail: map[string]any{"cause": "x", "timeout": "1m0s", "sessions": int64(3), "error": "bad"}},
		{ID: 2, Kind: "drain", Level: "warn", Pool: "chat", Message: "two",
			Detail: map[string]any{"cause": "x", "g.k": int64(1), "g.l": []string{"m"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if lines := out.String(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, "msg=two pool=chat cause=x g.k=1 g.l=[m]") {
		t.Errorf("logged: %q", lines)
	}
}
