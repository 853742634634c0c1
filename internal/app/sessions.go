package app

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// pageTime bounds how long a page of sessions is looked for. What is not found by then
// is on the next page.
const pageTime = 500 * time.Millisecond

// Sessions implements admin.Balancer. The mark of the next page is a relay.Cursor in
// decimal.
func (o operated) Sessions(ctx context.Context, q api.SessionQuery) (page api.SessionPage, err error) {
	o.spare.enter()
	defer o.spare.leave()
	limit := cmp.Or(q.Limit, api.DefaultSessions)
	if limit < 0 || limit > api.MaxSessions {
		return page, api.Invalid("limit", "limit %d is not from 1 to %d", limit, api.MaxSessions)
	}
	var from relay.Cursor
	if q.After != "" {
		n, err := strconv.ParseUint(q.After, 10, 64)
		if err != nil {
			return page, api.Invalid("after", "after %q is not what an answer had as next", q.After)
		}
		from = relay.Cursor(n)
	}
	f, err := o.filter(q.SessionFilter)
	if err != nil || f.nobody() {
		return page, err
	}
	for end := time.Now().Add(pageTime); ; {
		var some []session.Summary
		some, from = o.engine.Sessions(from, limit-len(page.Sessions), &f.of)
		for i := range some {
			if f.includes(&some[i]) {
				page.Sessions = append(page.Sessions, o.listed(&some[i]))
			}
		}
		switch {
		case from == 0:
			return page, nil
		case len(page.Sessions) == limit || time.Now().After(end):
			page.Next = strconv.FormatUint(uint64(from), 10)
			return page, nil
		case ctx.Err() != nil:
			return page, ctx.Err()
		}
	}
}

// Session implements admin.Balancer.
func (o operated) Session(id string) (api.Session, error) {
	o.spare.enter()
	defer o.spare.leave()
	f, err := o.filter(api.SessionFilter{ID: id})
	if err != nil {
		return api.Session{}, err
	}
	for from, more := relay.Cursor(0), true; more; more = from != 0 {
		var some []session.Summary
		if some, from = o.engine.Sessions(from, 1, &f.of); len(some) > 0 {
			return o.listed(&some[0]), nil
		}
	}
	return api.Session{}, api.NotFound("id", "there is no session %s: it has ended, or another balancer has it", id)
}

// listed is a session as the admin API lists it.
func (a *App) listed(s *session.Summary) api.Session {
	w := a.words(&s.Info)
	l := api.Session{
		ID: s.ID.String(), Client: s.Client.String(), Route: w.Route, Pool: w.Pool, Backend: w.Backend,
		Opened: s.Started, Age: s.Duration.Seconds(), Idle: s.Idle.Seconds(),
		FromClient: traffic(s.From[session.Client]), FromBackend: traffic(s.From[session.Backend]),
	}
	for name, value := range w.Claims.All() {
		if l.Claims == nil {
			l.Claims = map[string]string{}
		}
		l.Claims[name] = value
	}
	return l
}
