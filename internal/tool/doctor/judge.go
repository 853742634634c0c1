package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// minSpread is the minimum time from the first to the last close of a session.
const minSpread = time.Second

const (
	codeGoingAway      = 1001
	codeServiceRestart = 1012
	codeTryAgain       = 1013
)

func (d *doctor) judgeHealth(t timeline) finding {
	const advice = "after SIGTERM, answer health checks with 503 at once, and continue everything else"
	switch {
	case d.o.Health == "":
		return skipped("no --health")
	case t.firstUnhealthy.IsZero():
		return fix("the health check never returned 503; the last result was "+t.lastHealth, advice)
	case len(t.endings) > 0 && t.firstUnhealthy.Sub(t.endings[0].at) > lateNotice:
		return fix(fmt.Sprintf("the health check returned 503 %v after the first session had ended", rounded(t.firstUnhealthy.Sub(t.endings[0].at))), advice)
	case d.o.PID == 0:
		return ok("the health check returned 503")
	}
	return ok(fmt.Sprintf("the health check returned 503 %v after SIGTERM", rounded(t.firstUnhealthy.Sub(t.began))))
}

func (d *doctor) judgeNotice(t timeline) finding {
	advice := fmt.Sprintf("after the first 503, accept and serve sessions as before until the balancer must have noticed: for health.interval (%v, set with --interval) plus health.timeout", d.o.Interval)
	since := t.firstUnhealthy
	if since.IsZero() && d.o.PID != 0 {
		since = t.began
	}
	if since.IsZero() {
		return skipped("it is unknown when the drain began")
	}
	if len(t.endings) > 0 {
		if wait := t.endings[0].at.Sub(since); wait < d.o.Interval {
			return fix(fmt.Sprintf("the first session ended after %v", rounded(max(wait, 0))), advice)
		}
	}
	switch {
	case t.noticeTested && t.handshakeErr != nil:
		return fix("right after the 503, a handshake failed: "+describeEnd(t.handshakeErr), advice)
	case t.noticeTested && t.pingErr != nil:
		return fix("right after the 503, a session didn't work: "+describeEnd(t.pingErr), advice)
	case len(t.endings) == 0:
		return ok("sessions continued, and none ended")
	}
	return ok(fmt.Sprintf("sessions continued for %v", rounded(t.endings[0].at.Sub(since))))
}

func judgeCloses(t timeline) finding {
	codes := map[int]int{}
	lost := 0
	for _, e := range t.endings {
		var c *closed
		if errors.As(e.err, &c) {
			codes[c.code]++
		} else {
			lost++
		}
	}
	var found []string
	good := 0
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		found = append(found, fmt.Sprintf("%d closed with %d", codes[code], code))
		if code == codeGoingAway || code == codeServiceRestart {
			good += codes[code]
		}
	}
	if lost > 0 {
		found = append(found, fmt.Sprintf("%d cut off without a Close frame", lost))
	}
	if t.stillOpen > 0 {
		found = append(found, fmt.Sprintf("%d still open at the end", t.stillOpen))
	}
	text := fmt.Sprintf("of %d sessions, %s", len(t.endings)+t.stillOpen, strings.Join(found, ", "))
	switch {
	case lost > 0:
		return fix(text, "send a Close with 1001 to every session, and exit only after the answers: without a Close, clients see 1006")
	case t.stillOpen > 0:
		return fix(text, "close all remaining sessions before the process is killed")
	case good < len(t.endings):
		return fix(text, "close with 1001 (going away), so that clients know that they can reconnect at once")
	}
	return ok(text)
}

func judgeSpread(t timeline) finding {
	if len(t.endings) < 2 {
		return skipped("fewer than two sessions ended")
	}
	took := t.endings[len(t.endings)-1].at.Sub(t.endings[0].at)
	text := fmt.Sprintf("%d sessions ended within %v", len(t.endings), rounded(took))
	if took < minSpread {
		return fix(text, "close sessions one after another, spread over the time that is left: otherwise all clients reconnect at the same time")
	}
	return ok(text)
}

func judgeRefusal(t timeline) finding {
	switch {
	case !t.refusalTested:
		return skipped("no session ended")
	case t.refused == nil:
		return fix("a handshake was accepted while sessions were being closed", "once you begin to close sessions, stop listening, or answer handshakes with 503 and Retry-After")
	}
	return ok("a handshake while sessions were being closed: " + describeEnd(t.refused))
}

func (d *doctor) judgeExit(t timeline) finding {
	switch {
	case t.stillOpen > 0:
		return skipped(fmt.Sprintf("sessions were still open after %v", d.o.DrainTimeout))
	case t.exited < 0 && d.o.PID != 0:
		return fix(fmt.Sprintf("the process still runs %v after its last session", d.o.Timeout), "exit when no session is left")
	case t.exited < 0:
		return fix(fmt.Sprintf("the port is still open %v after the last session", d.o.Timeout), "exit when no session is left")
	}
	return ok(fmt.Sprintf("exited %v after its last session", rounded(t.exited)))
}
