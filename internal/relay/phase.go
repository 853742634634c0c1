package relay

// phase is how far a session is on its way to another backend.
//
//	       a request's           its turn in          the client is paused, and all
//	       time has come         the queue            that it sent before is written
//	idle ──────────────▶ queued ──────────▶ awaitingBoundary ──────────▶ connecting
//	 ▲ ▲ │  the backend is lost, now or queued   ▲ ▲│ none now, after a loss   │  │ found: the old backend
//	 │ │ │                                       │ └┼──────────────────────────┤  │ is sent a Close
//	 │ │ └───────────────────┬───────────────────┘  │ no boundary,             │  │
//	 │ │                     │ no turn              │ no turn                  │  │
//	 │ │                     │ in time              │ in time    none found,   │  ▼
//	 │ │ kept                ▼                      ▼            or too late   │ drainingOld
//	 │ └─────────────────aborting ◀────────────────────────────────────────────┘  │
//	 │                       ▲                                                     │
//	 │                       └──────────────── the session ends ───────────────────┤
//	 └─────────────────────────────────────────────────────────────────────────────┘
//	    swapped: the old backend has ended, the client is paused
//
// After the swap a session is onProbation for Times.Probation, and then idle. If
// its new backend is lost before that, or rejects it, the session aborts that
// move and awaits a boundary again, this time because of the loss. On probation it
// is like an idle one, except for the meaning of its backend's Close.
//
// A session that loses its old backend during a search that finds nothing also comes to
// idle, and is then treated as if it had lost the backend there.
//
// While it is queued, a session goes on as ever; see queueState. A session that
// has lost its backend is awaitingBoundary while it waits, and so is one that
// reached its boundary late: their clients are paused, and they go first. If no
// backend is available at the moment, such a session is awaitingBoundary again
// until its time is over, and searches only now and then.
//
// A paused client stands between two messages and isn't read; TCP makes it wait.
// The old backend goes on sending to it.
//
// Nothing is lost, doubled or reordered if the old backend reads what it was sent
// and sends what it has to send before it answers our Close:
//
//   - readPaused cuts the client's bytes in two at a place where the walker stands
//     between two messages. Only hold sets it, and only swapped and stayed take it
//     off. All bytes before the cut have been given to the old backend's
//     connection, since connecting begins only when none of them waits; our Close
//     follows them there. The bytes behind the cut are the rest of the last read,
//     which the driver keeps, and then those in the socket: none of them is walked
//     or written while readPaused is set, and then they go, in this order, to the
//     one backend that there is.
//   - The old backend's bytes go to the client up to its Close, after which it can
//     send nothing (RFC 6455 §5.5.1), or to its end. Only then, and only if they
//     end between two messages, is the backend swapped and the new one's first
//     byte read. What waits for the client is one queue for both.
//
// If the old backend is lost, what it had not answered may be lost with it, and
// the rest of a message that it had begun to get is thrown away.
type phase uint8

// Their order matters: up to queued, bytes are passed without looking for a
// boundary, and from awaitingBoundary to drainingOld the client may be paused.
const (
	idle phase = iota
	queued
	onProbation
	awaitingBoundary
	connecting
	drainingOld
	aborting // the driver has yet to clean up after the move
)

func (p phase) String() string {
	return [...]string{"idle", "queued", "onProbation", "awaitingBoundary", "connecting", "drainingOld", "aborting"}[p]
}

// phaseChanges has the phases that may follow each phase.
var phaseChanges = [...][]phase{
	idle:             {queued, awaitingBoundary, onProbation},
	queued:           {awaitingBoundary, aborting},
	onProbation:      {aborting},
	awaitingBoundary: {connecting, aborting},
	connecting:       {drainingOld, awaitingBoundary, aborting},
	drainingOld:      {idle, aborting},
	aborting:         {idle},
}

// phaseChanged is called before each change of a phase, if it isn't nil. Tests
// set it, to check that only the changes of phaseChanges occur.
var phaseChanged func(from, to phase)

// enter changes the phase. Nothing else does.
func (r *record) enter(to phase) {
	if phaseChanged != nil && r.phase != to {
		phaseChanged(r.phase, to)
	}
	r.phase = to
}
