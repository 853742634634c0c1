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
	defaultRefresh  = 10 * time.Second
	shortestRefresh = time.Second
)

// source is one list: a file, or a name in DNS.
type source struct {
	file string // "" for DNS
	dns  DNS
}

func (s Spec) sources() (list []source) {
	if s.File != "" {
		list = append(list, source{file: s.File})
	}
	if s.DNS != nil {
		d := *s.DNS
		d.Refresh = max(cmp.Or(d.Refresh, defaultRefresh), shortestRefresh)
		list = append(list, source{dns: d})
	}
	return list
}

// continues tells whether s is the list that before was, asked for in another
// way.
func (s source) continues(before source) bool {
	s.dns.Refresh, s.dns.Server = before.dns.Refresh, before.dns.Server
	return s == before
}

func (s source) String() string {
	if s.file != "" {
		return "file " + s.file
	}
	return fmt.Sprintf("DNS %s %s", strings.ToUpper(s.dns.Type), s.dns.Name)
}

// feed keeps what came of one source last.
type feed struct {
	watcher *Watcher
	pool    string
	source  source
	stop    context.CancelFunc
	tried   chan struct{} // closed after the first try

	// Guarded by watcher.mu.
	answered time.Time // zero before the first good answer
	members  []Member  // replaced, never changed
	trouble  string    // "" while all is well
	inPart   bool      // the trouble leaves an answer that is good but for a part
	since    time.Time // of the trouble
}

func (w *Watcher) newFeed(pool string, s source) *feed {
	return &feed{watcher: w, pool: pool, source: s, tried: make(chan struct{})}
}

// run calls try, which returns how long to wait for the next time, until ctx
// ends.
func (f *feed) run(ctx context.Context, try func(context.Context) time.Duration) {
	pause := try(ctx)
	close(f.tried)
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

// last returns the last good list, which is not to be changed.
func (f *feed) last() []Member {
	f.watcher.mu.Lock()
	defer f.watcher.mu.Unlock()
	return f.members
}

// answer takes a good list, sorted and unique.
func (f *feed) answer(ctx context.Context, members []Member) {
	f.answerInPart(ctx, members, "", false)
}

// answerInPart takes a list that is good but for some trouble; "" is none. tell
// has the log told of it.
func (f *feed) answerInPart(ctx context.Context, members []Member, trouble string, tell bool) {
	w := f.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return // another feed may have taken the place of this one
	}
	first, mended, same := f.answered.IsZero(), f.trouble != "" && trouble == "", slices.Equal(f.members, members)
	f.answered = time.Now()
	f.note(trouble, trouble != "")
	switch {
	case mended:
		f.tell(slog.LevelInfo, fmt.Sprintf("%s is good again: %s", f.source, count(members)))
	case tell:
		f.tell(slog.LevelWarn, fmt.Sprintf("%s: %s; going on with %s", f.source, trouble, count(members)))
	}
	if same {
		return
	}
	came, left := difference(f.members, members)
	switch {
	case mended || first || tell:
	case came+left > 0:
		f.tell(slog.LevelInfo, fmt.Sprintf("%s changed: %s, %d new, %d gone", f.source, count(members), came, left))
	default:
		f.tell(slog.LevelInfo, fmt.Sprintf("%s changed: other weights or bounds for %s", f.source, count(members)))
	}
	f.members = members
	g := w.pools[f.pool]
	g.members = merge(g.feeds)
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// note keeps what the trouble is, and since when there has been some.
func (f *feed) note(trouble string, inPart bool) {
	switch {
	case trouble == "":
		f.since = time.Time{}
	case f.trouble == "":
		f.since = time.Now()
	}
	f.trouble, f.inPart = trouble, inPart
}

// fail keeps the last good list and says why. It logs when trouble begins; each
// mistake in a file is trouble of its own, since somebody is mending it.
func (f *feed) fail(ctx context.Context, err error) {
	w := f.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	reason, before := err.Error(), f.trouble
	known := before != "" && !f.inPart && (f.source.file == "" || before == reason)
	f.note(reason, false)
	if known {
		return
	}
	consequence := "no backends from there until it is mended"
	if !f.answered.IsZero() {
		consequence = "going on with the last list, " + count(f.members)
	}
	f.tell(slog.LevelWarn, fmt.Sprintf("%s: %s; %s", f.source, reason, consequence))
}

func (f *feed) tell(level slog.Level, msg string) {
	f.watcher.log.Log(context.Background(), level, "pool "+f.pool+": "+msg, "pool", f.pool)
}

func count(members []Member) string {
	if len(members) == 1 {
		return "1 backend"
	}
	return fmt.Sprintf("%d backends", len(members))
}

// difference counts the backends that are only in one of two sorted lists. One
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
			c = cmp.Or(cmp.Compare(before[i].Name, now[j].Name), cmp.Compare(before[i].Address, now[j].Address))
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

// merge joins the lists of feeds. Where two have a name or an address, the
// first counts.
func merge(feeds []*feed) (all []Member) {
	if len(feeds) == 1 {
		return feeds[0].members
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for _, f := range feeds {
		for _, m := range f.members {
			if !m.Among(names, addresses) {
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
