package logging

import (
	"context"
	"log/slog"
	"slices"
)

// handler is a slog.Handler that formats with slog's own handlers. It has one for
// each format and level, so that a logger made with With follows a change of format.
type handler struct {
	log  *Log
	each [8]slog.Handler // by index
}

var levels = [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}

// index is that of a handler. A level between two of levels counts as the lower one.
func index(text bool, level slog.Level) (i int) {
	for i < len(levels)-1 && level >= levels[i+1] {
		i++
	}
	i *= 2
	if text {
		i++
	}
	return i
}

// isImportant reports whether lines of a level are dropped last.
func isImportant(level slog.Level) bool { return level >= slog.LevelWarn }

func newHandler(l *Log) *handler {
	// Enabled has already checked the level.
	all := &slog.HandlerOptions{Level: slog.Level(-1 << 31)}
	h := &handler{log: l}
	for _, level := range levels {
		w := lineWriter{l, level}
		h.each[index(false, level)] = slog.NewJSONHandler(w, all)
		h.each[index(true, level)] = slog.NewTextHandler(w, all)
	}
	return h
}

// lineWriter adds lines to the queue. slog writes each line in one call.
type lineWriter struct {
	log   *Log
	level slog.Level
}

func (w lineWriter) Write(line []byte) (int, error) {
	n := len(line)
	if w.log.priority.Load() {
		line = append([]byte(priority(w.level)), line...)
	}
	w.log.queue.add(line, isImportant(w.level))
	return n, nil
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.log.level.Level()
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.log.thin.keeps(&r) {
		return nil
	}
	return h.each[index(h.log.text.Load(), r.Level)].Handle(ctx, r)
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
