package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// sessions implements admin.Options.Sessions; a place is a relay.Cursor in
// decimal.
func (a *App) sessions(after string, limit int, claim *api.Claim) (list []api.Session, next string, err error) {
	a.spare.enter()
	defer a.spare.leave()
	var from relay.Cursor
	if after != "" {
		n, err := strconv.ParseUint(after, 10, 64)
		if err != nil {
			return nil, "", fmt.Errorf("after %q is not what an answer had as next", after)
		}
		from = relay.Cursor(n)
	}
	var only map[session.ID]bool
	if claim != nil {
		if err := a.isShown(claim.Name); err != nil {
			return nil, "", err
		}
		only = a.claims.find(claim.Name, claim.Value)
		if len(only) == 0 {
			return nil, "", nil
		}
	}
	for {
		var some []session.Summary
		some, from = a.engine.Sessions(from, limit-len(list), nil)
		for i := range some {
			if only == nil || only[some[i].ID] {
				list = append(list, a.listed(&some[i]))
			}
		}
		if from == 0 {
			return list, "", nil
		}
		if len(list) == limit {
			return list, strconv.FormatUint(uint64(from), 10), nil
		}
	}
}

// listed is a session as the admin interface lists it.
func (a *App) listed(s *session.Summary) api.Session {
	w := a.words(&s.Info)
	l := api.Session{
		ID: s.ID.String(), Client: s.Client.String(), Route: w.Route, Pool: w.Pool, Backend: w.Backend,
		Age: s.Duration.Seconds(), FromClient: traffic(s.From[session.Client]), FromBackend: traffic(s.From[session.Backend]),
	}
	for name, value := range w.Claims.All() {
		if l.Claims == nil {
			l.Claims = map[string]string{}
		}
		l.Claims[name] = value
	}
	return l
}

// isShown returns an error if sessions don't show a claim, so that one which is misspelt
// doesn't look like one that nobody has.
func (a *App) isShown(claim string) error {
	shown := false
	eachAuth(a.current.Load(), func(_ config.Path, of *config.Auth) {
		shown = shown || of.JWT != nil && slices.Contains(of.JWT.SessionClaims, claim)
	})
	if !shown {
		return fmt.Errorf("sessions don't show the claim %q: list it in session_claims", claim)
	}
	return nil
}

// closeReasons are the texts that sessions were closed with by operators. The engine
// never forgets one.
type closeReasons struct {
	mu    sync.Mutex // guards the following
	texts map[string]bool
}

// maxCloseReasons leaves room for those of the configuration.
const maxCloseReasons = 100

func (r *closeReasons) add(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case text == "" || r.texts[text]:
		return nil
	case len(r.texts) >= maxCloseReasons:
		return fmt.Errorf("more than %d different reasons since the start: use one again, or none", maxCloseReasons)
	case r.texts == nil:
		r.texts = map[string]bool{}
	}
	r.texts[text] = true
	return nil
}

// closeByClaim implements admin.Options.Close.
func (a *App) closeByClaim(claim api.Claim, code int, reason string) (int, error) {
	a.spare.enter()
	defer a.spare.leave()
	if err := config.CheckClose(code, reason); err != nil {
		return 0, err
	}
	if err := a.isShown(claim.Name); err != nil {
		return 0, err
	}
	if err := a.closeReasons.add(reason); err != nil {
		return 0, err
	}
	found := a.claims.find(claim.Name, claim.Value)
	if len(found) == 0 {
		return 0, nil
	}
	n := a.engine.CloseSessions(relay.CloseRequest{Selection: relay.Selection{Sessions: found},
		Close: relay.Close{Cause: session.AdminClosed, Code: uint16(code), Text: reason}})
	a.slog.Info("sessions are being closed by a claim", "claim", claim.Name, "value", claim.Value, "sessions", n, "close_code", code, "close_reason", reason)
	return n, nil
}

func (o operated) Sessions(_ context.Context, q api.SessionQuery) (api.SessionPage, error) {
	claim, err := onlyClaim(q.SessionFilter)
	if err != nil {
		return api.SessionPage{}, err
	}
	list, next, err := o.sessions(q.After, q.Limit, claim)
	if err != nil {
		return api.SessionPage{}, api.Invalid("", "%v", err)
	}
	return api.SessionPage{Sessions: list, Next: next}, nil
}

// onlyClaim returns the claim of a filter that has nothing else, nil for one without.
func onlyClaim(f api.SessionFilter) (*api.Claim, error) {
	if f != (api.SessionFilter{Claim: f.Claim}) {
		return nil, notYet()
	}
	if f.Claim == "" {
		return nil, nil
	}
	c, err := api.ParseClaim(f.Claim)
	if err != nil {
		return nil, api.Invalid("claim", "%v", err)
	}
	return &c, nil
}

func (o operated) Session(id string) (api.Session, error) { return api.Session{}, notYet() }

func (o operated) CloseSessions(_ context.Context, r api.CloseRequest) (api.CloseResult, error) {
	claim, err := onlyClaim(r.SessionFilter)
	if err == nil && (claim == nil || r.Rate != 0 || r.DryRun) {
		err = notYet()
	}
	if err != nil {
		return api.CloseResult{}, err
	}
	n, err := o.closeByClaim(*claim, cmp.Or(r.Code, api.DefaultCloseCode), r.Reason)
	if err != nil {
		return api.CloseResult{}, api.Invalid("", "%v", err)
	}
	return api.CloseResult{Sessions: n}, nil
}
