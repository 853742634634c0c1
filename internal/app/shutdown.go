package app

import (
	"context"
	"time"

	"github.com/holdfast-ws/holdfast/internal/closing"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// Shutdown ends the balancer politely: no new sessions, /health answers 503,
// and every session is closed with 1001 at a message boundary, spread over
// timeouts.shutdown. What is left when that or ctx is over is cut. It returns
// the number of sessions that were cut, when all is closed.
func (a *App) Shutdown(ctx context.Context) (cut int) {
	a.reload.Lock()
	a.stopped = true
	a.reload.Unlock()
	a.rebalancer.Close()
	a.drainer.Close() // what is being emptied is closed like the rest
	limit := a.current.Load().Timeouts.Shutdown
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a.spare.enter() // to the end
	a.gate.Stop()
	a.listeners.Close()
	for _, q := range a.queues { // nobody changes them any more
		q.Close()
	}
	spread, _ := closing.Spread(limit)
	n := a.engine.CloseSessions(relay.Order{
		Cause: session.Shutdown, Code: relay.CodeGoingAway, Reason: relay.GoingAway, Spread: spread,
	})
	a.slog.Info("shutting down", "sessions", n, "spread", spread.String())
	httpDone := make(chan struct{})
	go func() {
		defer close(httpDone)
		a.proxy.Close(ctx)
	}()
	a.waitForSessions(ctx)
	<-httpDone
	cut = a.engine.Active()
	a.engine.Abort(session.Shutdown)
	a.engine.Close()
	if a.admin != nil {
		a.admin.close()
	}
	a.discovery.Close()
	a.checker.Close()
	a.registry.Close()
	a.slog.Info("stopped", "sessions_cut", cut)
	a.log.Close()
	return cut
}

// handshakes is how many there are, in queues too.
func (a *App) handshakes() int {
	s := a.gate.Stats()
	return s.Handshakes + s.Waiting
}

// waitForSessions returns when no session and no handshake is left, or ctx is
// over. Handshakes that were under way when the gate closed become sessions
// that Shutdown's order did not see; they are closed as they come.
func (a *App) waitForSessions(ctx context.Context) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	// A session is counted a moment before its engine has it, so each look is
	// followed by another.
	again := true
	for late := a.handshakes(); ; {
		handshakes := a.handshakes()
		if fewer := handshakes < late; fewer || again {
			late, again = handshakes, fewer
			a.engine.CloseSessions(relay.Order{
				Cause: session.Shutdown, Code: relay.CodeGoingAway, Reason: relay.GoingAway, Late: true,
			})
		}
		if handshakes == 0 && a.engine.Active() == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}
