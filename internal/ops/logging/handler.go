package logging

import (
	"context"
	"log/slog"
	"slices"
)

// handler is a slog.Handler that formats with slog's own handlers. It has one for
// each format and importance, so that a logger made with With follows a change
// of format.
type handler struct {
	log  *Log
	each [4]slog.Handler // by index
}

func index(text, important bool) (i int) {
	if text {
		i |= 1
	}
	if important {
		i |= 2
	}
	return i
}

// isImportant reports whether lines of a level are dropped last.
func isImportant(level slog.Level) bool { return level >= slog.LevelWarn }

func newHandler(l *Log) *handler {
	// Enabled has already checked the level.
	all := &slog.HandlerOptions{Level: slog.Level(-1 << 31)}
	h := &handler{log: l}
	for _, important := range []bool{false, true} {
		w := lineWriter{l.queue, important}
		h.each[index(false, important)] = slog.NewJSONHandler(w, all)
		h.each[index(true, important)] = slog.NewTextHandler(w, all)
	}
	return h
}

// lineWriter adds lines to the queue. slog writes each line in one call.
type lineWriter struct {
	queue     *queue
	important bool
}

func (w lineWriter) Write(line []byte) (int, error) {
	w.queue.add(line, w.important)
	return len(line), nil
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.log.level.Level()
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.log.thin.keeps(&r) {
		return nil
	}
	return h.each[index(h.log.text.Load(), isImportant(r.Level))].Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(inner slog.Handler) slog.Handler { return inner.WithAttrs(slices.Clone(attrs)) })
}

func (h *handler) WithGroup(name string) slog.Handler {
	return h.with(func(inner slog.Handler) slog.Handler { return inner.WithGroup(name) })
}

func (h *handler) with(derive func(slog.Handler) slog.Handler) *handler {
	derived := &handler{log: h.log}
	for i, inner := range h.each {
		derived.each[i] = derive(inner)
	}
	return derived
}
