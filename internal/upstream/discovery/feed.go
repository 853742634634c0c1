package discovery

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

const (
	defaultRefresh    = 10 * time.Second
	defaultAWSRefresh = 15 * time.Second
	shortestRefresh   = time.Second
)

// source is one list: a file, servers in AWS, a name in DNS, or one of Feeds.
type source struct {
	file string // "" for others
	feed string // of Feeds; "" for others
	aws  AWS    // zero for others
	dns  DNS
}

func (s Spec) sources() (list []source) {
	if s.File != "" {
		list = append(list, source{file: s.File})
	}
	if s.DNS != nil {
		d := *s.DNS
		d.Family = cmp.Or(d.Family, Auto)
		d.Refresh = max(cmp.Or(d.Refresh, defaultRefresh), shortestRefresh)
		list = append(list, source{dns: d})
	}
	if s.AWS != nil {
		a := *s.AWS
		a.Refresh = max(cmp.Or(a.Refresh, defaultAWSRefresh), shortestRefresh)
		list = append(list, source{aws: a})
	}
	if s.Feed != "" {
		list = append(list, source{feed: s.Feed})
	}
	return list
}

// continues reports whether s is the same list as before, queried in another way.
func (s source) continues(before source) bool {
	s.dns.Refresh, s.dns.Server, s.dns.Family = before.dns.Refresh, before.dns.Server, before.dns.Family
	s.aws.Refresh, s.aws.Query.Endpoint = before.aws.Refresh, before.aws.Query.Endpoint
	return s == before
}

func (s source) String() string {
	if s.file != "" {
		return "file " + s.file
	}
	if s.feed != "" {
		return "feed " + s.feed
	}
	if s.aws != (AWS{}) {
		return s.aws.Query.String()
	}
	return fmt.Sprintf("DNS %s %s", strings.ToUpper(s.dns.Type), s.dns.Name)
}

// feed is one list with its last members.
type feed struct {
	watcher      *Watcher
	pool         string
	source       source
	stop         context.CancelFunc // nil for one of Feeds, which has no goroutine
	firstTryDone chan struct{}      // closed after the first try

	// Guarded by watcher.mu.
	answered  time.Time // zero before the first good list
	members   []Member  // replaced, never changed
	lastError string    // "" if there is none
	partial   bool      // lastError affects only a part of the list
	since     time.Time // of lastError
}

func (w *Watcher) newFeed(pool string, s source) *feed {
	return &feed{watcher: w, pool: pool, source: s, firstTryDone: make(chan struct{})}
}

// run calls try until ctx ends. try returns how long to wait before the next call.
func (f *feed) run(ctx context.Context, try func(context.Context) time.Duration) {
	pause := try(ctx)
	close(f.firstTryDone)
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			pause = try(ctx)
		}
	}
}

// last returns the last good list, which must not be changed.
func (f *feed) last() []Member {
	f.watcher.mu.Lock()
	defer f.watcher.mu.Unlock()
	return f.members
}

// update sets a good list, sorted and unique.
func (f *feed) update(ctx context.Context, members []Member) {
	f.updatePartial(ctx, members, "", false)
}

// updatePartial sets a list that is good except for a problem; "" means none. tell says
// whether to log the problem.
func (f *feed) updatePartial(ctx context.Context, members []Member, problem string, tell bool) {
	w := f.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return // another feed may have replaced this one
	}
	f.set(members, problem, tell)
}

// set is updatePartial with watcher.mu held.
func (f *feed) set(members []Member, problem string, tell bool) {
	w := f.watcher
	first, recovered, same := f.answered.IsZero(), f.lastError != "" && problem == "", slices.Equal(f.members, members)
	f.answered = time.Now()
	f.setError(problem, problem != "")
	switch {
	case recovered:
		f.log(slog.LevelInfo, fmt.Sprintf("%s is good again: %s", f.source, count(members)))
	case tell:
		f.log(slog.LevelWarn, fmt.Sprintf("%s: %s; going on with %s", f.source, problem, count(members)))
	}
	if same {
		return
	}
	came, left := difference(f.members, members)
	switch {
	case recovered || first || tell:
	case came+left > 0:
		f.log(slog.LevelInfo, fmt.Sprintf("%s changed: %s, %d new, %d gone", f.source, count(members), came, left))
	case f.source.feed != "":
		f.log(slog.LevelInfo, fmt.Sprintf("%s changed: other states, weights or bounds for %s", f.source, count(members)))
	default:
		f.log(slog.LevelInfo, fmt.Sprintf("%s changed: other weights or bounds for %s", f.source, count(members)))
	}
	f.members = members
	g := w.pools[f.pool]
	g.members = merge(g.feeds)
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// setError sets lastError, and since when there has been one.
func (f *feed) setError(problem string, partial bool) {
	switch {
	case problem == "":
		f.since = time.Time{}
	case f.lastError == "":
		f.since = time.Now()
	}
	f.lastError, f.partial = problem, partial
}

// fail keeps the last good list and logs why, once until the list is good again. Each
// different error in a file is logged, since somebody is editing it.
func (f *feed) fail(ctx context.Context, err error) {
	w := f.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	reason, before := err.Error(), f.lastError
	known := before != "" && !f.partial && (f.source.file == "" || before == reason)
	f.setError(reason, false)
	if known {
		return
	}
	consequence := "no backends from there until it is fixed"
	if !f.answered.IsZero() {
		consequence = "going on with the last list, " + count(f.members)
	}
	f.log(slog.LevelWarn, fmt.Sprintf("%s: %s; %s", f.source, reason, consequence))
}

func (f *feed) log(level slog.Level, msg string) {
	f.watcher.log.Log(context.Background(), level, "pool "+f.pool+": "+msg, "pool", f.pool)
}

func count(members []Member) string {
	if len(members) == 1 {
		return "1 backend"
	}
	return fmt.Sprintf("%d backends", len(members))
}

// difference counts the backends that are only in one of two sorted lists. A backend
// whose address changed is another one.
func difference(before, now []Member) (came, left int) {
	for i, j := 0, 0; i < len(before) || j < len(now); {
		c := 0
		switch {
		case i == len(before):
			c = 1
		case j == len(now):
			c = -1
		default:
			c = byName(before[i], now[j])
		}
		if c <= 0 {
			i++
		}
		if c >= 0 {
			j++
		}
		if c < 0 {
			left++
		} else if c > 0 {
			came++
		}
	}
	return came, left
}

// merge joins the lists of feeds. If several have the same name or address, the first
// wins.
func merge(feeds []*feed) (all []Member) {
	if len(feeds) == 1 {
		return feeds[0].members
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for _, f := range feeds {
		for _, m := range f.members {
			if !m.In(names, addresses) {
				names[m.Name], addresses[m.Address] = true, true
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, byName)
	return all
}

func byName(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Address, b.Address))
}
