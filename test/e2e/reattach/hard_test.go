//go:build unix

package reattach

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// A drain finds a session inside messages: each message ends on the backend
// where it began.
func TestMovedInsideMessages(t *testing.T) {
	const long = "0123456789"
	client, server := &wspeer.Conn{Masks: true}, &wspeer.Conn{}
	whole := func(w *wspeer.Conn, text string) string {
		return string(w.Encode(wspeer.Frame{Fin: true, Op: wspeer.Text, Payload: []byte(text)}))
	}
	// A control frame between the fragments isn't a message.
	fragments := func(w *wspeer.Conn) [2]string {
		return [2]string{string(w.Encode(wspeer.Frame{Op: wspeer.Text, Payload: []byte(long[:5])})),
			string(w.Encode(wspeer.Frame{Fin: true, Op: wspeer.Pong})) + string(w.Encode(wspeer.Frame{Fin: true, Op: wspeer.Continuation, Payload: []byte(long[5:])}))}
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
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				s := kit.NewFixture(t, engine, 1)
				s.First.SendText("hello")
				kit.WantMessages(t, "the client", s.Client, "hello")
				fmt.Fprint(s.Client, tt.client[0])
				fmt.Fprint(s.First, tt.old[0])
				s.DrainFirst(t)
				if tt.client[0] != "" {
					if n := len(s.Others[0].Pending); n > 0 {
						t.Errorf("b was asked while the client was inside a message")
					}
				}
				// One segment for two backends, unless the turn is yet to come.
				fmt.Fprint(s.Client, tt.client[1]+whole(client, "the next"))

				o := s.Others[0].Next(t)
				if why, attempt, id := o.Header.Get("Holdfast-Reattach"), o.Header.Get("Holdfast-Attempt"), o.Header.Get("Holdfast-Session"); why != "drain" || attempt != "1" || len(id) != 20 {
					t.Errorf("b got the headers %q, %q, %q", why, attempt, id)
				}
				found := o.Accept(t, kit.Agreed...)
				found.SendText("from the new one")
				kit.WantMessages(t, "a", s.First, tt.oldGets...)
				text, err := s.First.Message()
				early := err == nil && text == "the next"
				if early {
					text, err = s.First.Message()
				}
				if !kit.IsClosed(err, 1012) {
					t.Fatalf("a got %q, %v, want a Close with 1012", text, err)
				}
				fmt.Fprint(s.First, tt.old[1]+whole(server, "the last word"))
				s.First.SendClose(1012, "")

				kit.WantMessages(t, "the client", s.Client, append(tt.got, "the last word", "from the new one")...)
				if !early {
					kit.WantMessages(t, "b", found, "the next")
				}
				if err := s.Client.SendClose(1000, ""); err != nil {
					t.Fatal(err)
				}
				kit.WantClose(t, "b", found, 1000)
				found.Close()
				if text, err := s.Client.Message(); !kit.IsClosed(err, 1000) {
					t.Errorf("the client got %q, %v", text, err)
				}
				if m := s.AwaitSessions(t, 0); m.Moves("drain", "moved") != 1 {
					t.Errorf("the move is not counted: %v", m)
				}
			})
		})
	}
}

// A session whose ends send without pause, as fast as the other reads, is moved
// nevertheless.
func TestMovedWithoutPause(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		s := kit.NewFixture(t, engine, 1)
		clientSays, clientHears := flood(s.Client, 0), count(s.Client, 0)
		oldSays, oldHears := flood(s.First, 0), count(s.First, 0)
		relayed := awaitMessages(t, s.Balancer, 2000)

		s.DrainFirst(t)
		found := s.Others[0].Next(t).Accept(t, kit.Agreed...)
		toOld, err := oldHears()
		if !kit.IsClosed(err, 1012) {
			t.Fatalf("a saw %v, want 1012", err)
		}
		byOld := oldSays()
		s.First.SendClose(1012, "")
		newSays, newHears := flood(found, byOld), count(found, toOld)
		awaitMessages(t, s.Balancer, relayed+2000)

		byBoth, byClient := newSays(), clientSays()
		s.Client.SendClose(1000, "")
		toBoth, err := newHears()
		if !kit.IsClosed(err, 1000) {
			t.Errorf("b saw %v, want 1000", err)
		}
		found.SendClose(1000, "")
		toClient, err := clientHears()
		if !kit.IsClosed(err, 1000) {
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

// flood sends numbered messages, beginning with from, until stop is called.
// stop returns the next number.
func flood(w *wspeer.Conn, from int) (stop func() (next int)) {
	over, sent := make(chan struct{}), make(chan int, 1)
	go func() {
		for n := from; ; n++ {
			select {
			case <-over:
			default:
				if w.SendText(kit.Numbered(n)) == nil {
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

// count reads numbered messages, beginning with from. end waits for the end of
// the stream or an unexpected message, and returns the next number.
func count(w *wspeer.Conn, from int) (end func() (next int, err error)) {
	var next int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for next = from; ; next++ {
			var text string
			text, err = w.Message()
			if err == nil && text != kit.Numbered(next) {
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

// awaitMessages waits until n messages were relayed each way, and returns how
// many there are.
func awaitMessages(t testing.TB, b *kit.Balancer, n int) int {
	t.Helper()
	const series = `holdfast_messages_total{direction="from_%s"}`
	m := b.AwaitMetrics(t, fmt.Sprintf("%d messages", n), func(m kit.Metrics) bool {
		return min(m[fmt.Sprintf(series, "client")], m[fmt.Sprintf(series, "backend")]) >= float64(n)
	})
	return int(max(m[fmt.Sprintf(series, "client")], m[fmt.Sprintf(series, "backend")]))
}

// A backend that doesn't accept a session is passed over. If none is left, and
// the old backend is gone, the client gets a Close frame.
func TestNewBackendRefuses(t *testing.T) {
	protocol, extensions := kit.Agreed[0], kit.Agreed[1]
	for _, tt := range []struct {
		name   string
		answer func(t testing.TB, o *kit.PendingHandshake)
		result string
	}{
		{"404", func(t testing.TB, o *kit.PendingHandshake) {
			fmt.Fprint(o.Conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}, "refused"},
		{"another subprotocol", func(t testing.TB, o *kit.PendingHandshake) { o.Accept(t, "Sec-WebSocket-Protocol: v1", extensions) }, "different"},
		{"no subprotocol", func(t testing.TB, o *kit.PendingHandshake) { o.Accept(t, extensions) }, "different"},
		{"no compression", func(t testing.TB, o *kit.PendingHandshake) { o.Accept(t, protocol) }, "different"},
		{"other parameters", func(t testing.TB, o *kit.PendingHandshake) {
			o.Accept(t, protocol, extensions+"; server_max_window_bits=10")
		}, "different"},
		{"context takeover", func(t testing.TB, o *kit.PendingHandshake) {
			o.Accept(t, protocol, "Sec-WebSocket-Extensions: permessage-deflate")
		}, "broken"},
		{"no answer", func(t testing.TB, o *kit.PendingHandshake) { o.Conn.Close() }, "silent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				s := kit.NewFixture(t, engine, 2)
				s.DrainFirst(t)
				tt.answer(t, s.Others[0].Next(t))
				o := s.Others[1].Next(t)
				if attempt := o.Header.Get("Holdfast-Attempt"); attempt != "2" {
					t.Errorf("c got attempt %q", attempt)
				}
				found := o.Accept(t, kit.Agreed...)
				kit.WantClose(t, "a", s.First, 1012)
				s.Client.SendText("hello")
				kit.WantMessages(t, "c", found, "hello")
				found.SendText("welcome")
				kit.WantMessages(t, "the client", s.Client, "welcome")

				s.FindLog(t, "session moved", 0, "to=c") // it has kept the session for long enough

				// a is to stay empty, and c is lost. Who gave no answer might
				// in a moment, and is asked again until the time is over.
				result := tt.result
				if result == "silent" {
					result = "timeout"
				}
				found.Reset(t)
				tt.answer(t, s.Others[0].Next(t))
				kit.WantClose(t, "the client", s.Client, 1012)
				if err := s.Client.ReadEnd(); err != nil {
					t.Errorf("after the Close: %v", err)
				}
				s.FindLog(t, "session not moved", 0, "reattach=loss", "from=c", "result="+result)
				s.FindLog(t, "session closed", 0, "cause=backend_lost", "close_code=1012")
				if m := s.AwaitSessions(t, 0); m.Moves("drain", "moved") != 1 || m.Moves("loss", result) != 1 || m.Moves("", "") != 2 {
					t.Errorf("the moves are counted as %v", m)
				}
			})
		})
	}
}

// A session that no backend takes over stays on its backend until the end of
// the drain, and is then closed without another attempt.
func TestNobodyTakesOver(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		s := kit.NewFixture(t, engine, 1)
		s.Command(t, 0, "drain", "main/a", "--timeout", "2s")
		fmt.Fprint(s.Others[0].Next(t).Conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		s.FindLog(t, "session not moved", 0, "reattach=drain", "result=refused")
		s.Client.SendText("hello")
		kit.WantMessages(t, "a", s.First, "hello")
		s.First.SendText("welcome")
		kit.WantMessages(t, "the client", s.Client, "welcome")

		kit.WantClose(t, "the client", s.Client, 1001)
		kit.WantClose(t, "a", s.First, 1001)
		s.First.Close()
		s.FindLog(t, "session closed", 0, "cause=backend_drained", "close_code=1001")
		if n := len(s.Others[0].Pending); n > 0 {
			t.Errorf("b was asked %d more times", n)
		}
	})
}

// If a backend dies inside a message, no other backend can end that message.
// The client gets a Close frame if that is possible.
func TestLostInsideItsMessage(t *testing.T) {
	part := string((&wspeer.Conn{}).Encode(wspeer.Frame{Op: wspeer.Text, Payload: []byte(strings.Repeat("x", 100))}))
	for name, said := range map[string]string{"between fragments": part, "inside a frame": part[:50]} {
		t.Run(name, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				s := kit.NewFixture(t, engine, 1)
				fmt.Fprint(s.First, said)
				if _, err := s.Client.In.Peek(len(said)); err != nil {
					t.Fatal(err)
				}
				s.First.Reset(t)
				s.Client.In.Discard(len(said))
				if len(said) == len(part) {
					kit.WantClose(t, "the client", s.Client, 1012)
				}
				if err := s.Client.ReadEnd(); err != nil {
					t.Errorf("the stream goes on after its last frame: %v", err)
				}
				s.FindLog(t, "session not moved", 0, "reattach=loss", "result=message_cut")
			})
		})
	}
}
