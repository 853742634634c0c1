//go:build unix

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A drain that finds a session inside messages: each is ended where it began.
func TestMovedInsideMessages(t *testing.T) {
	const long = "0123456789"
	client, server := &wire{masks: true}, &wire{}
	whole := func(w *wire, text string) string {
		return string(w.encode(frame{fin: true, op: opText, payload: []byte(text)}))
	}
	// What is put between the fragments is no message.
	fragments := func(w *wire) [2]string {
		return [2]string{string(w.encode(frame{op: opText, payload: []byte(long[:5])})),
			string(w.encode(frame{fin: true, op: opPong})) + string(w.encode(frame{fin: true, op: opContinuation, payload: []byte(long[5:])}))}
	}
	cut := func(text string, i int) [2]string { return [2]string{text[:i], text[i:]} }
	for _, tt := range []struct {
		name         string
		client, old  [2]string // what each says before and after the drain begins
		got, oldGets []string  // whole messages before the move
	}{
		{name: "between messages"},
		{name: "client inside a frame's head", client: cut(whole(client, long), 1), oldGets: []string{long}},
		{name: "client inside a frame", client: cut(whole(client, long), 11), oldGets: []string{long}},
		{name: "client between fragments", client: fragments(client), oldGets: []string{long}},
		{name: "backend inside a frame", old: cut(whole(server, long), 7), got: []string{long}},
		{name: "backend between fragments", old: fragments(server), got: []string{long}},
		{name: "both", client: cut(whole(client, long), 11), old: cut(whole(server, long), 7), got: []string{long}, oldGets: []string{long}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				s := setScene(t, engine, 1)
				s.old.sendText("hello")
				expect(t, "the client", s.client, "hello")
				fmt.Fprint(s.client, tt.client[0])
				fmt.Fprint(s.old, tt.old[0])
				s.drainFirst(t)
				if tt.client[0] != "" {
					if n := len(s.others[0].openings); n > 0 {
						t.Errorf("b was asked while the client was inside a message")
					}
				}
				// One segment for two backends, unless the turn is yet to come.
				fmt.Fprint(s.client, tt.client[1]+whole(client, "the next"))

				o := s.others[0].next(t)
				if why, attempt, id := o.Header.Get("Holdfast-Reattach"), o.Header.Get("Holdfast-Attempt"), o.Header.Get("Holdfast-Session"); why != "drain" || attempt != "1" || len(id) != 20 {
					t.Errorf("b was told %q, %q, %q", why, attempt, id)
				}
				found := o.accept(t, agreed...)
				found.sendText("from the new one")
				expect(t, "a", s.old, tt.oldGets...)
				text, err := s.old.message()
				early := err == nil && text == "the next"
				if early {
					text, err = s.old.message()
				}
				if !isClosed(err, 1012) {
					t.Fatalf("a got %q, %v, want a Close with 1012", text, err)
				}
				fmt.Fprint(s.old, tt.old[1]+whole(server, "the last word"))
				s.old.sendClose(1012, "")

				expect(t, "the client", s.client, append(tt.got, "the last word", "from the new one")...)
				if !early {
					expect(t, "b", found, "the next")
				}
				if err := s.client.sendClose(1000, ""); err != nil {
					t.Fatal(err)
				}
				expectClose(t, "b", found, 1000)
				found.Close()
				if text, err := s.client.message(); !isClosed(err, 1000) {
					t.Errorf("the client got %q, %v", text, err)
				}
				if m := s.awaitSessions(t, 0); m.moves("drain", "moved") != 1 {
					t.Errorf("it was not told of: %v", m)
				}
			})
		})
	}
}

// Two ends that send without pause, each as much as the other takes, are moved
// all the same.
func TestMovedWithoutPause(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s := setScene(t, engine, 1)
		clientSays, clientHears := flood(s.client, 0), count(s.client, 0)
		oldSays, oldHears := flood(s.old, 0), count(s.old, 0)
		relayed := s.awaitMessages(t, 2000)

		s.drainFirst(t)
		found := s.others[0].next(t).accept(t, agreed...)
		toOld, err := oldHears()
		if !isClosed(err, 1012) {
			t.Fatalf("a saw %v, want 1012", err)
		}
		byOld := oldSays()
		s.old.sendClose(1012, "")
		newSays, newHears := flood(found, byOld), count(found, toOld)
		s.awaitMessages(t, relayed+2000)

		byBoth, byClient := newSays(), clientSays()
		s.client.sendClose(1000, "")
		toBoth, err := newHears()
		if !isClosed(err, 1000) {
			t.Errorf("b saw %v, want 1000", err)
		}
		found.sendClose(1000, "")
		toClient, err := clientHears()
		if !isClosed(err, 1000) {
			t.Errorf("the client saw %v, want 1000", err)
		}
		if toBoth != byClient || toOld == 0 || toOld == toBoth {
			t.Errorf("the client sent %d messages, %d came: %d to a, the others to b", byClient, toBoth, toOld)
		}
		if toClient != byBoth {
			t.Errorf("the backends sent %d messages, %d came", byBoth, toClient)
		}
	})
}

// flood sends numbered messages, from a number on, until stop is called, which
// returns the number of the next.
func flood(w *wire, from int) (stop func() (next int)) {
	over, sent := make(chan struct{}), make(chan int, 1)
	go func() {
		for n := from; ; n++ {
			select {
			case <-over:
			default:
				if w.sendText(numbered(n)) == nil {
					continue
				}
			}
			sent <- n
			return
		}
	}()
	return func() int {
		close(over)
		return <-sent
	}
}

// count reads numbered messages, from a number on. end waits for the stream's
// end, or the first message that is another, and returns the number of the next.
func count(w *wire, from int) (end func() (next int, err error)) {
	var next int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for next = from; ; next++ {
			var text string
			text, err = w.message()
			if err == nil && text != numbered(next) {
				err = fmt.Errorf("got %.40q, want number %d", text, next)
			}
			if err != nil {
				return
			}
		}
	}()
	return func() (int, error) {
		<-done
		return next, err
	}
}

// awaitMessages waits until that many were relayed each way, and returns how
// many that are.
func (b *balancer) awaitMessages(t testing.TB, n int) int {
	t.Helper()
	const series = `holdfast_messages_total{direction="from_%s"}`
	m := b.await(t, fmt.Sprintf("%d messages", n), func(m metrics) bool {
		return min(m[fmt.Sprintf(series, "client")], m[fmt.Sprintf(series, "backend")]) >= float64(n)
	})
	return int(max(m[fmt.Sprintf(series, "client")], m[fmt.Sprintf(series, "backend")]))
}

// A backend that doesn't take a session over as it was is passed over. When
// nobody else is left, and the old one is gone, the client is told so.
func TestNewBackendRefuses(t *testing.T) {
	protocol, extensions := agreed[0], agreed[1]
	for _, tt := range []struct {
		name   string
		answer func(t testing.TB, o *opening)
		result string
	}{
		{"404", func(t testing.TB, o *opening) {
			fmt.Fprint(o.conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}, "refused"},
		{"another subprotocol", func(t testing.TB, o *opening) { o.accept(t, "Sec-WebSocket-Protocol: v1", extensions) }, "different"},
		{"no subprotocol", func(t testing.TB, o *opening) { o.accept(t, extensions) }, "different"},
		{"no compression", func(t testing.TB, o *opening) { o.accept(t, protocol) }, "different"},
		{"other parameters", func(t testing.TB, o *opening) { o.accept(t, protocol, extensions+"; server_max_window_bits=10") }, "different"},
		{"context takeover", func(t testing.TB, o *opening) {
			o.accept(t, protocol, "Sec-WebSocket-Extensions: permessage-deflate")
		}, "broken"},
		{"no answer", func(t testing.TB, o *opening) { o.conn.Close() }, "silent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				s := setScene(t, engine, 2)
				s.drainFirst(t)
				tt.answer(t, s.others[0].next(t))
				o := s.others[1].next(t)
				if attempt := o.Header.Get("Holdfast-Attempt"); attempt != "2" {
					t.Errorf("c was told of attempt %q", attempt)
				}
				found := o.accept(t, agreed...)
				expectClose(t, "a", s.old, 1012)
				s.client.sendText("hello")
				expect(t, "c", found, "hello")
				found.sendText("welcome")
				expect(t, "the client", s.client, "welcome")

				// a is to stay empty, and c is lost. Who gave no answer might
				// in a moment, and is asked again until the time is over.
				result := tt.result
				if result == "silent" {
					result = "timeout"
				}
				found.reset(t)
				tt.answer(t, s.others[0].next(t))
				expectClose(t, "the client", s.client, 1012)
				if err := s.client.toEnd(); err != nil {
					t.Errorf("after the Close: %v", err)
				}
				s.log(t, "session not moved", 0, "reattach=loss", "from=c", "result="+result)
				s.log(t, "session closed", 0, "cause=backend_lost", "close_code=1012")
				if m := s.awaitSessions(t, 0); m.moves("drain", "moved") != 1 || m.moves("loss", result) != 1 || m.moves("", "") != 2 {
					t.Errorf("the moves are told as %v", m)
				}
			})
		})
	}
}

// One who refuses alone changes nothing for a session that is to leave its
// backend: that still serves it, up to the drain's end.
func TestNobodyTakesOver(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s := setScene(t, engine, 1)
		s.holdfast(t, 0, "drain", "main/a", "--timeout", "2s")
		fmt.Fprint(s.others[0].next(t).conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		s.log(t, "session not moved", 0, "reattach=drain", "result=refused")
		s.client.sendText("hello")
		expect(t, "a", s.old, "hello")
		s.old.sendText("welcome")
		expect(t, "the client", s.client, "welcome")

		fmt.Fprint(s.others[0].next(t).conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") // the last chance
		expectClose(t, "the client", s.client, 1001)
		expectClose(t, "a", s.old, 1001)
		s.old.Close()
		s.log(t, "session closed", 0, "cause=backend_drained", "close_code=1001")
	})
}

// Of a backend that dies inside a message, no other can end that: the client
// is told to come back where that can be told.
func TestLostInsideItsMessage(t *testing.T) {
	part := string((&wire{}).encode(frame{op: opText, payload: []byte(strings.Repeat("x", 100))}))
	for name, said := range map[string]string{"between fragments": part, "inside a frame": part[:50]} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				s := setScene(t, engine, 1)
				fmt.Fprint(s.old, said)
				if _, err := s.client.in.Peek(len(said)); err != nil {
					t.Fatal(err)
				}
				s.old.reset(t)
				s.client.in.Discard(len(said))
				if len(said) == len(part) {
					expectClose(t, "the client", s.client, 1012)
				}
				if err := s.client.toEnd(); err != nil {
					t.Errorf("the stream goes on after its last frame: %v", err)
				}
				s.log(t, "session not moved", 0, "reattach=loss", "result=message_cut")
			})
		})
	}
}
