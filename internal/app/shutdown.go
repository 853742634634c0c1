package app

import (
	"context"
	"time"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/closing"
)

// closeForShutdown closes sessions at a shutdown.
var closeForShutdown = relay.Close{Cause: session.Shutdown, Code: relay.CodeGoingAway, Reason: relay.GoingAway}

// Announce announces the shutdown: /health answers 503 from now on, and
// everything else goes on as before, including new sessions. It returns
// shutdown.delay, after which the caller calls Shutdown. By then, load balancers
// in front of this one have seen the 503 and send no new clients.
func (a *App) Announce() (delay time.Duration) {
	delay = a.current.Load().Shutdown.Delay
	if delay > 0 && !a.announced.Swap(true) {
		a.noteEnd()
		a.noted(api.EventShutdown).Info("about to shut down; new sessions are still accepted", "delay", delay.String())
		a.tellOfEnd(delay)
	}
	return delay
}

// noteEnd notes when the shutdown began.
func (a *App) noteEnd() {
	now := time.Now()
	a.ending.CompareAndSwap(nil, &now)
}

// stopping reports whether the shutdown was announced or has begun.
func (a *App) stopping() bool { return a.announced.Load() || a.gate.Stopping() }

// Shutdown stops the balancer: it accepts no new sessions, /health answers 503,
// and every session is closed with 1001 at a message boundary, spread over
// timeouts.shutdown. Sessions that are left after that, or when ctx is done, are
// cut. Shutdown returns their number once everything is closed.
func (a *App) Shutdown(ctx context.Context) (cut int) {
	a.reload.Lock()
	a.stopped = true
	a.closeState()
	a.reload.Unlock()
	a.long.close()
	a.rebalancer.Close()
	a.downs.close()
	a.drainer.Close() // sessions of draining backends are closed like the rest
	limit := a.current.Load().Timeouts.Shutdown
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a.spare.enter() // until the process ends
	a.noteEnd()
	a.tellOfEnd(0)
	a.gate.Stop()
	a.listeners.Close()
	for _, q := range a.queues { // nothing changes them any more
		q.Close()
	}
	spread, _ := closing.Spread(limit)
	n := a.engine.CloseSessions(relay.CloseRequest{Close: closeForShutdown, Spread: spread})
	requests := a.proxy.HTTPRequests()
	defer a.cutAnswers(spread)()
	a.noted(api.EventShutdown).Info("shutting down", "sessions", n, "http_requests", requests, "spread", spread.String())
	httpDone := make(chan struct{})
	go func() {
		defer close(httpDone)
		a.proxy.Close(ctx)
	}()
	a.waitForSessions(ctx)
	<-httpDone
	cut = a.engine.Active()
	a.stopManager()
	a.engine.Abort(session.Shutdown)
	a.engine.Close()
	a.overloads.close()
	a.events.Close()
	a.admin.close()
	a.certs.Close()
	a.acme.Close()
	a.keys.Close()
	a.asks.Close()
	a.discovery.Close()
	a.checker.Close()
	a.registry.Close()
	a.traces.close()
	a.slog.Info("stopped", "sessions_cut", cut)
	a.log.Close()
	return cut
}

// cutAnswers ends plain HTTP requests at a shutdown: event streams, which have no
// end of their own, spread like sessions, and the others after spread, so that
// the rest of the time is left to close their connections. stop cancels those
// that are not ended yet.
func (a *App) cutAnswers(spread time.Duration) (stop func()) {
	cause := session.Shutdown.String()
	a.proxy.CutAnswers(httpproxy.Cut{
		Which:  func(_ uint32, events bool) bool { return events },
		Reason: cause, Spread: spread, Now: true,
	})
	late := time.AfterFunc(spread, func() { a.proxy.CutAnswers(httpproxy.Cut{Reason: cause}) })
	return func() { late.Stop() }
}

// handshakes returns the number of handshakes, including those in queues.
func (a *App) handshakes() int {
	s := a.gate.Stats()
	return s.Handshakes + s.Waiting
}

// waitForSessions returns when no session and no handshake is left, or ctx is
// done. Handshakes that were running when the gate closed become sessions that
// Shutdown's request didn't include; they are closed when they open.
func (a *App) waitForSessions(ctx context.Context) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	// A session is counted a moment before its engine has it, so each check is
	// followed by another.
	again := true
	for late := a.handshakes(); ; {
		handshakes := a.handshakes()
		if fewer := handshakes < late; fewer || again {
			late, again = handshakes, fewer
			a.engine.CloseSessions(relay.CloseRequest{Close: closeForShutdown, SkipScheduled: true})
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
