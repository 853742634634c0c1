package conformance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/tool/doctor"
	"github.com/holdfast-ws/holdfast/internal/tool/doctor/protocol"
)

const (
	adviseServer = "do on a move what docs/reattach.md#what-a-server-must-do says"
	// adviseKit is for Socket.IO servers that know nothing of moves.
	adviseKit     = "the server begins a new session instead of continuing the one of Holdfast-Session: use reattach(io, …) of holdfast-socketio on all servers"
	adviseRefused = "let the new server accept a known session with Holdfast-Reattach; holdfast doctor URL tests one server alone"
	adviseEnd     = "on \"holdfast leave\", close with 1012 after the state is stored; any other code, and any error message, reaches the client"
	adviseStored  = "write the state of a session through to the store as it changes, not only when it leaves: after a loss there is no \"holdfast leave\""
	adviseState   = "store the state at \"holdfast leave\", after the last message was handled and before the Close; on the new server, load it at \"holdfast begin\", not in the handshake"
	adviseLost    = "handle everything that came before \"holdfast leave\" before you close, and send nothing after the final state is stored; on the new server, join rooms and read events from where the old one stopped"
	adviseDoubled = "remember in the state what was sent and handled, and begin on the new server after that; send nothing before \"holdfast begin\""
	adviseOrder   = "send nothing on the new server before \"holdfast begin\", and handle messages of a session one after the other"
	adviseAcks    = "finish pending answers before the Close that answers \"holdfast leave\", or pass them to the new server; number acks so that each server knows which are its own"
	adviseGap     = "store the state and close soon after \"holdfast leave\"; load it quickly at \"holdfast begin\""
)

// judge reports all checks after the test.
func (t *test) judge() {
	t.record(checkConnect, ok(t.connected()))
	t.record(checkApplication, ok("it answers messages, sends events and gets their acks"+t.andRooms()))
	t.record(checkDrain, t.judgeMoves(phaseDrain, "drain"))
	t.record(checkRebalance, t.judgeRebalance())
	t.record(checkLoss, t.judgeLoss(phaseLoss))
	t.record(checkKill, t.judgeKill())
	t.record(checkState, t.judgeFaults(adviseState, stale))
	t.record(checkLost, t.judgeFaults(adviseLost, lost))
	t.record(checkDoubled, t.judgeFaults(adviseDoubled, doubled))
	t.record(checkOrder, t.judgeFaults(adviseOrder, reordered))
	t.record(checkAcks, t.judgeFaults(adviseAcks, unanswered, unconfirmed))
	t.record(checkGap, t.judgeGap())
}

func (t *test) andRooms() string {
	if t.room == "" {
		return ""
	}
	return ", and sends messages to a room"
}

func (t *test) connected() string {
	var words []string
	for i, n := range t.perServer {
		words = append(words, fmt.Sprintf("%d on %s", n, t.o.servers[i].Host))
	}
	return fmt.Sprintf("%d sessions: %s", len(t.clients)+t.ended(), strings.Join(words, ", "))
}

// ended is 0 while there are clients.
func (t *test) ended() int {
	if len(t.clients) > 0 {
		return 0
	}
	return t.o.Sessions
}

// notConnected describes why a session couldn't be opened.
func (t *test) notConnected(err error) (check int, f finding) {
	var no *refusal
	var wrong *protocol.Error
	switch {
	case errors.As(err, &no) && no.status == 502:
		return checkConnect, fix(err.Error(), "start all servers, and check their addresses; holdfast doctor URL tests one alone")
	case errors.As(err, &no):
		return checkConnect, fix(err.Error(), "check the path of the URLs; give a login with --header, and of Socket.IO with --auth")
	case errors.As(err, &wrong):
		return checkConnect, fix(wrong.What, "check --protocol and the path of the URLs; give a login of Socket.IO with --auth")
	}
	return checkConnect, fix(describe(err), "check --protocol and the path of the URLs")
}

func (t *test) noApplication(c *client) finding {
	advice := map[string]string{
		"socketio": "add the test application to all servers: require(\"holdfast-socketio/conformance\")(io)",
		"text":     "add the test application to all servers",
	}[t.o.Protocol]
	t.tally.mu.Lock()
	for _, of := range t.tally.found {
		if n := of[ended]; n != nil {
			t.tally.mu.Unlock()
			return fix(n.first, advice)
		}
	}
	t.tally.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return fix(fmt.Sprintf("within %v a client didn't get %s", t.o.patience, strings.Join(c.lacks(t.room != ""), ", ")), advice)
}

// endsIn returns the number of sessions that ended in a phase, and the first.
func (t *test) endsIn(phase string) (n int, first string) {
	t.tally.mu.Lock()
	defer t.tally.mu.Unlock()
	if f := t.tally.found[phase][ended]; f != nil {
		return f.count, f.first
	}
	return 0, ""
}

// judgeMoves judges moves for a reason of the balancer.
func (t *test) judgeMoves(phase, reason string) finding {
	moved, failed, results := t.moves.counts(reason)
	n, first := t.endsIn(phase)
	switch {
	case n > 0 && t.tally.rude:
		return fix(fmt.Sprintf("%s ended: %s", count(n, "session"), first), adviseKit)
	case n > 0 && failed > 0:
		return fix(fmt.Sprintf("%s ended: %s; moves that failed: %s", count(n, "session"), first, results), adviseRefused+" (docs/reattach.md#results)")
	case n > 0:
		return fix(fmt.Sprintf("%s ended: %s", count(n, "session"), first), adviseEnd)
	case failed > 0 && phase == phaseDrain:
		return fix(fmt.Sprintf("%s succeeded, others not: %s", count(moved, "move"), results), adviseRefused+" (docs/reattach.md#results)")
	case moved == 0:
		return fix("no session was moved", adviseServer)
	}
	return ok(fmt.Sprintf("%s, and no client saw an end", count(moved, "move")))
}

func (t *test) judgeRebalance() finding {
	f := t.judgeMoves(phaseRebalance, "rebalance")
	// If no move failed, the rebalancer rests, as it does after backends came and went.
	if _, _, results := t.moves.counts("rebalance"); f.result == doctor.OK && t.uneven && results != "" {
		return fix("in the end, the servers had different numbers of sessions: "+results, adviseRefused+" (docs/reattach.md#results)")
	}
	return f
}

// judgeLoss judges a phase in which servers were lost.
func (t *test) judgeLoss(phase string) finding {
	moved, _, results := t.moves.counts("loss")
	n, first := t.endsIn(phase)
	if results != "" {
		first += "; moves that failed: " + results
	}
	switch {
	case n > 0 && t.tally.rude:
		return fix(fmt.Sprintf("%s ended: %s", count(n, "session"), first), adviseKit)
	case n > 0:
		return fix(fmt.Sprintf("%s ended: %s", count(n, "session"), first), adviseRefused+"; "+adviseStored)
	case t.cuts[phase] == 0 || moved == 0:
		return fix("no session was moved", adviseServer)
	}
	return ok(fmt.Sprintf("of %s, none ended; all went on after %v", count(t.cuts[phase], "session"), rounded(t.resume[phase])))
}

func (t *test) judgeKill() finding {
	switch {
	case t.o.Kill == "":
		return skipped("give --kill COMMAND, and --start COMMAND")
	case t.killErr != nil:
		return fix(t.killErr.Error(), "check the command; $HOLDFAST_SERVER is the number of the server, $HOLDFAST_URL its URL")
	}
	return t.judgeLoss(phaseKill)
}

// judgeFaults judges kinds of faults in all phases.
func (t *test) judgeFaults(advice string, kinds ...fault) finding {
	t.tally.mu.Lock()
	defer t.tally.mu.Unlock()
	var found []string
	for _, phase := range slices.Sorted(maps.Keys(t.tally.found)) {
		for _, kind := range kinds {
			if f := t.tally.found[phase][kind]; f != nil {
				found = append(found, fmt.Sprintf("%s in phase %s, the first: %s", faultCount(kind, f.count), phase, f.first))
				if kind == stale && (phase == phaseLoss || phase == phaseKill) {
					advice = adviseStored
				}
			}
		}
	}
	if len(found) > 0 {
		return fix(strings.Join(found, "; "), advice)
	}
	text := "none"
	if slices.Contains(kinds, stale) {
		text = "the numbers in both directions continued everywhere"
	}
	forgiven := 0
	for _, kind := range kinds {
		forgiven += t.tally.forgiven[kind]
	}
	if forgiven > 0 {
		text += fmt.Sprintf("; %d on their way when a server was lost", forgiven)
	}
	return ok(text)
}

func (t *test) judgeGap() finding {
	gaps := t.moves.allGaps()
	if len(gaps) == 0 {
		return skipped("no session was moved without a loss")
	}
	text := fmt.Sprintf("clients were not read for %v in the median, %v at most; the longest silence of a server was %v",
		rounded(gaps[len(gaps)/2]), rounded(gaps[len(gaps)-1]), rounded(t.silence))
	switch {
	case gaps[len(gaps)-1] > t.o.MaxGap:
		return fix(text, adviseGap)
	case t.silence > t.o.MaxGap:
		return fix(fmt.Sprintf("%s, in phase %s", text, t.quietIn), adviseGap)
	}
	return ok(text)
}

func faultCount(kind fault, n int) string {
	if n == 1 {
		return "1 " + faultWords[kind][0]
	}
	return fmt.Sprintf("%d %s", n, faultWords[kind][1])
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// rounded rounds a time for display.
func rounded(t time.Duration) time.Duration {
	if t > time.Second {
		return t.Round(10 * time.Millisecond)
	}
	return t.Round(time.Millisecond)
}
