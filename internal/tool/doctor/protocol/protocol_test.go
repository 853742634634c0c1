package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script is a connection to a server that sends what it is told to.
type script struct {
	in   chan message
	sent []message
}

type message struct {
	binary bool
	data   string
}

func newScript(messages ...string) *script {
	s := &script{in: make(chan message, 100)}
	for _, m := range messages {
		data, binary := strings.CutPrefix(m, "binary ")
		s.in <- message{binary, data}
	}
	return s
}

func (s *script) Send(_ context.Context, binary bool, data []byte) error {
	s.sent = append(s.sent, message{binary, string(data)})
	return nil
}

func (s *script) Receive(ctx context.Context) (bool, []byte, error) {
	select {
	case m, ok := <-s.in:
		if !ok {
			return false, nil, io.EOF
		}
		return m.binary, []byte(m.data), nil
	case <-ctx.Done():
		return false, nil, ctx.Err()
	}
}

// said returns what the client has sent since the last call, apart from binaries.
func (s *script) said() (texts []string) {
	for _, m := range s.sent {
		if !m.binary {
			texts = append(texts, m.data)
		}
	}
	s.sent = nil
	return texts
}

const (
	open      = `0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	connected = `40{"sid":"b"}`
)

func TestSocketIO(t *testing.T) {
	ctx := t.Context()
	c := newScript(open, "2", connected)
	p, err := Find("socketio")
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Auth(`{"token":"t"}`).Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(s.Ask(ctx, 1, 0))
	must(s.Ask(ctx, 5, time.Second))
	must(s.Start(ctx, 50*time.Millisecond))
	must(s.Join(ctx, "room"))
	must(s.Tell(ctx, "room", "me", 3))
	want := []string{`40{"token":"t"}`, "3", `421["holdfast:echo",1,0]`, `451-5["holdfast:echo",5,1000,{"_placeholder":true,"num":0}]`,
		`42["holdfast:start",50]`, `42["holdfast:join","room"]`, `42["holdfast:broadcast","room","me",3]`}
	attached := ""
	for _, m := range c.sent {
		if m.binary {
			attached = m.data
		}
	}
	if got := c.said(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("sent %q, want %q", got, want)
	}
	for _, m := range []string{`431[1,0]`, `461-5[5,4,{"_placeholder":true,"num":0}]`, "binary " + attached, "6", `42["other",1]`, `427["holdfast:event",9]`,
		`42["holdfast:acked",9]`, `42["holdfast:broadcast","you",4,"an offset"]`} {
		data, binary := strings.CutPrefix(m, "binary ")
		c.in <- message{binary, data}
	}
	var event Message
	for _, want := range []Message{{Kind: Answer, N: 1}, {Kind: Answer, N: 5, Last: 4}, {Kind: Event, N: 9, id: 7}, {Kind: Confirmed, N: 9}, {Kind: Told, N: 4, From: "you"}} {
		got, err := s.Next(ctx)
		if err != nil || got != want && !(got.Kind != Event && got.Kind == want.Kind && got.N == want.N && got.Last == want.Last && got.From == want.From) {
			t.Errorf("%+v (%v), want %+v", got, err, want)
		}
		if got.Kind == Event {
			event = got
		}
	}
	must(s.Confirm(ctx, event))
	if got := c.said(); len(got) != 1 || got[0] != "437[9]" {
		t.Errorf("the confirmation is %q", got)
	}
	must(s.Confirm(ctx, Message{Kind: Event, N: 1, id: -1}))
	if got := c.said(); len(got) != 0 {
		t.Errorf("it confirmed an event that asks for nothing: %q", got)
	}
	close(c.in)
	if _, err := s.Next(ctx); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestWrongSocketIO(t *testing.T) {
	for _, c := range []struct {
		messages   []string
		want       string
		newSession bool
	}{
		{[]string{"hello"}, "isn't an open packet", false},
		{[]string{"0{}"}, "lacks sid", false},
		{[]string{open, `44{"message":"no"}`}, "refuses the client", false},
		{[]string{open, connected, open}, "an open packet in the middle", true},
		{[]string{open, connected, connected}, "a second answer to the client's CONNECT", true},
		{[]string{open, connected, `44{"message":"no"}`}, "CONNECT_ERROR", true},
		{[]string{open, connected, "41"}, "a DISCONNECT packet", false},
		{[]string{open, connected, "1"}, "a close packet", false},
		{[]string{open, connected, "9"}, "an unknown packet", false},
		{[]string{open, connected, ""}, "an empty message", false},
		{[]string{open, connected, "4x"}, "unknown type of packet", false},
		{[]string{open, connected, "binary x"}, "an attachment without a packet: 1 bytes, 78", false},
		{[]string{open, connected, "431[2,1]"}, "message 1 was answered with 2,1", false},
		{[]string{open, connected, "431[1]"}, "message 1 was answered with 1", false},
		{[]string{open, connected, "435[5,4]"}, "the attachment of message 5 came back as 0 bytes", false},
		{[]string{open, connected, `461-5[5,4,{"_placeholder":true,"num":0}]`, "binary x"}, "the attachment of message 5 came back as 1 bytes", false},
	} {
		conn := newScript(c.messages...)
		p, _ := Find("socketio")
		s, err := p.Start(t.Context(), conn)
		if err == nil {
			_, err = s.Next(t.Context())
		}
		var wrong *Error
		if !errors.As(err, &wrong) || !strings.Contains(wrong.What, c.want) || wrong.NewSession != c.newSession {
			t.Errorf("%q: %v, want %q", c.messages, err, c.want)
		}
	}
}

// Clients of Socket.IO give up if the server's pings stay away, as after a move to a server
// that doesn't continue them.
func TestPingsStayAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newScript(open, connected)
		p, _ := Find("socketio")
		s, err := p.Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(40 * time.Second)
			c.in <- message{false, "2"}
		}()
		began := time.Now()
		_, err = s.Next(t.Context())
		var wrong *Error
		if !errors.As(err, &wrong) || !strings.Contains(wrong.What, "no ping of Engine.IO for 45s") {
			t.Error(err)
		}
		if took := time.Since(began); took != 85*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

func TestText(t *testing.T) {
	c := newScript("hello", "echo 3 2", "binary event 1", "event -1", "event 4", "echo 1", "acked 4")
	p, err := Find("text")
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Message{{Kind: Answer, N: 3, Last: 2}, {Kind: Event, N: 4}, {Kind: Confirmed, N: 4}} {
		if got, err := s.Next(t.Context()); err != nil || got != want {
			t.Errorf("%+v (%v), want %+v", got, err, want)
		}
	}
	for _, err := range []error{s.Ask(t.Context(), 3, time.Second), s.Start(t.Context(), time.Minute), s.Confirm(t.Context(), Message{N: 4}), s.Join(t.Context(), "a"), s.Tell(t.Context(), "a", "b", 1)} {
		if err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(c.said(), ", "); got != "echo 3 1000, start 60000, ack 4" {
		t.Errorf("it sent %s", got)
	}
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]string{
		"ws://a":               "/socket.io/?EIO=4&transport=websocket",
		"ws://a/":              "/socket.io/?EIO=4&transport=websocket",
		"ws://a/chat/?x=1%202": "/chat/?EIO=4&transport=websocket&x=1+2",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := socketioTarget(u); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if _, err := Find("smtp"); err == nil || !strings.Contains(err.Error(), "use socketio or text") {
		t.Error(err)
	}
}

// Whatever a server sends, a client of Socket.IO ends with an error or a message.
func FuzzSocketIO(f *testing.F) {
	f.Add(`431[1,0]`, "", `42["holdfast:broadcast","you",4,"an offset"]`)
	f.Add(`461-5[5,4,{"_placeholder":true,"num":0}]`, "x", "2")
	f.Fuzz(func(t *testing.T, first, binary, second string) {
		c := newScript(open, connected)
		c.in <- message{false, first}
		c.in <- message{true, binary}
		c.in <- message{false, second}
		close(c.in)
		p, _ := Find("socketio")
		s, err := p.Start(t.Context(), c)
		for range 4 {
			if err == nil {
				var m Message
				m, err = s.Next(t.Context())
				_ = s.Confirm(t.Context(), m)
			}
		}
		if err == nil {
			t.Error("it never ends")
		}
		for _, m := range c.sent {
			if body, ok := strings.CutPrefix(m.data, "43"); ok && !m.binary && !json.Valid([]byte(strings.TrimLeft(body, "0123456789"))) {
				t.Errorf("it sent %q", m.data)
			}
		}
	})
}
