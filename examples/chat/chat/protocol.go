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

// Bounds on what a page may send. docs/chat.md has them too.
const (
	maxName   = 32   // characters
	maxRoom   = 32   // characters
	maxText   = 2000 // characters
	maxMember = 64   // bytes
	maxKey    = 64   // bytes
	// maxFrame holds a post whose characters take four bytes, or are escaped.
	maxFrame = 16 << 10
	// historySize is how many of the last messages one gets who is new.
	historySize = 50
)

// Request is what a page sends. Which fields count depends on the type.
type Request struct {
	Type string `json:"type"` // "join", "resume", "post" or "typing"

	Who          // of join
	Since string `json:"since,omitempty"` // of join and resume: ID of the last message it has

	Key  string `json:"key,omitempty"`  // of post: chosen by the page
	Text string `json:"text,omitempty"` // of post
}

// Who is what a server has to know of a session beside its connection. It is
// kept where all servers find it, see [Sessions].
type Who struct {
	Member string `json:"member,omitempty"` // the page's ID, the same in all its connections
	Name   string `json:"name,omitempty"`
	Room   string `json:"room,omitempty"`
}

// Post is what a room keeps of a message.
type Post struct {
	Key    string `json:"key"`
	Member string `json:"member"`
	Name   string `json:"name"`
	Text   string `json:"text"`
	Server string `json:"server"` // the server it was posted through
}

// Person is one who is in a room.
type Person struct {
	Member string `json:"member"`
	Name   string `json:"name"`
}

// What a page gets, by its type.
type (
	// Hello is the first that each server says.
	Hello struct {
		Type     string      `json:"type"` // "hello"
		Server   string      `json:"server"`
		Session  string      `json:"session,omitempty"`
		Reattach backend.Why `json:"reattach,omitempty"` // why another server has the session
	}
	// Joined answers join and resume. The messages follow.
	Joined struct {
		Type   string   `json:"type"` // "joined"
		Room   string   `json:"room"`
		People []Person `json:"people"`
	}
	// Message is one that was posted to the room.
	Message struct {
		Type string          `json:"type"` // "message"
		ID   string          `json:"id"`
		Time int64           `json:"time"` // Unix time, in milliseconds
		Post json.RawMessage `json:"post"` // a Post
	}
	// Presence says that somebody has come or gone.
	Presence struct {
		Type string `json:"type"` // "here" or "gone"
		Person
	}
	// Typing says that somebody writes.
	Typing struct {
		Type string `json:"type"` // "typing"
		Person
	}
	// Gap says that messages are missing at this place.
	Gap struct {
		Type string `json:"type"` // "gap"
	}
	// Refused answers a post that wasn't published; with Retry, it may be
	// posted again later with the same key.
	Refused struct {
		Type   string `json:"type"` // "refused"
		Key    string `json:"key"`
		Reason string `json:"reason"`
		Retry  bool   `json:"retry,omitempty"`
	}
)

// clean returns w as it may be shown to others, or what is wrong with it.
func (w Who) clean() (Who, error) {
	w.Name = oneLine(w.Name)
	w.Room = oneLine(w.Room)
	if w.Name == "" {
		w.Name = "somebody"
	}
	switch {
	case w.Member == "" || len(w.Member) > maxMember:
		return w, fmt.Errorf("a member's ID has 1 to %d bytes", maxMember)
	case w.Room == "":
		return w, errors.New("a room has a name")
	case utf8.RuneCountInString(w.Room) > maxRoom:
		return w, fmt.Errorf("a room's name has %d characters at most", maxRoom)
	case utf8.RuneCountInString(w.Name) > maxName:
		return w, fmt.Errorf("a name has %d characters at most", maxName)
	}
	return w, nil
}

// cleanText returns the text of a post as it may be shown to others, or what
// is wrong with the post.
func (r Request) cleanText() (string, error) {
	text := strings.TrimSpace(withoutControls(r.Text, "\n\t"))
	switch {
	case r.Key == "" || len(r.Key) > maxKey:
		return "", fmt.Errorf("the key has 1 to %d bytes", maxKey)
	case text == "":
		return "", errors.New("the message is empty")
	case utf8.RuneCountInString(text) > maxText:
		return "", fmt.Errorf("a message has %d characters at most", maxText)
	}
	return text, nil
}

func oneLine(s string) string { return strings.TrimSpace(withoutControls(s, "")) }

// withoutControls drops control characters but those in keep.
func withoutControls(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !strings.ContainsRune(keep, r) {
			return -1
		}
		return r
	}, s)
}
