package controller

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/endpoints"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/leader"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/program"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/settings"
)

const (
	// settle is how long changes are collected before a Plan: a rollout makes many.
	settle = 100 * time.Millisecond
	// share bounds the time that Plans take of it, in a cluster so large that one takes
	// long: the pause after a Plan is at least that many times as long as the Plan took.
	share = 4
	// maxLoads bounds how often a Plan finds that it needs further Secrets.
	maxLoads = 5
	// patience is how long the start waits for Secrets that exist and can't be read.
	patience = time.Minute
	// startAgain is the pause after the API server couldn't be asked at the start.
	startAgain = time.Second
)

// follow makes Plans until ctx is done. It returns an error if the balancer can't start.
func (c *Controller) follow(ctx, leads context.Context, group *sync.WaitGroup) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.watcher.Ready():
	}
	if !c.learn(ctx) {
		return nil
	}
	if err := c.beginToLead(leads, group); err != nil {
		return err
	}
	c.began = time.Now()
	poll := c.options.Poll
	if poll == 0 {
		poll = 10 * time.Second
	}
	look := time.NewTicker(poll)
	defer look.Stop()
	for {
		began := time.Now()
		if err := c.step(ctx); err != nil {
			if c.App() == nil && ctx.Err() == nil {
				return err
			}
			c.log.Error("the cluster's objects can't be used; what was served before goes on", "error", err)
		}
		pause := max(settle, share*time.Since(began))
		if !c.wait(ctx, look.C) || !sleep(ctx, pause) {
			return nil
		}
		// What has changed during the pause is in the next Snapshot.
		select {
		case <-c.watcher.Changed():
		default:
		}
		select {
		case <-c.wake:
			c.readSettings()
		default:
		}
	}
}

// wait returns when something may have changed; false if ctx is done.
func (c *Controller) wait(ctx context.Context, look <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-c.watcher.Changed():
			return true
		case <-c.wake:
			c.readSettings()
			return true
		case <-look:
			if c.readSettings() {
				return true
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// readSettings reads the settings again, and reports whether they have changed.
func (c *Controller) readSettings() bool {
	if c.options.Settings == "" {
		return false
	}
	base, err := settings.Load(c.options.Settings)
	if err != nil {
		c.log.Error("the settings can't be used; those of before stay", "error", err)
		return false
	}
	if reflect.DeepEqual(base, c.base) {
		return false
	}
	c.log.Info("the settings have changed", "file", c.options.Settings)
	c.base = base
	c.lines.SetFormatLevel(base.Log.Format, level(base))
	return true
}

// step makes a Plan of the cluster as it is now, and carries it out.
func (c *Controller) step(ctx context.Context) error {
	facts := c.facts
	facts.Now, facts.Forwarded = time.Now(), c.base.Forwarded
	t := c.options.Translators(facts)
	options := program.Options{Base: c.base, Translators: t.List, Policies: t.Policies, Proxies: c.options.Proxies}
	if facts.Secret != "" {
		options.TicketSecret = derive(facts.Secret, "tickets")
	}
	var plan *program.Plan
	var s *cluster.Snapshot
	missing := false
	members := func(feed string) []discovery.Member { return endpoints.Members(s, feed, c.options.Endpoints) }
	for range maxLoads {
		s = c.watcher.Snapshot()
		var err error
		if plan, err = c.builder.Build(s, options); err != nil {
			// The backends of what is served go on to be followed.
			c.balancer.Follow(members)
			return err
		}
		more := false
		if more, missing = c.watcher.Load(ctx, s); !more || ctx.Err() != nil {
			break
		}
	}
	if missing && c.NotReady() == waiting && time.Since(c.began) < patience {
		return nil // nothing is served yet, and some would be served wrongly
	}
	plan, err := c.balancer.Apply(plan, members)
	c.snapshot.Store(s)
	if err == nil {
		c.notReady.CompareAndSwap(&atFirst, nil)
	}
	// Also if the configuration can't be used: their owners should know why.
	c.writer.Want(leader.Wanted{Snapshot: s, Statuses: plan.Statuses, Events: plan.Events, Services: plan.Services})
	return err
}
