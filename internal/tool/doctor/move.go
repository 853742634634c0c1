package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// The notices of docs/reattach.md, payloads of pings.
const (
	noticeLeave = "holdfast leave"
	noticeBegin = "holdfast begin"
)

// listenTime is how long to wait for messages that a server sends unasked. It is
// enough for a lookup in a database.
const listenTime = time.Second

const (
	adviseSay        = "give the messages that a client sends first, each with --say"
	adviseNotice     = "set Holdfast-Control: 1 in the 101; on the ping \"holdfast leave\", finish the work, send the last replies, store the state, and then close with 1012"
	adviseBegin      = "send nothing to a session from another server before the ping \"holdfast begin\"; to get it, set Holdfast-Control: 1 in the 101"
	adviseNoGreeting = "send no greeting to a session with Holdfast-Reattach: its client is still connected and got one before"
	adviseState      = "store the session's state under its Holdfast-Session where all servers can read it, and load it once the session has begun"
)

// reattachHeader is what the balancer adds to the second handshake of a session.
func reattachHeader(id, why string) [][2]string {
	return [][2]string{
		{"Holdfast-Session", id}, {"Holdfast-Control", "1"}, {"Holdfast-Reattach", why},
		{"Holdfast-Attempt", "1"}, {"Holdfast-From", "doctor"}, {"Holdfast-Move", "1"},
	}
}

// move moves a session and compares it with another that doesn't move.
type move struct {
	*doctor
	faults   []finding // of check reattach
	notes    []string  // reported if there are no faults
	accepted bool      // the second handshake was answered with 101
	notice   finding   // of check notice

	answersMoved, answersStayed []string    // to Ask
	greetings                   [2][]string // of two new sessions
}

// verdict combines the faults into one finding.
func (m *move) verdict() finding {
	if len(m.faults) == 0 {
		return ok("taken over while the old session was open; " + strings.Join(m.notes, "; "))
	}
	var all finding
	for _, f := range m.faults {
		if strings.Contains(all.advice, f.advice) {
			f.advice = ""
		}
		all = fix(joined(all.found, f.found), joined(all.advice, f.advice))
	}
	return all
}

func joined(a, b string) string { return strings.Trim(a+"; "+b, "; ") }

func (m *move) addFault(found, advice string) { m.faults = append(m.faults, fix(found, advice)) }

func (m *move) note(format string, args ...any) {
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

func (m *move) run(ctx context.Context) {
	m.notice = skipped("no session was moved")
	other := m.openSession(ctx, newSessionID(), 0)
	if other == nil {
		return
	}
	defer other.end()
	id := newSessionID()
	first := m.openSession(ctx, id, 1)
	if first == nil {
		return
	}
	defer first.Close()
	if m.o.Ask != "" {
		m.ask(first, &m.answersMoved)
	}
	second, err := m.dial(ctx, reattachHeader(id, "drain")...)
	if err != nil {
		m.faults = append(m.faults, m.notTaken(err))
		return
	}
	defer second.end()
	m.accepted, second.keepTexts = true, true
	control := m.asksForNotices(first, second)
	if m.checkBothOpen(first, second) {
		m.moveSession(first, second, control)
	}
	m.checkUnknown(ctx)
	m.compareAnswers(other)
}

// openSession opens a session and sends the first messages. After a fault it
// returns nil.
func (m *move) openSession(ctx context.Context, id string, greeting int) *conn {
	c, err := m.dial(ctx, [2]string{"Holdfast-Session", id}, [2]string{"Holdfast-Control", "1"})
	if err != nil {
		f := m.noSession(err)
		f.found = "with Holdfast-Session, " + f.found
		m.faults = append(m.faults, f)
		return nil
	}
	c.keepTexts = true
	m.greetings[greeting], err = c.receiveTexts(listenTime, m.o.Timeout)
	if err == nil {
		err = m.sendFirst(c)
	}
	if err != nil {
		m.addFault("right after the start of a session: "+describeEnd(err), adviseSay)
		c.Close()
		return nil
	}
	return c
}

// sendFirst sends the messages of Say and receives the answers.
func (d *doctor) sendFirst(c *conn) error {
	for _, text := range d.o.Say {
		if err := c.send(frame.OpText, []byte(text)); err != nil {
			return err
		}
	}
	if len(d.o.Say) == 0 {
		return nil
	}
	_, err := c.receiveTexts(listenTime, d.o.Timeout)
	return err
}

// asksForNotices reports whether both 101s ask for notices. If not, it sets the
// finding of the check.
func (m *move) asksForNotices(first, second *conn) bool {
	a, b := first.response.Header.Get("Holdfast-Control"), second.response.Header.Get("Holdfast-Control")
	switch {
	case a == "" && b == "":
		m.notice = skipped("it doesn't ask for notices (no Holdfast-Control in its 101); they are needed if a server reads the next message before it has answered the last, as with async handlers, or if it sends messages unasked")
	case a != b:
		m.notice = fix(fmt.Sprintf("Holdfast-Control was %q in the first 101, but %q in that of the moved session", a, b),
			"ask for notices in every 101 or in none: a session with notices is moved only to a server that asks for them")
	case a != "1":
		m.notice = fix(fmt.Sprintf("Holdfast-Control: %.64q is not 1, so there will be no notices", a), "set Holdfast-Control: 1 in the 101, as it was offered")
	default:
		return true
	}
	return false
}

// checkBothOpen checks that the old session still works after the new one was
// opened. It must continue until the balancer closes it.
func (m *move) checkBothOpen(first, second *conn) bool {
	if _, err := first.sendPing(m.o.Timeout); err != nil {
		m.addFault("after the new session was opened, the old one ended: "+describeEnd(err),
			"allow both connections to be open for a while: the old one still has messages to send and ends later")
		return false
	}
	if _, err := second.sendPing(m.o.Timeout); err != nil {
		m.addFault("the new session doesn't answer pings: "+describeEnd(err), adviseLibrary)
		return false
	}
	return true
}

// moveSession ends the old session and continues with the new one.
func (m *move) moveSession(first, second *conn, control bool) {
	asks := len(m.answersMoved) > 0 // Ask works
	if asks {
		first.texts = nil
		_ = first.send(frame.OpText, []byte(m.o.Ask)) // checkLeave and checkClose read the answer
	}
	if control {
		m.notice = m.checkLeave(first)
	} else if f := first.checkClose(codeServiceRestart, m.o.Timeout); f.result != OK {
		m.faults = append(m.faults, f)
	}
	if asks {
		if answer, found := m.answerIn(first.texts); found {
			m.answersMoved = append(m.answersMoved, answer)
		} else if control {
			m.notice = fix("after \"holdfast leave\", it closed without answering a message that was sent before", adviseNotice)
		} else {
			m.addFault("the answer to a message sent just before the Close was lost", adviseNotice)
		}
	}
	early, err := second.receiveTexts(listenTime, m.o.Timeout)
	m.checkUnasked(early, control, "before the old session had ended")
	if err == nil && control {
		_ = second.send(frame.OpPing, []byte(noticeBegin)) // sendPing reports an error
		var late []string
		late, err = second.receiveTexts(listenTime, m.o.Timeout)
		m.checkUnasked(late, control, "after \"holdfast begin\"")
	}
	if err == nil {
		_, err = second.sendPing(m.o.Timeout)
	}
	if err != nil {
		m.addFault("when the old session ended, the new one ended too: "+describeEnd(err),
			"separate the state of a connection from the state of the session")
		return
	}
	if asks {
		m.ask(second, &m.answersMoved)
	}
}

// checkLeave tells the old server to leave and checks how it closes the session.
func (m *move) checkLeave(first *conn) finding {
	began := time.Now()
	_ = first.SetDeadline(began.Add(m.o.Timeout))
	err := first.send(frame.OpPing, []byte(noticeLeave))
	for err == nil {
		_, err = first.next()
	}
	var c *closed
	switch {
	case isTimeout(err):
		return fix(fmt.Sprintf("after \"holdfast leave\", it sent no Close within %v", m.o.Timeout), adviseNotice)
	case !errors.As(err, &c):
		return fix("after \"holdfast leave\": "+describeEnd(err), adviseNotice)
	case c.code != codeServiceRestart && c.code != codeGoingAway && c.code != codeTryAgain && c.code != 0:
		return fix(fmt.Sprintf("after \"holdfast leave\", it closed with %d, which ends the session for its client", c.code), adviseNotice)
	}
	took := rounded(time.Since(began))
	if err := first.sendClose(c.code); err == nil {
		_, err = first.in.ReadByte()
		if err == nil {
			return fix("it sent something after its Close", "send nothing after a Close (RFC 6455 §5.5.1)")
		}
		if isTimeout(err) {
			return fix("after its Close and our answer, it keeps the connection open", "close the connection after both Close frames (RFC 6455 §7.1.1)")
		}
	}
	return ok(fmt.Sprintf("after \"holdfast leave\", it closed with %d after %v; the new session sent nothing before \"holdfast begin\"", c.code, took))
}

// checkUnasked checks the messages that the new server sent unasked.
func (m *move) checkUnasked(texts []string, control bool, when string) {
	for _, text := range texts {
		switch {
		case m.isGreeting(text):
			m.addFault(fmt.Sprintf("%s, it greeted the moved session like a new one: %.80q", when, text), adviseNoGreeting)
			return
		case strings.HasPrefix(when, "after"):
		case control:
			m.notice = fix(fmt.Sprintf("before \"holdfast begin\", the new session sent %.80q", text), adviseBegin)
		default:
			m.addFault(fmt.Sprintf("the new session sent a message before the old one had ended: %.80q", text), adviseBegin)
			return
		}
	}
}

// checkUnknown opens a moved session that never existed. A server must not accept
// it: it would start from scratch with a client that expects its session.
func (m *move) checkUnknown(ctx context.Context) {
	if m.o.Stateless {
		m.note("--stateless: it may take over unknown sessions")
		return
	}
	const advice = "answer 404 to a Holdfast-Reattach whose session you don't know, instead of starting a new session: the balancer asks another server. If the server keeps no state of sessions, give --stateless; if its sessions needn't move, give --no-reattach"
	c, err := m.dial(ctx, reattachHeader(newSessionID(), "drain")...)
	var no *refused
	switch {
	case errors.As(err, &no) && no.status < 500:
		m.note("an unknown session is %s", no.Error())
		return
	case errors.As(err, &no) && no.status == http.StatusServiceUnavailable:
		m.addFault("an unknown session is "+no.Error()+", which means that it may be known soon", advice)
		return
	case err != nil:
		m.addFault("an unknown session: "+describeEnd(err), advice)
		return
	}
	defer c.end()
	c.keepTexts = true
	if _, err = c.receiveTexts(listenTime, m.o.Timeout); err == nil {
		m.addFault("it took over an unknown session", advice)
		return
	}
	m.note("an unknown session is closed")
}
