package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// receiveTexts sends a ping, and returns the messages received before its pong and
// within duration after it. timeout limits the wait for the pong and for the rest of
// a frame. The error says how the session ended.
func (c *conn) receiveTexts(duration, timeout time.Duration) (texts []string, err error) {
	defer c.SetDeadline(time.Time{})
	_, err = c.sendPing(timeout)                          // so that a busy server isn't mistaken for a silent one
	if errors.Is(err, errStrangePong) || isTimeout(err) { // another check reports this
		err = nil
	}
	for end := time.Now().Add(duration); err == nil; {
		_ = c.SetDeadline(end)
		if _, err = c.in.Peek(1); isTimeout(err) { // between frames
			err = nil
			break
		}
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(timeout))
			_, _, err = c.nextFrame()
		}
	}
	texts, c.texts = c.texts, nil
	return texts, err
}

// ask sends the question Ask and appends the answer to answers.
func (m *move) ask(c *conn, answers *[]string) {
	c.texts = nil
	_ = c.SetDeadline(time.Now().Add(m.o.Timeout))
	defer c.SetDeadline(time.Time{})
	err := c.send(frame.OpText, []byte(m.o.Ask))
	for err == nil {
		if answer, found := m.answerIn(c.texts); found {
			*answers = append(*answers, answer)
			return
		}
		c.texts = nil
		_, _, err = c.nextFrame()
	}
	var is *closed
	if isTimeout(err) || errors.As(err, &is) {
		m.addFault(fmt.Sprintf("--ask %.40q: %s", m.o.Ask, describeEnd(err)), "use a message that the server answers; if the answer isn't the first message that it sends, select it with --answer")
	} else {
		m.addFault(fmt.Sprintf("after --ask %.40q, %s", m.o.Ask, describeEnd(err)), "use a message that the server answers")
	}
}

// answerIn returns the first answer to Ask among texts.
func (m *move) answerIn(texts []string) (answer string, found bool) {
	for _, text := range texts {
		if m.o.Answer == nil {
			return text, true
		}
		switch groups := m.o.Answer.FindStringSubmatch(text); len(groups) {
		case 0:
		case 1:
			return groups[0], true
		default:
			return groups[1], true
		}
	}
	return "", false
}

// compareAnswers asks other, a session that doesn't move, as often as the moved
// session was asked: before the move, at the end of the old connection, and after
// the move.
func (m *move) compareAnswers(other *conn) {
	if m.o.Ask == "" {
		m.note("the session's state wasn't compared: give --ask")
		return
	}
	if len(m.answersMoved) < 3 {
		m.note("an answer to --ask is missing, so the session's state wasn't compared")
		return
	}
	for range m.answersMoved {
		m.ask(other, &m.answersStayed)
	}
	if len(m.answersStayed) < len(m.answersMoved) {
		return // ask has added a fault
	}
	switch stable := !slices.ContainsFunc(m.answersStayed, func(s string) bool { return s != m.answersStayed[0] }); {
	case slices.Equal(m.answersMoved, m.answersStayed):
		m.note("the moved session answers like one that didn't move")
	case m.answersMoved[0] == m.answersStayed[0] || stable && slices.ContainsFunc(m.answersMoved, func(s string) bool { return s != m.answersMoved[0] }):
		m.addFault(fmt.Sprintf("asked before the move, before the end of the old session and after it, the moved session answers %s; one that didn't move answers %s", quoted(m.answersMoved), quoted(m.answersStayed)), adviseState)
	case stable:
		m.note("its answer is the same before and after the move")
	default:
		m.note("its answers to --ask differ between sessions, so they weren't compared: select the part that doesn't differ with --answer")
	}
}

func quoted(texts []string) string {
	var all []string
	for _, text := range texts {
		all = append(all, fmt.Sprintf("%.40q", text))
	}
	return strings.Join(all, ", ")
}

// isGreeting reports whether text is a greeting of new sessions, apart from words
// that differ between them, such as numbers, times and identifiers.
func (m *move) isGreeting(text string) bool {
	for i, one := range m.greetings[0] {
		other := one
		if i < len(m.greetings[1]) {
			other = m.greetings[1][i]
		}
		if alike(words(one), words(other), words(text)) {
			return true
		}
	}
	return false
}

// alike reports whether text has the words common to one and other in the same
// places, and the same number of words.
func alike(one, other, text []string) bool {
	if len(one) != len(other) {
		other = one
	}
	if len(text) != len(one) {
		return false
	}
	for i, word := range one {
		if word == other[i] && word != text[i] {
			return false
		}
	}
	return true
}

// words splits a text into words and the separators between them. A time, a number
// or an identifier is one word.
func words(text string) (all []string) {
	isWord := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_+/=.:~", r)
	}
	for len(text) > 0 {
		r, _ := utf8.DecodeRuneInString(text)
		first := isWord(r)
		n := strings.IndexFunc(text, func(r rune) bool { return isWord(r) != first })
		if n < 0 {
			n = len(text)
		}
		all, text = append(all, text[:n]), text[n:]
	}
	return all
}
