package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
)

// chat is a backend made with a library: it echoes messages after its name.
type chat struct {
	*httptest.Server
	addr string

	mu   sync.Mutex // guards the following
	asks []http.Header
}

func newChat(t testing.TB, name string, o websocket.AcceptOptions) *chat {
	c := &chat{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.asks = append(c.asks, r.Header.Clone())
		c.mu.Unlock()
		ws, err := websocket.Accept(w, r, &o)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for {
			kind, text, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			if err := ws.Write(context.Background(), kind, []byte(name+" "+string(text))); err != nil {
				return
			}
		}
	}))
	c.addr = c.Listener.Addr().String()
	t.Cleanup(c.Close)
	return c
}

func (c *chat) asked() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]http.Header(nil), c.asks...)
}

// drain moves the sessions of a backend, or else closes them.
func drain(from uint32) relay.MoveRequest {
	return relay.MoveRequest{
		Selection: relay.OfBackend(from), Why: session.Drain,
		OrClose: &relay.Close{Cause: session.BackendDrained, Code: 1001, Reason: relay.GoingAway},
	}
}

// Two ends that offer compression with context can continue with another backend
// as if it were the same.
func TestReattachOverSockets(t *testing.T) {
	for name, mode := range map[string]websocket.CompressionMode{
		"plain": websocket.CompressionDisabled, "context takeover": websocket.CompressionContextTakeover, "no context": websocket.CompressionNoContextTakeover,
	} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				accept := websocket.AcceptOptions{Subprotocols: []string{"chat.v2"}, CompressionMode: mode, CompressionThreshold: 1}
				one, two := newChat(t, "one", accept), newChat(t, "two", accept)
				b := start(t, engine, setup{backends: []string{one.addr, two.addr}, reattach: always})
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				ws, resp, err := websocket.Dial(ctx, "ws://"+b.addr+"/room?id=7", &websocket.DialOptions{
					HTTPHeader: http.Header{"Cookie": {"a=b"}, "Holdfast-Session": {"forged"}}, Subprotocols: []string{"chat.v1", "chat.v2"},
					CompressionMode: websocket.CompressionContextTakeover, CompressionThreshold: 1,
				})
				if err != nil {
					t.Fatal(err)
				}
				defer ws.CloseNow()
				agreed := resp.Header.Get("Sec-WebSocket-Extensions")
				if mode != websocket.CompressionDisabled && "Sec-WebSocket-Extensions: "+agreed != noTakeover {
					t.Errorf("agreed to %q", agreed)
				}
				from := b.moving(session.Drain).Info.Backend

				const messages, half = 200, 100
				text := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("the same again ", 20)) }
				go func() {
					for i := range messages {
						if i == half {
							if n := b.engine.MoveSessions(drain(from)); n != 1 {
								t.Errorf("%d sessions are to be moved", n)
							}
						}
						if i == messages-1 {
							b.wait("the move", func() bool { return len(b.moves) == 1 })
						}
						if err := ws.Write(ctx, websocket.MessageText, []byte(text(i))); err != nil {
							t.Errorf("message %d: %v", i, err)
							return
						}
					}
				}()
				from1 := 0
				for i := range messages {
					_, got, err := ws.Read(ctx)
					if err != nil {
						t.Fatalf("message %d: %v; log:\n%s", i, err, b.log)
					}
					who, rest, _ := strings.Cut(string(got), " ")
					if rest != text(i) || i == 0 && who != "one" || i == messages-1 && who != "two" {
						t.Fatalf("message %d is %.40q", i, got)
					}
					if who == "one" {
						if from1++; from1 != i+1 {
							t.Fatalf("message %d is from the backend that was left", i)
						}
					}
				}

				to := b.registry.Backends()[1]
				old := b.registry.Backends()[0]
				if old.ID != from {
					old, to = to, old
				}
				if old.Sessions() != 0 || to.Sessions() != 1 {
					t.Errorf("the old backend has %d leases, the new one %d", old.Sessions(), to.Sessions())
				}
				b.engine.Each(func(s session.Summary) {
					if s.Backend != to.ID || s.ID != b.opened[0].ID {
						t.Errorf("the session is listed with %d, want %d", s.Backend, to.ID)
					}
				})
				if m := b.moves[0]; m.Result != "moved" || m.To != to.ID || m.Info.Backend != from || m.Gap <= 0 || m.Gap > patience {
					t.Errorf("moved: %+v", m)
				}
				if b.proxy.Kept() != 1 {
					t.Errorf("%d handshakes are kept", b.proxy.Kept())
				}
				ask, again := one.asked(), two.asked()
				if len(ask) != 1 || len(again) != 1 || ask[0].Get("Holdfast-Session") != b.opened[0].ID.String() || again[0].Get("Holdfast-Session") != ask[0].Get("Holdfast-Session") ||
					ask[0].Get("Holdfast-Reattach") != "" || again[0].Get("Holdfast-Reattach") != "drain" || again[0].Get("Cookie") != "a=b" {
					t.Errorf("asked with %v and %v", ask, again)
				}

				if err := ws.Close(4000, "done"); err != nil {
					t.Errorf("the closing handshake: %v", err)
				}
				b.wait("the session's end", func() bool { return len(b.ended) == 1 })
				if s := b.ended[0]; s.Cause != session.ClientClosed || s.Code != 4000 || s.Backend != to.ID || b.proxy.Kept() != 0 {
					t.Errorf("ended with %v, %d on %d; %d handshakes are kept", s.Cause, s.Code, s.Backend, b.proxy.Kept())
				}
			})
		})
	}
}

// losing is a backend that cuts its connections when told to.
func losing(t testing.TB, answer string) *backend {
	return newBackend(t, func(p *peer, _ string) {
		io.WriteString(p, answer)
		for {
			op, payload, err := readFrame(p.br)
			if err != nil || payload == "go" {
				p.Close()
				return
			}
			io.WriteString(p, serverFrame(op, payload))
			if op == 8 {
				p.Close()
				return
			}
		}
	})
}

// When a backend is lost, only what it hadn't answered is lost with it.
func TestReattachOnLoss(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		other := echoing(t, "two")
		b := start(t, engine, setup{backends: []string{losing(t, switching()).addr, other.addr}, reattach: always})
		c := b.dial().send(upgrade("/"))
		c.want(101)
		c.send(clientFrame(1, "one") + clientFrame(1, "go"))
		c.wantBytes(serverFrame(1, "one"))
		b.wait("the move", func() bool { return len(b.moves) == 1 })
		c.send(clientFrame(1, "two"))
		c.wantBytes(serverFrame(1, "two"))
		if _, heads := other.seen(); field(t, heads[0], "Holdfast-Reattach") != "loss" || field(t, heads[0], "Holdfast-Attempt") != "1" {
			t.Errorf("asked with\n%s", heads[0])
		}
		c.send(clientFrame(8, "\x03\xe8"))
		c.wantBytes(serverFrame(8, "\x03\xe8"))
		b.wait("the session's end", func() bool { return len(b.ended) == 1 })
		if s := b.ended[0]; s.Cause != session.ClientClosed || s.Backend != b.moves[0].To {
			t.Errorf("ended with %v on %d", s.Cause, s.Backend)
		}
	})
}

// If no other backend accepts it, a session ends with a Close frame: as the request
// says, or with 1012 if its backend was lost.
func TestReattachFailsOverSockets(t *testing.T) {
	close := func(code int, reason string) string {
		return serverFrame(8, string([]byte{byte(code >> 8), byte(code)})+reason)
	}
	first := switching("Sec-WebSocket-Protocol: v1")
	for name, second := range map[string]struct{ answer, result string }{
		"another subprotocol": {switching("Sec-WebSocket-Protocol: v2"), "different"},
		"declined":            {"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", "refused"},
		"nobody":              {"", "no_backend"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, why := range []session.Why{session.Drain, session.Loss} {
				if why == session.Loss && second.answer == "" {
					continue // it searches again, see TestSearchAgainInVain
				}
				t.Run(why.String(), func(t *testing.T) {
					eachEngine(t, func(t *testing.T, engine string) {
						s := setup{backends: []string{losing(t, first).addr}, reattach: always}
						if second.answer != "" {
							s.backends = append(s.backends, answering(t, second.answer).addr)
						}
						b := start(t, engine, s)
						c := b.dial().send(upgrade("/", "Sec-WebSocket-Protocol: v1, v2"))
						c.want(101)
						c.send(clientFrame(1, "hello"))
						c.wantBytes(serverFrame(1, "hello"))
						want, cause := close(1012, "server lost"), session.BackendLost
						if why == session.Drain {
							want, cause = close(1001, "going away"), session.BackendDrained
							b.engine.MoveSessions(drain(b.moving(why).Info.Backend))
						} else {
							c.send(clientFrame(1, "go"))
						}
						c.wantBytes(want)
						c.send(clientFrame(8, want[2:4]))
						b.wait("the end", func() bool { return len(b.ended) == 1 && len(b.moves) == 1 })
						if m, s := b.moves[0], b.ended[0]; m.Result != second.result || m.Why != why || s.Cause != cause || s.Backend != m.Info.Backend {
							t.Errorf("%s: %q (%v); ended with %v", m.Why, m.Result, m.Err, s.Cause)
						}
					})
				})
			}
		})
	}
}

// await waits for the channel to be closed.
func await(t testing.TB, c chan struct{}) {
	select {
	case <-c:
	case <-t.Context().Done():
	case <-time.After(patience):
		t.Error("waited too long")
	}
}

// A backend dies while another one is asked to take over its session for another
// reason, and refuses.
func TestBackendLostWhileMoved(t *testing.T) {
	drainOnly := &session.Reattach{Drain: true, Timeout: patience}
	for name, of := range map[string]struct {
		reattach *session.Reattach
		admits   bool
	}{"drain": {drainOnly, false}, "drain and loss": {always, false}, "drain and loss, with admit": {always, true}} {
		t.Run(name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine string) {
				die, dead, asked, answer := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
				one := newBackend(t, func(p *peer, _ string) {
					io.WriteString(p, switching())
					await(t, die)
					p.Conn.(*net.TCPConn).CloseWrite()
					io.Copy(io.Discard, p.br) // until the balancer knows
					close(dead)
				})
				two := newBackend(t, func(p *peer, head string) {
					if field(t, head, "Holdfast-Reattach") == "drain" {
						close(asked)
						await(t, answer)
						io.WriteString(p, "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n")
						return
					}
					io.WriteString(p, switching()+serverFrame(1, "taken over"))
					io.Copy(io.Discard, p.br)
				})
				s := setup{backends: []string{one.addr, two.addr}, reattach: of.reattach}
				if of.admits {
					s.admit = slow(ratelimit.Options{Rate: 100})
					t.Cleanup(s.admit.Close)
				}
				b := start(t, engine, s)
				c := b.dial().send(upgrade("/"))
				c.want(101)
				order := drain(b.moving(session.Drain).Info.Backend)
				for b.engine.MoveSessions(order) == 0 { // the engine has it in a moment
					runtime.Gosched()
				}
				await(t, asked)
				close(die)
				await(t, dead)
				close(answer)
				want := []string{"drain refused"}
				if of.reattach.Loss {
					c.wantBytes(serverFrame(1, "taken over"))
					want = append(want, "loss moved")
				} else {
					c.wantBytes(serverFrame(8, "\x03\xf4server lost"))
					c.send(clientFrame(8, "\x03\xf4"))
					b.wait("the end", func() bool { return len(b.ended) == 1 })
					if s := b.ended[0]; s.Cause != session.BackendLost || s.Code != 1012 {
						t.Errorf("ended with %v and %d", s.Cause, s.Code)
					}
				}
				b.wait("the moves", func() bool { return len(b.moves) == len(want) })
				for i, m := range b.moves {
					if got := m.Why.String() + " " + m.Result; got != want[i] {
						t.Errorf("move %d: %s (%v), want %s", i, got, m.Err, want[i])
					}
				}
			})
		})
	}
}
