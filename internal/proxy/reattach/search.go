package reattach

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/retry"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
)

// search is one search for another backend of a session, in which several may be
// asked. It has the saved request of the client, and goes by the generation of
// now. It is used again for other sessions.
type search struct {
	r       *Reattacher
	saved   *savedHandshake
	request relay.ReattachRequest

	gen   *generation.Generation
	pool  generation.Pool
	tried balance.Tried
	lost  int // the member that the session has lost, if it may be asked too; else -1

	req      attempt.Request
	reattach handshake.Reattach // req.Upgrade's
	out      []byte             // to the backend

	try       attempt.Try
	asked     int           // backends, including the one of try
	byMove    bool          // the last deadline was the move's, not the backend's
	retryable bool          // a backend that was asked may do better in a moment
	control   bool          // the backend that was found wants notices
	trace     *timing.Trace // nil unless it is traced
}

func (r *Reattacher) newSearch(h *savedHandshake, m relay.ReattachRequest) *search {
	s := r.searches.Get().(*search)
	s.r, s.saved, s.request = r, h, m
	s.asked, s.byMove, s.retryable, s.control = 0, false, false, false
	s.trace = nil
	s.try.Reset()
	return s
}

// put keeps a search for the next use, unless its buffer has grown.
func (r *Reattacher) put(s *search) {
	if s.try.IsUsual() {
		r.searches.Put(s)
	}
}

// prepare makes the saved handshake one that a backend can be chosen for.
func (s *search) prepare() error {
	meta, err := s.saved.meta()
	if err != nil {
		return err
	}
	s.req.Reset(meta)
	if ok, err := s.req.Parse(s.saved.head, s.r.Generation()); !ok {
		return cmp.Or(err, errInternal) // it could be parsed before
	}
	if err := s.req.Check(); err != nil {
		return err
	}
	if s.saved.grant != nil {
		// Its token was verified when the session began, and may have expired since.
		s.req.SetGrant(s.saved.grant)
	}
	s.req.ID = s.request.Info.ID
	s.reattach = handshake.Reattach{ID: s.request.Info.ID, Why: s.request.Why, Move: s.request.Attempt,
		From: s.r.BackendName(s.request.Info.Backend)}
	s.req.Upgrade.Reattach = &s.reattach
	if s.saved.listed {
		s.req.Upgrade.Subprotocols = []string{s.saved.protocol}
	}
	return s.useGeneration()
}

func (s *search) run(parent transport.Conn) error {
	if err := s.prepare(); err != nil {
		return err
	}
	var failed error // of the backend that was asked last
	for {
		if err := s.takeBackend(); err != nil {
			return s.mayPass(cmp.Or(failed, err))
		}
		err := s.connect(parent)
		if err == nil {
			err = s.exchange()
		}
		if err == nil {
			return nil
		}
		if failed = s.giveUp(err); !s.again(failed) {
			return s.mayPass(failed)
		}
	}
}

// mayPass makes err, the reason why there is no backend, a relay.Retryable if it
// may pass, or if the failure of another backend that was asked may.
func (s *search) mayPass(err error) error {
	switch {
	case err == relay.ErrMoveOver, err == relay.ErrMoveTimeout:
		return err
	case s.retryable || retry.MayPass(failure.Of(err).Code, s.try.Resp.Status):
		return relay.Retryable{Err: err}
	}
	return err
}

// useGeneration goes by the generation of now.
func (s *search) useGeneration() error {
	s.gen, s.tried = s.r.Generation(), balance.Tried{}
	p := s.gen.Pools[s.saved.pool] // wherever its route leads now
	if p == nil || p.Reattach == nil || !p.Reattach.Allows(s.request.Why) {
		return errOff
	}
	// Its own backend is the one that the session is leaving, so to refuse all
	// others would be to refuse every backend.
	s.pool = *p
	s.pool.Refuse = false
	s.lost = p.Member(s.request.Info.Backend)
	if s.lost >= 0 && !s.request.Again { // else it was lost, and may have come back
		s.tried.Add(s.lost)
		s.lost = -1
	}
	s.req.Identify(s.gen)
	return s.req.Follow(s.forward(), s.saved.pool)
}

// forward is what the session's route changes now, or if it is gone, what it changed
// when the session began: the backend must not get a field that only the client
// vouches for. That holds as well for a route whose listener or certificate isn't saved,
// since another one is found then, with another label.
func (s *search) forward() *generation.Forward {
	up := &s.req.Upgrade
	rule, err := s.gen.Routes.MatchBytes(up.Host, up.Path, true, &s.req)
	if err == nil {
		rule = s.gen.PartOf(rule, s.saved.pool)
	}
	if err != nil || rule.Pool != s.saved.pool || s.gen.Labels[rule.Label] != s.request.Info.Route {
		return s.saved.forward
	}
	return s.gen.PolicyOf(rule).Forward
}

// takeBackend takes what is reserved, or chooses as for a new session. In a pool
// with admit the latter is for the second backend asked. It doesn't wait, but
// makes later handshakes wait longer.
func (s *search) takeBackend() error {
	if s.takeReserved() {
		return nil
	}
	c, err := s.choose(s.tried)
	if err != nil && s.gen != s.r.Generation() {
		// A reload has replaced the backends since.
		if err := s.useGeneration(); err != nil {
			return err
		}
		c, err = s.choose(s.tried)
	}
	if err != nil {
		return err
	}
	s.begin(c)
	if bucket := s.pool.Bucket(c.Index); bucket != nil {
		bucket.Charge()
	}
	return nil
}

func (s *search) begin(c balance.Choice) {
	s.asked++
	s.try.Begin(&s.pool, c, nil)
}

func (s *search) choose(tried balance.Tried) (c balance.Choice, err error) {
	if s.request.Why == session.Rebalance {
		return s.pool.TakeBelowFairShare(&s.req, tried)
	}
	q := balance.Query{Tried: tried, Session: true}
	if s.lost >= 0 {
		q.Lost = s.pool.Picker.Members()[s.lost].Backend
	}
	c, _, _, err = s.pool.Take(nil, &s.req, q)
	return c, err
}

func (s *search) connect(parent transport.Conn) error {
	dialer := s.gen.Dialer(s.req.Forward())
	s.beginWith(timing.Dial)
	err := s.try.Connect(parent, &s.req, dialer, s.within(dialer.Timeout+s.gen.AnswerTimeout(s.req.Forward())))
	s.trace.End(err)
	return err
}

// beginWith begins a stage of the trace, with the backend of the present try.
func (s *search) beginWith(stage timing.Stage) {
	if s.trace != nil {
		c := &s.try.Choice
		s.trace.BeginWith(stage, c.Backend.Name, c.Addr.String())
	}
}

// exchange is the handshake. Its outcome must be that of the first one.
func (s *search) exchange() error {
	s.reattach.Attempt = s.asked
	s.out = s.req.AppendRequest(s.out[:0], s.gen)
	s.beginWith(timing.Handshake)
	err := s.try.Ask(s.out, &s.req, s.within(s.gen.AnswerTimeout(s.req.Forward())))
	s.trace.End(err)
	if err != nil {
		return err
	}
	agreed := s.req.Upgrade.Agreed(&s.try.Resp)
	switch {
	case !agreed.Same(s.saved.agreed()):
		return errDifferent
	case s.request.Control && !agreed.Control:
		return errNoControl
	}
	s.control = agreed.Control
	return nil
}

// within is the deadline after d, or that of the move if it is sooner. The
// backend that was lost may hang, so it gets at most half of the remaining time:
// otherwise one that comes up meanwhile would not be noticed.
func (s *search) within(d time.Duration) time.Time {
	if s.try.Choice.Index == s.lost {
		d = min(d, time.Until(s.request.Deadline)/2)
	}
	at := time.Now().Add(d)
	if s.byMove = at.After(s.request.Deadline); s.byMove {
		return s.request.Deadline
	}
	return at
}

// giveUp releases the backend that was asked last, and returns what its failure
// means for the move. The backend is not blamed if the move was broken off.
func (s *search) giveUp(err error) error {
	s.try.Release()
	switch {
	case s.byMove && errors.Is(err, os.ErrDeadlineExceeded):
		return relay.ErrMoveTimeout
	case errors.Is(err, transport.ErrHungUp), errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return relay.ErrMoveOver // the engine has ended the task
	}
	s.try.Blame(err, &s.req, &s.tried)
	s.retryable = s.retryable || retry.MayPass(failure.Of(err).Code, s.try.Resp.Status)
	return err
}

// again reports whether another backend is asked.
func (s *search) again(err error) bool {
	code := failure.Of(err).Code
	if err == relay.ErrMoveOver || err == relay.ErrMoveTimeout || code.Side() != failure.Backend {
		return false
	}
	again := retry.Search(code, s.asked)
	level := slog.LevelWarn
	if s.request.Again {
		level = slog.LevelDebug // the first search has logged it, and the end will
	}
	c := &s.try.Choice
	s.r.Log.Log(context.Background(), level, "a backend doesn't take over a session", "id", s.request.Info.ID.String(), "pool", c.Backend.Pool,
		"backend", c.Backend.Name, "address", c.Addr.String(), "reattach", s.request.Why.String(), "error", err, "next", again)
	return again
}
