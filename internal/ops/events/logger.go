package events

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Logger returns a logger whose lines go to log and are events of that kind, unless they
// are for debugging. The attributes pool and backend become those of the event, others its
// Detail. The level of log doesn't matter for events.
func (b *Broker) Logger(log *slog.Logger, kind string) *slog.Logger {
	return slog.New(&handler{Handler: log.Handler(), broker: b, kind: kind})
}

type handler struct {
	slog.Handler
	broker *Broker
	kind   string
	attrs  []slog.Attr // of WithAttrs, with the names of their groups
	group  string      // of WithGroup, with a dot after each
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.Handler.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		e := api.Event{Time: r.Time, Kind: h.kind, Level: strings.ToLower(r.Level.String()), Message: r.Message}
		for _, a := range h.attrs {
			add(&e, a)
		}
		r.Attrs(func(a slog.Attr) bool {
			a.Key = h.group + a.Key
			add(&e, a)
			return true
		})
		h.broker.Publish(e)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// add adds an attribute of a line to its event.
func add(e *api.Event, a slog.Attr) {
	v := a.Value.Resolve()
	switch a.Key {
	case "pool":
		e.Pool = v.String()
		return
	case "backend":
		e.Backend = v.String()
		return
	case "":
		return
	}
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	switch value := v.Any().(type) {
	case time.Duration:
		e.Detail[a.Key] = value.String()
	case error:
		e.Detail[a.Key] = value.Error()
	default:
		e.Detail[a.Key] = value
	}
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	d := *h
	d.Handler = h.Handler.WithAttrs(attrs)
	d.attrs = append([]slog.Attr{}, h.attrs...)
	for _, a := range attrs {
		a.Key = h.group + a.Key
		d.attrs = append(d.attrs, a)
	}
	return &d
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	d := *h
	d.Handler = h.Handler.WithGroup(name)
	d.group += name + "."
	return &d
}
