package app

import (
	"context"
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// LastEvent implements admin.Balancer.
func (o operated) LastEvent() uint64 { return o.events.Last() }

// Events implements admin.Balancer.
func (o operated) Events(ctx context.Context, after uint64, follow bool, f func(api.Event) error) error {
	return o.events.Follow(ctx, after, follow, f)
}

// event tells of something that isn't a line of the log. What is one is written with
// noted.
func (a *App) event(e api.Event) { a.events.Publish(e) }

// noted returns a log whose lines are events of that kind, too.
func (a *App) noted(kind string) *slog.Logger { return a.events.Logger(a.slog, kind) }
