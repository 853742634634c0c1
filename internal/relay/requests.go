package relay

import (
	"math"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// Selection chooses open sessions.
type Selection struct {
	// Backends has the backends whose sessions are chosen, by ID. nil chooses
	// the sessions of all backends.
	Backends map[uint32]Bound
	// Sessions further limits the choice to these; nil doesn't.
	Sessions map[session.ID]bool
}

// Bound limits which sessions of a backend are chosen. The zero value chooses
// none.
type Bound struct {
	// Most is how many sessions are chosen, the oldest ones; see All.
	Most int
	// After and UpTo bound when the sessions began: after After, and not after
	// UpTo. The zero time is no bound.
	After, UpTo time.Time
}

// All is the Bound.Most that chooses every session.
const All = math.MaxInt

// OfBackend selects all sessions of a backend.
func OfBackend(id uint32) Selection {
	return Selection{Backends: map[uint32]Bound{id: {Most: All}}}
}

// Close is how a session is closed.
type Close struct {
	Cause  session.Cause
	Code   uint16 // of the Close frame
	Reason Reason
	// Text replaces Reason if it isn't empty; at most 123 bytes.
	Text string
}

// CloseRequest closes sessions politely: a Close frame at a message boundary,
// with an answer awaited on both sides. It replaces an earlier request to move a
// session. It also ends a move that is in progress, unless the old backend has
// already got a Close or a notice, or is lost, and the Cause is about that backend.
//
// With the Cause session.BackendDown, a session instead loses its backend, which may
// hang: it goes on with another one, if it may, and otherwise its client gets the Close
// of a loss.
type CloseRequest struct {
	Selection
	Close
	// Spread is the time over which the sessions are closed, evenly and the
	// oldest first; 0 closes them all at once.
	Spread time.Duration
	// SkipScheduled leaves alone sessions that an earlier request will close.
	// Without it, the earlier of the two times holds.
	SkipScheduled bool
}

// MoveRequest moves sessions to other backends. It never replaces a request to
// close a session.
type MoveRequest struct {
	Selection
	Why session.Why
	// Spread is the time over which the moves begin, evenly and the oldest
	// session first; 0 begins them all at once.
	Spread time.Duration
	// OrClose closes a session that isn't movable, or whose move fails. If it is
	// nil, such a session stays with its backend, and only sessions are chosen
	// that are movable and for which nothing else is scheduled. A drain replaces a
	// rebalance: that may end without a move, since there is no need for it.
	OrClose *Close
	// SkipScheduled leaves alone sessions that an earlier request will close or
	// move, and those that are being moved and are closed if that fails, so that
	// a request that is repeated doesn't move a session again and again. Without
	// it, the earlier of the two times holds.
	SkipScheduled bool
}

// CancelRequest cancels what earlier requests have scheduled and not begun,
// including a move that waits for its turn.
type CancelRequest struct {
	Selection
}

// request is one of the three kinds of request, as both engines carry it out.
type request struct {
	selection Selection
	spread    time.Duration
	action    action
}

// action is what a request does with a session.
type action interface {
	// applies reports whether the session, which is open, is affected.
	applies(r *record) bool
	// schedule makes the session carry it out at that time.
	schedule(r *record, at eventloop.Tick)
}

// includes reports whether a request is about this session.
func (q *request) includes(r *record) bool {
	return r.cause == session.None && q.selection.includes(r) && q.action.applies(r)
}

// schedule makes the session carry out q after a delay.
func (q *request) schedule(r *record, now eventloop.Tick, after time.Duration) {
	q.action.schedule(r, now+max(1, eventloop.Ticks(after)))
}

func (s *Selection) includes(r *record) bool {
	if s.Sessions != nil && !s.Sessions[r.id] {
		return false
	}
	if s.Backends == nil {
		return true
	}
	b := s.Backends[r.backend]
	return b.Most > 0 && (b.After.IsZero() || r.started > b.After.UnixNano()) && (b.UpTo.IsZero() || r.started <= b.UpTo.UnixNano())
}

func (q *CloseRequest) request(t *texts) *request {
	return &request{q.Selection, q.Spread, closeAction{q.Close.planned(t), q.SkipScheduled}}
}

func (q *MoveRequest) request(t *texts) *request {
	a := moveAction{why: q.Why, orStay: q.OrClose == nil, skipScheduled: q.SkipScheduled}
	if q.OrClose != nil {
		a.orClose = q.OrClose.planned(t)
	}
	return &request{q.Selection, q.Spread, a}
}

func (q *CancelRequest) request() *request { return &request{q.Selection, 0, cancelAction{}} }

func (c *Close) planned(t *texts) plannedClose {
	p := plannedClose{code: c.Code, reason: c.Reason, cause: c.Cause}
	if c.Text != "" {
		p.reason = t.number(c.Text)
	}
	return p
}

type closeAction struct {
	close         plannedClose
	skipScheduled bool
}

func (a closeAction) applies(r *record) bool {
	if a.skipScheduled && r.requestAt != 0 && r.plan&toMove == 0 {
		return false
	}
	return !ofBackend(a.close.cause) || !r.leavesAlready()
}

func (a closeAction) schedule(r *record, at eventloop.Tick) {
	if r.requestAt == 0 || r.plan&toMove != 0 || at < r.requestAt {
		r.requestAt, r.closes[session.Client] = at, a.close
		r.plan &^= toMove | orStay // why is still that of a move in progress
	}
}

type moveAction struct {
	why           session.Why
	orClose       plannedClose
	orStay        bool // instead of orClose
	skipScheduled bool
}

func (a moveAction) applies(r *record) bool {
	if a.skipScheduled && (r.requestAt != 0 || r.phase >= queued && r.phase <= drainingOld && r.plan&(toMove|orStay) == toMove) {
		return false
	}
	return !a.orStay || r.plan&movable != 0 && (a.replaces(r) || r.requestAt == 0 && (r.phase == idle || r.phase == onProbation))
}

// replaces reports that the session is to be rebalanced, now or later, and a is a drain.
func (a moveAction) replaces(r *record) bool {
	return a.why == session.Drain && r.plan.why() == session.Rebalance && r.plan&(toMove|orStay) == toMove|orStay &&
		(r.requestAt != 0 || r.phase >= queued && r.phase <= drainingOld)
}

func (a moveAction) schedule(r *record, at eventloop.Tick) {
	if r.plan&movable == 0 {
		closeAction{close: a.orClose}.schedule(r, at)
		return
	}
	if r.phase >= awaitingBoundary && r.plan.why() == session.Loss {
		return // it leaves that backend already
	}
	switch {
	case r.requestAt != 0 && r.plan&toMove == 0:
		return // it will be closed
	case r.requestAt == 0 || at < r.requestAt:
		r.requestAt = at
	case a.replaces(r): // it keeps its turn
	case r.plan&orStay == 0 || a.orStay:
		return
		// Otherwise it keeps its turn, and is now closed if that move fails.
	}
	r.closes[session.Client] = a.orClose
	r.plan = r.plan&^orStay | toMove
	if a.orStay {
		r.plan |= orStay
	}
	r.plan = r.plan.because(a.why)
}

type cancelAction struct{}

func (cancelAction) applies(r *record) bool { return r.requestAt != 0 || r.phase == queued }

func (cancelAction) schedule(r *record, _ eventloop.Tick) {
	r.requestAt = 0
	r.plan |= orStay // if it is being moved now
	if r.phase == queued {
		r.abortMove()
	}
}

// leavesAlready reports that the session goes on without its present backend,
// whatever a request about that backend says.
func (r *record) leavesAlready() bool {
	return r.phase == drainingOld || r.phase >= awaitingBoundary && r.phase <= connecting && r.plan.why() == session.Loss
}

// leaves reports that the session won't be with its backend much longer, unless
// a request is cancelled or a move fails.
func (r *record) leaves() bool {
	return r.cause != session.None || r.requestAt != 0 || r.phase != idle && r.phase != onProbation
}
