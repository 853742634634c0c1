package bench

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func correctEcho(w http.ResponseWriter, r *http.Request) {
	faulty(w, r, func(ws *websocket.Conn, typ websocket.MessageType, _ int, m []byte) error {
		return ws.Write(r.Context(), typ, m)
	})
}

// faulty serves a WebSocket. It passes each message and its number to answer.
func faulty(w http.ResponseWriter, r *http.Request, answer func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	for n := 0; ; n++ {
		typ, m, err := ws.Read(r.Context())
		if err != nil || answer(ws, typ, n, m) != nil {
			return
		}
	}
}

// Each server has one defect. There are 10 sessions with 20 messages each.
func TestEveryFailureIsCounted(t *testing.T) {
	type answerer = func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error
	bg := context.Background()
	echo := func(ws *websocket.Conn, typ websocket.MessageType, m []byte) error { return ws.Write(bg, typ, m) }
	for _, c := range []struct {
		name   string
		answer func() answerer // one for each session
		want   string
	}{
		{"one message in ten is dropped", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n%10 == 3 {
					return nil
				}
				return echo(ws, typ, m)
			}
		}, "lost×20"},
		{"the last message is dropped", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 19 {
					return nil
				}
				return echo(ws, typ, m)
			}
		}, "lost×10"},
		{"a byte is changed", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 5 {
					m[len(m)-1] ^= 1
				}
				return echo(ws, typ, m)
			}
		}, "corrupt×10 lost×10"},
		{"text instead of binary", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 5 {
					typ = websocket.MessageText
				}
				return echo(ws, typ, m)
			}
		}, "corrupt×10 lost×10"},
		{"a message is sent twice", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 7 {
					_ = echo(ws, typ, m)
				}
				return echo(ws, typ, m)
			}
		}, "duplicate×10"},
		{"two messages are swapped", func() answerer {
			var kept []byte
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 8 {
					kept = m
					return nil
				}
				err := echo(ws, typ, m)
				if n == 9 {
					err = echo(ws, typ, kept)
				}
				return err
			}
		}, "reordered×10"},
		{"closed with 1012", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 19 {
					return ws.Close(1012, "restart")
				}
				return echo(ws, typ, m)
			}
		}, "closed_1012×10 lost×10"},
		{"cut", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 19 {
					return ws.CloseNow()
				}
				return echo(ws, typ, m)
			}
		}, "closed_1006×10 lost×10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { faulty(w, r, c.answer()) }))
			defer s.Close()
			o := few(strings.Replace(s.URL, "http", "ws", 1))
			o.Timeout = 2 * time.Second
			rep, r := run1(t, o)
			if kinds(r) != c.want || rep.Failed() == 0 {
				t.Errorf("got %s, want %s", kinds(r), c.want)
			}
			var text strings.Builder
			rep.Print(&text)
			if kind, _, _ := strings.Cut(c.want, "×"); !strings.Contains(text.String(), "FAILURES") || !strings.Contains(text.String(), kind) {
				t.Errorf("the report doesn't contain %s:\n%s", kind, &text)
			}
		})
	}
}

// Two sessions receive each other's messages.
func TestMisdelivered(t *testing.T) {
	var mu sync.Mutex
	var all []*websocket.Conn
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		faulty(w, r, func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if n == 0 {
				all = append(all, ws)
			}
			if n == 19 {
				ws = all[0]
			}
			return ws.Write(r.Context(), typ, m)
		})
	}))
	defer s.Close()
	o := few(strings.Replace(s.URL, "http", "ws", 1))
	o.Timeout = 2 * time.Second
	if _, r := run1(t, o); kinds(r) != "lost×9 misdelivered×9" {
		t.Errorf("got %s", kinds(r))
	}
}

func TestHandshakeFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, r := run1(t, few("ws://"+l.Addr().String()))
	if kinds(r) != "connect_refused×10" || r.Opened != 0 {
		t.Errorf("connection refused: %s", kinds(r))
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are never accepted
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	o := few("ws://" + silent.Addr().String())
	o.Timeout = 500 * time.Millisecond
	if _, r := run1(t, o); kinds(r) != "handshake_timeout×10" {
		t.Errorf("silence: %s", kinds(r))
	}

	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 3 {
		case 0:
			w.WriteHeader(503)
		case 1:
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(101)
		default:
			correctEcho(w, r)
		}
	}))
	defer s.Close()
	o = few(strings.Replace(s.URL, "http", "ws", 1))
	o.Sessions = 9
	if _, r := run1(t, o); kinds(r) != "handshake_invalid×3 handshake_status_503×3" || r.Opened != 3 || r.Received != 200 {
		t.Errorf("one in three succeeds: %s; %+v", kinds(r), r)
	}
}

// The server doesn't answer Close.
func TestCloseUnanswered(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err == nil {
			<-release
			ws.CloseNow()
		}
	}))
	defer s.Close()
	defer close(release)
	o := few(strings.Replace(s.URL, "http", "ws", 1))
	o.Mode, o.Duration, o.Timeout = Idle, 20*time.Millisecond, time.Second
	if _, r := run1(t, o); kinds(r) != "close_timeout×10" {
		t.Errorf("got %s", kinds(r))
	}
	o.Mode, o.Rate = Churn, 0
	if _, r := run1(t, o); !strings.HasPrefix(kinds(r), "lost×") || r.Received != 0 {
		t.Errorf("churn: got %s", kinds(r))
	}
}
