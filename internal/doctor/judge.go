package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// least is the shortest time over which sessions may be closed.
const least = time.Second

const (
	codeGoingAway      = 1001
	codeServiceRestart = 1012
)

func (d *doctor) judgeHealth(t timeline) finding {
	const advice = "at SIGTERM, answer health checks with 503 before anything else, and go on with the rest"
	switch {
	case d.o.Health == "":
		return skipped("no --health")
	case t.notified.IsZero():
		return mend("health never said 503; the last was "+t.instead, advice)
	case len(t.endings) > 0 && t.notified.Sub(t.endings[0].at) > late:
		return mend(fmt.Sprintf("health said 503 %v after the first session had ended", rounded(t.notified.Sub(t.endings[0].at))), advice)
	case d.o.PID == 0:
		return ok("health says 503")
	}
	return ok(fmt.Sprintf("health says 503 %v after SIGTERM", rounded(t.notified.Sub(t.began))))
}

func (d *doctor) judgeNotice(t timeline) finding {
	advice := fmt.Sprintf("after the first 503, take sessions and serve them as before until the balancer must have asked: health.interval (%v, or as --interval says) and its timeout", d.o.Interval)
	since := t.notified
	if since.IsZero() && d.o.PID != 0 {
		since = t.began
	}
	if since.IsZero() {
		return skipped("nobody knows when the drain began")
	}
	if len(t.endings) > 0 {
		if wait := t.endings[0].at.Sub(since); wait < d.o.Interval {
			return mend(fmt.Sprintf("the first session ended after %v", rounded(max(wait, 0))), advice)
		}
	}
	switch {
	case t.noticed && t.entered != nil:
		return mend("right after the 503, a handshake was not served: "+cut(t.entered), advice)
	case t.noticed && t.pinged != nil:
		return mend("right after the 503, a session did not work: "+cut(t.pinged), advice)
	case len(t.endings) == 0:
		return ok("sessions went on, and none ended")
	}
	return ok(fmt.Sprintf("sessions went on for %v", rounded(t.endings[0].at.Sub(since))))
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
	if t.open > 0 {
		found = append(found, fmt.Sprintf("%d still open at the end", t.open))
	}
	text := fmt.Sprintf("of %d sessions, %s", len(t.endings)+t.open, strings.Join(found, ", "))
	switch {
	case lost > 0:
		return mend(text, "send every session a Close with 1001, and exit only when it is answered: without one, clients see 1006")
	case t.open > 0:
		return mend(text, "close what sessions are left, in the time that the process has")
	case good < len(t.endings):
		return mend(text, "close with 1001 (going away): by it clients know to come back at once")
	}
	return ok(text)
}

func judgeSpread(t timeline) finding {
	if len(t.endings) < 2 {
		return skipped("less than two sessions ended")
	}
	took := t.endings[len(t.endings)-1].at.Sub(t.endings[0].at)
	text := fmt.Sprintf("%d sessions ended within %v", len(t.endings), rounded(took))
	if took < least {
		return mend(text, "close sessions one after another, over the time that is left: all at once, all clients come back at once")
	}
	return ok(text)
}

func judgeRefusal(t timeline) finding {
	switch {
	case !t.knocked:
		return skipped("no session ended")
	case t.refused == nil:
		return mend("a handshake was taken while sessions were being closed", "once sessions are closed, stop listening, or answer handshakes with 503 and Retry-After")
	}
	return ok("a handshake while sessions were being closed: " + cut(t.refused))
}

func (d *doctor) judgeExit(t timeline) finding {
	switch {
	case t.open > 0:
		return skipped(fmt.Sprintf("sessions were still open after %v", d.o.DrainTimeout))
	case t.exited < 0 && d.o.PID != 0:
		return mend(fmt.Sprintf("the process is still there %v after its last session", d.o.Timeout), "end the process when no session is left")
	case t.exited < 0:
		return mend(fmt.Sprintf("somebody still listens %v after the last session", d.o.Timeout), "end the process when no session is left")
	}
	return ok(fmt.Sprintf("gone %v after its last session", rounded(t.exited)))
}
