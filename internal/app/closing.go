package app

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// closeReasons are the texts that sessions were closed with by operators. The engine
// never forgets one.
type closeReasons struct {
	mu    sync.Mutex // guards the following
	texts map[string]bool
}

// maxCloseReasons leaves room for those of the configuration.
const maxCloseReasons = 100

// add reports false if there is no room for another text.
func (r *closeReasons) add(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case text == "" || r.texts[text]:
		return true
	case len(r.texts) >= maxCloseReasons:
		return false
	case r.texts == nil:
		r.texts = map[string]bool{}
	}
	r.texts[text] = true
	return true
}

// longestClosing bounds over how long sessions are closed by one request.
const longestClosing = 24 * time.Hour

// CloseSessions implements admin.Balancer. Sessions that open while it looks for those
// that match may be left out.
func (o operated) CloseSessions(ctx context.Context, r api.CloseRequest) (res api.CloseResult, err error) {
	o.spare.enter()
	defer o.spare.leave()
	r.Code = cmp.Or(r.Code, api.DefaultCloseCode)
	switch {
	case r.SessionFilter == (api.SessionFilter{}) && !r.All:
		return res, api.Invalid("all", "this would close all sessions: say which, or set all")
	case config.CheckClose(r.Code, "") != nil:
		return res, api.Invalid("code", "%v", config.CheckClose(r.Code, ""))
	case config.CheckClose(r.Code, r.Reason) != nil:
		return res, api.Invalid("reason", "%v", config.CheckClose(r.Code, r.Reason))
	case !(r.Rate >= 0 && r.Rate < 1e9): // also if it is not a number
		return res, api.Invalid("rate", "rate %v is not a number of sessions a second", r.Rate)
	}
	f, err := o.filter(r.SessionFilter)
	if err != nil {
		return res, err
	}
	found, err := o.matching(ctx, f)
	if err != nil {
		return res, err
	}
	var spread time.Duration
	if res.Sessions = len(found); r.Rate > 0 && len(found) > 0 {
		seconds := float64(len(found)) / r.Rate
		if seconds > longestClosing.Seconds() {
			return res, api.Invalid("rate", "with a rate of %v a second, closing %d sessions would take longer than %v: raise it, or choose fewer sessions", r.Rate, len(found), longestClosing)
		}
		spread = time.Duration(seconds * float64(time.Second))
		res.Over = float64(len(found)-1) / r.Rate
	}
	if r.DryRun || len(found) == 0 {
		return res, nil
	}
	if !o.closeReasons.add(r.Reason) {
		return res, api.Conflict("reason", "sessions were closed with %d different reasons since the start, and there is room for no other: use one of them again, such as %s, or none", maxCloseReasons, o.closeReasons.any())
	}
	res.Sessions = o.engine.CloseSessions(relay.CloseRequest{
		Selection: relay.Selection{Sessions: found},
		Close:     relay.Close{Cause: session.AdminClosed, Code: uint16(r.Code), Text: r.Reason},
		Spread:    spread,
	})
	o.noted(api.EventSessions).Info("sessions are being closed by an operator", append(aboutFilter(r.SessionFilter),
		"sessions", res.Sessions, "over", spread.String(), "close_code", r.Code, "close_reason", r.Reason)...)
	return res, nil
}

// any is one of the texts, quoted.
func (r *closeReasons) any() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for text := range r.texts {
		return hint.Quote(text)
	}
	return ""
}

// matching lists the sessions that match f and are open.
func (a *App) matching(ctx context.Context, f *sessionFilter) (map[session.ID]bool, error) {
	found := map[session.ID]bool{}
	for from, more := relay.Cursor(0), !f.nobody(); more; more = from != 0 {
		var some []session.Summary
		some, from = a.engine.Sessions(from, api.MaxSessions, &f.of)
		for i := range some {
			if some[i].Cause == session.None && f.includes(&some[i]) {
				found[some[i].ID] = true
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return found, nil
}

// aboutFilter is a filter for the log.
func aboutFilter(f api.SessionFilter) (about []any) {
	for _, field := range [][2]string{{"id", f.ID}, {"pool", f.Pool}, {"backend", f.Backend}, {"route", f.Route}, {"client", f.Client},
		{"claim", f.Claim}, {"min_age", f.MinAge}, {"max_age", f.MaxAge}, {"min_idle", f.MinIdle}, {"search", f.Search}} {
		if field[1] != "" {
			about = append(about, field[0], field[1])
		}
	}
	return about
}
