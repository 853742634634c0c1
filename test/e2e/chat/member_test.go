//go:build unix

package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
)

// chatMember is a member of a chat room that acts like the chat's page: it
// reconnects, asks for messages after the last one that it has, and repeats
// posts that it hasn't seen arrive, with the same key.
type chatMember struct {
	address, id, name, room string
	cancel                  context.CancelFunc
	over                    chan struct{} // closed when run has returned

	mu      sync.Mutex   // guards the following
	wire    *wspeer.Conn // nil while there is none
	present bool         // the server has said "joined"
	got     []chatMessage
	unseen  map[string]string // text by key, of what was posted and hasn't come
	posted  int
	people  map[string]bool // by id, who is said to be in the room
	gone    []string        // ids, as reported
	gaps    int
	served  []string       // the servers that have said hello
	moves   map[string]int // reattaches by reason
	endings map[string]int // by how a connection ended
}

type chatMessage struct {
	ID   string
	Post struct{ Key, Member, Name, Text, Server string }
	at   time.Time
}

// chatFrame is any message of a server.
type chatFrame struct {
	Type, Server, Reattach string
	People                 []struct{ Member string }
	Member, Key, Reason    string
	Retry                  bool
	chatMessage
}

func newChatMember(address, id, room string) *chatMember {
	return &chatMember{
		address: address, id: id, name: "name of " + id, room: room, over: make(chan struct{}),
		unseen: map[string]string{}, people: map[string]bool{}, moves: map[string]int{}, endings: map[string]int{},
	}
}

// enterChat makes a member join. At the end of the test it leaves.
func enterChat(t testing.TB, address, id, room string) *chatMember {
	t.Helper()
	m := newChatMember(address, id, room)
	m.start()
	t.Cleanup(m.leave)
	m.awaitPresent(t)
	return m
}

// start has it come, and come again, until leave is called.
func (m *chatMember) start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go m.run(ctx)
}

// leave closes the connection, and returns when the server has answered.
func (m *chatMember) leave() {
	m.cancel()
	m.mu.Lock()
	w := m.wire
	m.mu.Unlock()
	if w != nil {
		w.SendClose(1000, "")
	}
	<-m.over
}

// lose cuts the connection without a Close frame.
func (m *chatMember) lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wire != nil {
		m.wire.Close()
	}
}

func (m *chatMember) awaitPresent(t testing.TB) {
	t.Helper()
	testkit.Eventually(t, m.id+" in the room", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.present
	})
}

func (m *chatMember) run(ctx context.Context) {
	defer close(m.over)
	const first, most = 100 * time.Millisecond, 5 * time.Second
	retry := first
	for ctx.Err() == nil {
		err := m.connect(ctx)
		m.mu.Lock()
		if c, ok := err.(*wspeer.CloseError); ok {
			m.endings[c.Error()]++
		} else {
			m.endings["lost"]++
		}
		if m.present {
			retry = first
		}
		m.wire, m.present = nil, false
		m.mu.Unlock()
		select {
		case <-time.After(retry/2 + rand.N(retry/2)):
		case <-ctx.Done():
		}
		retry = min(2*retry, most)
	}
}

// connect is one connection, from beginning to end.
func (m *chatMember) connect(ctx context.Context) error {
	w, _, err := wspeer.Dial(m.address, "/ws")
	if err != nil {
		return err
	}
	defer w.Close()
	m.mu.Lock()
	m.wire = w
	m.say(map[string]string{"type": "join", "member": m.id, "name": m.name, "room": m.room, "since": m.since()})
	m.mu.Unlock()
	if ctx.Err() != nil {
		w.SendClose(1000, "") // leave may have come before there was a wire
	}
	for {
		text, err := w.Message()
		if c, ok := err.(*wspeer.CloseError); ok {
			w.SendClose(c.Code, "")
		}
		if err != nil {
			return err
		}
		if err := m.take(text); err != nil {
			return err
		}
	}
}

func (m *chatMember) take(text string) error {
	var f chatFrame
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch f.Type {
	case "hello":
		m.served = append(m.served, f.Server)
		if f.Reattach != "" {
			m.moves[f.Reattach]++
			m.say(map[string]string{"type": "resume", "since": m.since()})
		}
	case "joined":
		m.present = true
		clear(m.people)
		for _, p := range f.People {
			m.people[p.Member] = true
		}
		for key, text := range m.unseen {
			m.sayPost(key, text)
		}
	case "message":
		f.at = time.Now()
		m.got = append(m.got, f.chatMessage)
		if f.Post.Member == m.id {
			delete(m.unseen, f.Post.Key)
		}
	case "here":
		m.people[f.Member] = true
	case "gone":
		delete(m.people, f.Member)
		m.gone = append(m.gone, f.Member)
	case "gap":
		m.gaps++
	case "refused":
		if !f.Retry {
			return fmt.Errorf("a post was refused: %s", f.Reason)
		}
		time.AfterFunc(500*time.Millisecond+rand.N(time.Second), func() { m.postAgain(f.Key) })
	}
	return nil
}

// since is the ID of the last message. The caller holds the mutex.
func (m *chatMember) since() string {
	if len(m.got) == 0 {
		return ""
	}
	return m.got[len(m.got)-1].ID
}

// post sends a message to the room, as soon as there is a connection.
func (m *chatMember) post(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.posted++
	key := fmt.Sprintf("%d", m.posted)
	m.unseen[key] = text
	if m.present {
		m.sayPost(key, text)
	}
}

func (m *chatMember) postAgain(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if text, ok := m.unseen[key]; ok && m.present {
		m.sayPost(key, text)
	}
}

func (m *chatMember) sayPost(key, text string) {
	m.say(map[string]string{"type": "post", "key": key, "text": text})
}

// say needs the mutex. What can't be sent is said again on the next connection.
func (m *chatMember) say(v any) {
	data, err := json.Marshal(v)
	if err == nil && m.wire != nil {
		m.wire.SendText(string(data))
	}
}

// texts are the messages it has, in the order they came.
func (m *chatMember) texts() (all []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, got := range m.got {
		all = append(all, got.Post.Text)
	}
	return all
}

func (m *chatMember) awaitMessages(t testing.TB, n int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%d messages of %s", n, m.id), func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.got) >= n
	})
}
