package demo

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxName = 32   // characters
	maxText = 2000 // characters
	maxKey  = 64   // bytes
	// maxFrame holds a post whose characters take four bytes, or are escaped.
	maxFrame = 16 << 10
)

// message is one chat message, numbered by the hub.
type message struct {
	ID     uint64    `json:"id"` // 1, 2, 3, … in the order the hub took them
	Key    string    `json:"key"`
	Name   string    `json:"name"`
	Text   string    `json:"text"`
	Server string    `json:"server"` // the server it was posted through
	Time   time.Time `json:"time"`
}

// post is a message on its way to the hub.
type post struct {
	// Key is chosen by the page. A page that does not know whether a message
	// arrived before its connection broke sends it again with the same key.
	Key  string `json:"key"`
	Name string `json:"name"`
	Text string `json:"text"`
}

// clean returns p as it may be shown to others, or what is wrong with it.
func (p post) clean() (post, error) {
	p.Name = strings.TrimSpace(withoutControls(p.Name, ""))
	p.Text = strings.TrimSpace(withoutControls(p.Text, "\n\t"))
	if p.Name == "" {
		p.Name = "somebody"
	}
	switch {
	case p.Key == "" || len(p.Key) > maxKey:
		return p, fmt.Errorf("the key must have 1 to %d bytes", maxKey)
	case p.Text == "":
		return p, errors.New("the message is empty")
	case utf8.RuneCountInString(p.Text) > maxText:
		return p, fmt.Errorf("the message has more than %d characters", maxText)
	case utf8.RuneCountInString(p.Name) > maxName:
		return p, fmt.Errorf("the name has more than %d characters", maxName)
	}
	return p, nil
}

// withoutControls drops control characters but those in keep.
func withoutControls(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !strings.ContainsRune(keep, r) {
			return -1
		}
		return r
	}, s)
}

// historySize is the number of messages that are kept for those who resume.
const historySize = 50

// history is the last messages, by rising ID.
type history struct{ messages []message }

func (h *history) add(m message) {
	if len(h.messages) == historySize {
		h.messages = append(h.messages[:0], h.messages[1:]...)
	}
	h.messages = append(h.messages, m)
}

// last is the newest message's ID, 0 when there is none.
func (h *history) last() uint64 {
	if len(h.messages) == 0 {
		return 0
	}
	return h.messages[len(h.messages)-1].ID
}

// after returns a copy of the messages newer than id.
func (h *history) after(id uint64) []message {
	for i, m := range h.messages {
		if m.ID > id {
			return append([]message(nil), h.messages[i:]...)
		}
	}
	return nil
}

// lost is the number of messages newer than id that are no longer kept.
func (h *history) lost(id uint64) uint64 {
	if len(h.messages) == 0 {
		return 0
	}
	// IDs start at 1; id comes from a client and can be anything.
	if gone := h.messages[0].ID - 1; gone > id {
		return gone - id
	}
	return 0
}
