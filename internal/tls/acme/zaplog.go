package acme

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapCore writes what certmagic logs to our log. Its steps are for debugging. What
// fails while it orders a certificate is logged by the Manager, once and with advice,
// so the details are for debugging, too.
type zapCore struct {
	log   *slog.Logger
	ctx   context.Context // nothing is logged after its end: then all that is tried fails
	attrs []any
}

func newZap(log *slog.Logger, ctx context.Context) *zap.Logger {
	return zap.New(&zapCore{log: log, ctx: ctx})
}

// level is how important a line is to an operator.
func (c *zapCore) level(e zapcore.Entry) slog.Level {
	name, _, _ := strings.Cut(e.LoggerName, ".")
	switch {
	case e.Level < zapcore.WarnLevel, name == "obtain", name == "renew", e.Message == "job failed":
		return slog.LevelDebug
	case e.Level == zapcore.WarnLevel:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// Enabled implements zapcore.Core. The level depends on more, see level.
func (c *zapCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel || c.log.Enabled(context.Background(), slog.LevelDebug)
}

// With implements zapcore.Core.
func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{log: c.log, ctx: c.ctx, attrs: append(slices.Clip(c.attrs), attrs(fields)...)}
}

// Check implements zapcore.Core.
func (c *zapCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.ctx.Err() == nil && c.log.Enabled(context.Background(), c.level(e)) {
		return to.AddCore(e, c)
	}
	return to
}

// Write implements zapcore.Core.
func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.With(c.attrs...).With(attrs(fields)...).Log(context.Background(), c.level(e), "ACME: "+e.Message)
	return nil
}

// Sync implements zapcore.Core.
func (c *zapCore) Sync() error { return nil }

// attrs converts fields, sorted by key. What has no simple value becomes its text.
func attrs(fields []zapcore.Field) (all []any) {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	for _, key := range slices.Sorted(maps.Keys(m.Fields)) {
		all = append(all, slog.Any(key, m.Fields[key]))
	}
	return all
}

// quiet returns a logger for acmez, which logs all to debug: what fails is in the
// error that it returns.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(quietHandler{log.Handler()}) }

type quietHandler struct{ slog.Handler }

func (h quietHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level, r.Message = slog.LevelDebug, "ACME: "+r.Message
	return h.Handler.Handle(ctx, r)
}

func (h quietHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(a)}
}

func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}
