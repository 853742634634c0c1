package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// longSessions writes the lines of log.interval.
type longSessions struct {
	changed chan struct{} // log.interval may be another one
	stop    context.CancelFunc
	running sync.WaitGroup
}

const (
	// longPage is how many sessions are listed and logged at a time, longPause how long it
	// waits then, so that the log's buffer has room for the lines of others.
	longPage  = 256
	longPause = 100 * time.Millisecond
)

func (a *App) startLongSessions() {
	var ctx context.Context
	ctx, a.long.stop = context.WithCancel(context.Background())
	a.long.changed = make(chan struct{}, 1)
	a.long.running.Go(func() {
		for last := time.Now(); ; {
			interval := a.current.Load().Log.Interval
			var due <-chan time.Time
			if interval > 0 {
				due = time.After(time.Until(last.Add(interval)))
			}
			select {
			case <-ctx.Done():
				return
			case <-a.long.changed:
			case <-due:
				last = time.Now()
				a.logLongSessions(ctx, interval)
			}
		}
	})
}

// intervalChanged tells of another log.interval.
func (l *longSessions) intervalChanged() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *longSessions) close() {
	l.stop()
	l.running.Wait()
}

// logLongSessions writes a line for each session that is at least that old.
func (a *App) logLongSessions(ctx context.Context, age time.Duration) {
	if a.log.Level() > slog.LevelInfo {
		return
	}
	of := &relay.Filter{UpTo: time.Now().Add(-age)}
	for from, more := relay.Cursor(0), true; more; more = from != 0 {
		var some []session.Summary
		a.spare.while(func() { some, from = a.engine.Sessions(from, longPage, of) })
		for i := range some {
			a.log.SessionGoesOn(&some[i], a.words(&some[i].Info))
		}
		if len(some) == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(longPause):
		}
	}
}
