// Package balancer runs the data plane by Plans: it starts the balancer with the first
// one, reloads it when another differs, and keeps the lists of backends up to date.
//
// Apply blocks while the balancer reloads, some milliseconds. It is called by one
// goroutine, that of the program; the other methods may be called by any.
package balancer

import (
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/program"
)

// Balancer is the data plane.
type Balancer struct {
	options app.Options
	log     *slog.Logger
	feeds   *discovery.Feeds
	app     atomic.Pointer[app.App] // nil before the first Plan

	// The following are of the goroutine that calls Apply.
	next    *config.Config // what Load returns
	applied *config.Config
	fed     map[string]bool
}

// New returns a Balancer that does nothing until Apply. Of the options, Load, Program and
// Feeds are its own.
func New(o app.Options, log *slog.Logger) *Balancer {
	b := &Balancer{options: o, log: log, feeds: discovery.NewFeeds(), fed: map[string]bool{}}
	b.options.Program, b.options.Feeds = true, b.feeds
	b.options.Load = func() (*config.Config, error) { return b.next, nil }
	return b
}

// App returns the running balancer; nil before the first Plan.
func (b *Balancer) App() *app.App { return b.app.Load() }

// Loads returns the loads of the pools; nil before the first Plan.
func (b *Balancer) Loads() []app.PoolLoad {
	if a := b.App(); a != nil {
		return a.Loads()
	}
	return nil
}

// Apply makes the balancer do what a Plan says. members has the backends of each of its
// feeds. What can't be used is left out; the Plan that is used is returned. If nothing of
// it can be used, the balancer goes on as before, apart from the lists of backends.
func (b *Balancer) Apply(plan *program.Plan, members func(feed string) []discovery.Member) (*program.Plan, error) {
	// First the lists, so that a new pool has its backends at once.
	for _, feed := range plan.Feeds {
		b.fed[feed] = true
		b.feeds.Set(feed, members(feed))
	}
	var err error
	for {
		if reflect.DeepEqual(b.applied, plan.Config) {
			break
		}
		if err = b.use(plan.Config); err == nil {
			break
		}
		next, ok := plan.Without(err)
		if !ok {
			return plan, fmt.Errorf("the configuration can't be used: %w", err)
		}
		b.log.Warn("a part of the configuration can't be used and is left out", "error", err)
		plan = next
	}
	b.forget(plan.Feeds)
	return plan, nil
}

// Follow brings the lists of backends up to date that the last Plan has.
func (b *Balancer) Follow(members func(feed string) []discovery.Member) {
	for feed := range b.fed {
		b.feeds.Set(feed, members(feed))
	}
}

// use starts or reloads the balancer with c, which belongs to it from then on.
func (b *Balancer) use(c *config.Config) error {
	b.next = c
	if a := b.App(); a != nil {
		if _, err := a.Reload(); err != nil {
			return err
		}
	} else {
		a, err := app.Start(b.options)
		if err != nil {
			return err
		}
		b.app.Store(a)
	}
	b.applied = c
	return nil
}

// forget removes the lists that no pool follows any more.
func (b *Balancer) forget(feeds []string) {
	used := make(map[string]bool, len(feeds))
	for _, feed := range feeds {
		used[feed] = true
	}
	for feed := range b.fed {
		if !used[feed] {
			b.feeds.Remove(feed)
			delete(b.fed, feed)
		}
	}
}
