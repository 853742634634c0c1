package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/backend"
)

// Limits on what a page may send, documented in docs/chat.md.
const (
	maxName   = 32   // characters
	maxRoom   = 32   // characters
	maxText   = 2000 // characters
	maxMember = 64   // bytes
	maxKey    = 64   // bytes
	// maxFrame is enough for a post whose characters take four bytes each or
	// are escaped. In bytes.
	maxFrame = 16 << 10
	// historySize is the number of messages that a new page gets.
	historySize = 50
)

// Request is a message from a page. Type determines which fields are used.
type Request struct {
	Type string `json:"type"` // "join", "resume", "post" or "typing"

	Who          // for join
	Since string `json:"since,omitempty"` // for join and resume: ID of the last message the page has

	Key  string `json:"key,omitempty"`  // for post: chosen by the page
	Text string `json:"text,omitempty"` // for post
}

// Who is the state of a session. It is stored where all servers can read it, see
// [Sessions].
type Who struct {
	Member string `json:"member,omitempty"` // ID chosen by the page, the same for all its connections
	Name   string `json:"name,omitempty"`
	Room   string `json:"room,omitempty"`
}

// Post is a message in a room's history.
type Post struct {
	Key    string `json:"key"`
	Member string `json:"member"`
	Name   string `json:"name"`
	Text   string `json:"text"`
	Server string `json:"server"` // name of the server that published it
}

// Person is a member of a room.
type Person struct {
	Member string `json:"member"`
	Name   string `json:"name"`
}

// Messages to a page.
type (
	// Hello is the first message of each server.
	Hello struct {
		Type     string      `json:"type"` // "hello"
		Server   string      `json:"server"`
		Session  string      `json:"session,omitempty"`
		Reattach backend.Why `json:"reattach,omitempty"` // why the session comes from another server
	}
	// Joined answers join and resume. The room's messages follow.
	Joined struct {
		Type   string   `json:"type"` // "joined"
		Room   string   `json:"room"`
		People []Person `json:"people"`
	}
	// Message is a message in the room.
	Message struct {
		Type string          `json:"type"` // "message"
		ID   string          `json:"id"`
		Time int64           `json:"time"` // Unix time, in milliseconds
		Post json.RawMessage `json:"post"` // a Post
	}
	// Presence means that somebody has joined or left the room.
	Presence struct {
		Type string `json:"type"` // "here" or "gone"
		Person
	}
	// Typing means that somebody is typing.
	Typing struct {
		Type string `json:"type"` // "typing"
		Person
	}
	// Gap means that messages are missing here.
	Gap struct {
		Type string `json:"type"` // "gap"
	}
	// Refused answers a post that wasn't published. If Retry is true, the page
	// may send it again later with the same key.
	Refused struct {
		Type   string `json:"type"` // "refused"
		Key    string `json:"key"`
		Reason string `json:"reason"`
		Retry  bool   `json:"retry,omitempty"`
	}
)

// clean returns w without control characters and surrounding space, or an error if
// it exceeds the limits.
func (w Who) clean() (Who, error) {
	w.Name = oneLine(w.Name)
	w.Room = oneLine(w.Room)
	if w.Name == "" {
		w.Name = "somebody"
	}
	switch {
	case w.Member == "" || len(w.Member) > maxMember:
		return w, fmt.Errorf("the member ID must have 1 to %d bytes", maxMember)
	case w.Room == "":
		return w, errors.New("the room has no name")
	case utf8.RuneCountInString(w.Room) > maxRoom:
		return w, fmt.Errorf("the room's name has more than %d characters", maxRoom)
	case utf8.RuneCountInString(w.Name) > maxName:
		return w, fmt.Errorf("the name has more than %d characters", maxName)
	}
	return w, nil
}

// cleanText returns the text of a post without control characters and surrounding
// space, or an error if the post exceeds the limits.
func (r Request) cleanText() (string, error) {
	text := strings.TrimSpace(withoutControls(r.Text, "\n\t"))
	switch {
	case r.Key == "" || len(r.Key) > maxKey:
		return "", fmt.Errorf("the key must have 1 to %d bytes", maxKey)
	case text == "":
		return "", errors.New("the message is empty")
	case utf8.RuneCountInString(text) > maxText:
		return "", fmt.Errorf("the message has more than %d characters", maxText)
	}
	return text, nil
}

func oneLine(s string) string { return strings.TrimSpace(withoutControls(s, "")) }

// withoutControls removes control characters except those in keep.
func withoutControls(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !strings.ContainsRune(keep, r) {
			return -1
		}
		return r
	}, s)
}
