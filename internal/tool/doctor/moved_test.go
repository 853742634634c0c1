package doctor

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Defects in how a server takes over and gives away sessions.
const (
	takesUnknown    = "takes over unknown sessions"
	unsureOfUnknown = "503 for unknown sessions"
	closesUnknown   = "closes unknown sessions after the 101"
	greetsMoved     = "a greeting for moved sessions"
	greetsLate      = "a greeting for moved sessions, after holdfast begin"
	sendsEarly      = "messages before holdfast begin"
	losesState      = "loses the state when a session moves"
	wrongState      = "wrong state after a move"
	closesTooSoon   = "a Close before the last answer"
	neverLeaves     = "no Close after holdfast leave"
	leavesWith4000  = "Close 4000 after holdfast leave"
	leavesWithout   = "no Close frame after holdfast leave"
	sendsAfterLeave = "messages after the Close that answers holdfast leave"
	staysAfterLeave = "a connection that stays open after holdfast leave"
	controlOnce     = "Holdfast-Control only in the first 101"
	strangeControl  = "another version of Holdfast-Control"
	noControl       = "no notices"
	slowAnswers     = "slow answers"
	randomAnswers   = "random answers"
	neverAnswers    = "no answer to messages"
)

// answerTime is how long a slow answer to the question takes.
const answerTime = 2 * time.Second

func isNotice(payload []byte) bool {
	return string(payload) == noticeLeave || string(payload) == noticeBegin
}

// refusesUnknown reports whether to refuse a session. It requires s.mu, like control.
func (s *server) refusesUnknown(r *http.Request) bool {
	_, known := s.counts[r.Header.Get("Holdfast-Session")]
	return !known && !s.defects[takesUnknown] && !s.defects[closesUnknown]
}

func (s *server) control(r *http.Request, moved bool) string {
	switch {
	case r.Header.Get("Holdfast-Control") != "1", s.defects[noControl], moved && s.defects[controlOnce]:
		return ""
	case s.defects[strangeControl]:
		return "yes"
	}
	return "1"
}

func (p *peer) sendText(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.send(0x81, []byte(text)...)
}

// greet sends what a server sends unasked at the start of a session.
func (s *server) greet(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.counts[p.id]
	if !known && p.moved && s.defects[closesUnknown] {
		p.send(0x88, 0x03, 0xf4)
	}
	if !p.moved || s.defects[losesState] {
		s.counts[p.id] = 0
	}
	switch {
	case !p.moved, s.defects[greetsMoved]:
		p.sendText(`{"hello":%q,"at":"%s"}`, p.id, time.Now().Format(time.RFC3339Nano))
	case s.defects[sendsEarly]:
		p.sendText(`{"back":%q}`, p.id)
	}
}

// count answers a message with the number of messages so far.
func (s *server) count(p *peer, text string) {
	answer := func() {
		s.mu.Lock()
		s.counts[p.id]++
		n := s.counts[p.id]
		s.mu.Unlock()
		switch {
		case s.defects[neverAnswers]:
		case s.defects[randomAnswers]:
			p.sendText("message %d", time.Now().UnixNano())
		case s.defects[wrongState] && p.moved:
			p.sendText("message %d", n+100)
		default:
			p.sendText("news")
			p.sendText("message %d of %s", n, p.id)
		}
	}
	if text != testQuestion || !s.defects[slowAnswers] && !s.defects[closesTooSoon] {
		answer()
		return
	}
	p.working.Go(func() {
		if s.sleep(answerTime) {
			answer()
		}
	})
}

// onNotice handles pings that are notices.
func (s *server) onNotice(p *peer, payload string) {
	switch {
	case payload == noticeBegin && s.defects[greetsLate]:
		p.sendText(`{"hello":%q,"at":"%s"}`, p.id, time.Now().Format(time.RFC3339Nano))
	case payload == noticeBegin:
		p.sendText(`{"back":%q}`, p.id)
	case payload != noticeLeave, s.defects[neverLeaves]:
	case s.defects[leavesWithout]:
		p.Close()
	case s.defects[leavesWith4000]:
		p.left = true
		p.send(0x88, 0x0f, 0xa0)
	default:
		if !s.defects[closesTooSoon] {
			p.working.Wait()
		}
		p.left = true
		p.send(0x88, 0x03, 0xf4)
		switch {
		case s.defects[sendsAfterLeave]:
			p.sendText("one more thing")
		case s.defects[staysAfterLeave]:
			<-s.ended
		}
	}
}

func TestDefectsInMoves(t *testing.T) {
	const reattach, notice = "reattach", "notice"
	testFindings(t, false, []findings{
		{takesUnknown, []string{reattach}, nil, "it took over an unknown session"},
		{unsureOfUnknown, []string{reattach}, nil, "an unknown session is answered with 503"},
		{closesUnknown, nil, nil, ""},
		{greetsMoved, []string{reattach}, nil, `before the old session had ended, it greeted the moved session like a new one: "{\"hello\":`},
		{greetsLate, []string{reattach}, nil, `after "holdfast begin", it greeted the moved session like a new one: "{\"hello\":`},
		{sendsEarly, []string{notice}, nil, `before "holdfast begin", the new session sent "{\"back\":`},
		{losesState, []string{reattach}, nil, `the moved session answers "3", "1", "2"; one that didn't move answers "3", "4", "5"`},
		{wrongState, []string{reattach}, nil, `the moved session answers "3", "4", "105"; one that didn't move answers "3", "4", "5"`},
		{closesTooSoon, []string{notice}, nil, "it closed without answering a message that was sent before"},
		{neverLeaves, []string{notice}, nil, "it sent no Close within 3s"},
		{leavesWith4000, []string{notice}, nil, "it closed with 4000, which ends the session for its client"},
		{leavesWithout, []string{notice}, nil, "after \"holdfast leave\": the connection ended without a Close frame"},
		{sendsAfterLeave, []string{notice}, nil, "sent something after its Close"},
		{staysAfterLeave, []string{notice}, nil, "it keeps the connection open"},
		{controlOnce, []string{notice}, nil, `Holdfast-Control was "1" in the first 101, but "" in that of the moved session`},
		{strangeControl, []string{notice}, nil, `Holdfast-Control: "yes" is not 1`},
		{noControl, nil, []string{notice}, ""},
		{slowAnswers, nil, nil, ""},
		{randomAnswers, nil, nil, ""},
		{neverAnswers, []string{reattach}, nil, `--ask "how many?": no answer in time`},
		{noControl + " + " + slowAnswers, []string{reattach}, []string{notice}, "the answer to a message sent just before the Close was lost"},
		{noControl + " + " + sendsEarly, []string{reattach}, []string{notice}, `the new session sent a message before the old one had ended: "{\"back\":`},
		{noControl + " + " + greetsMoved, []string{reattach}, []string{notice}, `it greeted the moved session like a new one`},
		{takesUnknown + " + " + losesState, []string{reattach}, nil, "it took over an unknown session; asked before the move"},
	})
}

// A server without state may take over unknown sessions.
func TestStateless(t *testing.T) {
	s := serveWith(t, takesUnknown)
	o := optionsFor(s.listener.Addr().String(), nil)
	o.Drain, o.Say, o.Ask, o.Answer, o.Idle = false, nil, "", nil, time.Millisecond
	for _, o.Stateless = range []bool{false, true} {
		r, err := Examine(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if toFix, _ := results(r); o.Stateless != (len(toFix) == 0) {
			t.Errorf("stateless %v: %s", o.Stateless, text(r))
		}
	}
}

func TestGreetingsAreAlike(t *testing.T) {
	for _, c := range []struct {
		one, other, text string
		want             bool
	}{
		{"welcome", "welcome", "welcome", true},
		{"welcome", "welcome", "welcome back", false},
		{"welcome, 17", "welcome, 18", "welcome, 20", true},
		{"at 2026-11-28T19:00:00.123Z", "at 2026-11-28T19:00:01Z", "at 2026-11-28T19:00:02.5Z", true},
		{`{"id":"a-b_c"}`, `{"id":"d_ef+g/h="}`, `{"id":"xyz"}`, true},
		{`{"id":"a"}`, `{"id":"b"}`, `{"id":"c","reattach":"drain"}`, false},
		{"tick 1", "tick 1", "tick 2", false},
		{"one two", "one", "one two", true},
		{"žluť 1", "žluť 2", "žluť 3", true},
		{"", "", "", true},
		{"\xff a", "\xff b", "\xff c", true},
	} {
		if got := alike(words(c.one), words(c.other), words(c.text)); got != c.want {
			t.Errorf("%q, %q, then %q: %v", c.one, c.other, c.text, got)
		}
	}
}
