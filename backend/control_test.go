package backend_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// balancer is the test's connection to a server, in the role of holdfast.
type balancer struct {
	*websocket.Conn
	t       *testing.T
	control string // Holdfast-Control of the 101
}

func (s *served) connect(header ...string) *balancer {
	s.t.Helper()
	conn, res, err := s.tryConnect(header...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(longTimeout))
	return &balancer{conn, s.t, res.Header.Get("Holdfast-Control")}
}

func (s *served) tryConnect(header ...string) (*websocket.Conn, *http.Response, error) {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return websocket.DefaultDialer.Dial("ws://"+s.address+"/ws", h)
}

func (b *balancer) send(text string) {
	b.t.Helper()
	if err := b.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		b.t.Error(err)
	}
}

func (b *balancer) ping(text string) {
	b.t.Helper()
	if err := b.WriteControl(websocket.PingMessage, []byte(text), time.Now().Add(longTimeout)); err != nil {
		b.t.Error(err)
	}
}

func (b *balancer) want(text string) {
	b.t.Helper()
	if _, got, err := b.ReadMessage(); err != nil || string(got) != text {
		b.t.Errorf("got %q, %v; want %q", got, err, text)
	}
}

// wantClose reads the Close that ends a move. The library answers it.
func (b *balancer) wantClose(code int, reason string) {
	b.t.Helper()
	_, got, err := b.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != code || closed.Text != reason {
		b.t.Errorf("got %q, %v; want a Close with %d %q", got, err, code, reason)
	}
}

// With each library, a session that is told to leave sends its pending replies and
// then a Close.
func TestServerClosesLeavingSession(t *testing.T) {
	for name, library := range libraries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kit := backend.New(options(backend.Options{}))
			s := serve(t, kit, kit.Handler(library(kit)))
			// Without an offer it must not ask.
			if b := s.connect("Holdfast-Session", "S1"); b.control != "" {
				t.Errorf("without an offer, it answers Holdfast-Control: %s", b.control)
			}
			if b := s.connect("Holdfast-Session", "S2", "Holdfast-Control", "2"); b.control != "" {
				t.Errorf("offered another version, it answers Holdfast-Control: %s", b.control)
			}
			for i := range 20 {
				b := s.connect("Holdfast-Session", fmt.Sprint("T", i), "Holdfast-Control", "1")
				if b.control != "1" {
					t.Fatalf("it answers Holdfast-Control: %q", b.control)
				}
				b.ping("holdfast") // an ordinary ping
				for n := range 5 {
					b.send(fmt.Sprint("message ", n))
				}
				pongs := make(chan string, 2)
				b.SetPongHandler(func(payload string) error { pongs <- payload; return nil })
				b.ping("holdfast leave")
				for n := range 5 {
					b.want(fmt.Sprint("message ", n))
				}
				b.wantClose(1012, "session moved")
				if got := <-pongs; got != "holdfast" {
					t.Errorf("the first pong has %q", got)
				}
			}
			for end := time.Now().Add(longTimeout); kit.Sessions() > 2; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d sessions are counted, want the 2 that weren't told to leave", kit.Sessions())
				}
			}
		})
	}
}

// A handler that works slowly. Nothing is lost, duplicated or out of order, and the
// new server sends nothing before the old one has stored the final state.
func TestMoveLosesNothing(t *testing.T) {
	const work = 50 * time.Millisecond
	for _, notices := range []bool{true, false} {
		t.Run(fmt.Sprint("notices ", notices), func(t *testing.T) {
			var states counts
			var servers [2]*served
			for i := range servers {
				kit := backend.New(options(backend.Options{}))
				servers[i] = serve(t, kit, kit.Handler(countMessages(kit, &states, work)))
			}
			offer := []string{"Holdfast-Session", "S"}
			if notices {
				offer = append(offer, "Holdfast-Control", "1")
			}
			current, sent := servers[0].connect(offer...), 0
			for move := 1; move <= 3; move++ {
				for range 4 {
					sent++
					current.send(fmt.Sprint(sent))
				}
				next := servers[move%2].connect(append(offer, "Holdfast-Reattach", "drain", "Holdfast-Attempt", "1")...)
				if notices {
					current.ping("holdfast leave")
				}
				for n := sent - 3; n <= sent; n++ {
					current.want(fmt.Sprintf("%d: %d", n, n)) // without notices, the test must wait for them
				}
				if notices {
					current.wantClose(1012, "session moved")
					next.ping("holdfast begin")
				} else {
					current.Close()
					next.send(fmt.Sprint(sent + 1))
				}
				next.want(fmt.Sprintf("continued from %d", sent)) // not from 0
				if !notices {
					sent++
					next.want(fmt.Sprintf("%d: %d", sent, sent))
				}
				current = next
			}
			if _, res, err := servers[0].tryConnect("Holdfast-Session", "unknown", "Holdfast-Reattach", "drain"); err == nil || res.StatusCode != 404 {
				t.Errorf("an unknown session: %v, %v; want 404", res, err)
			}
		})
	}
}

// When Control closes a session, and when it lets it begin.
func TestControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closes := make(chan int, 10)
		end := func(code int, reason string) { closes <- code }
		request := func(header ...string) *http.Request {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			return r
		}
		closedWith := func(what string, want ...int) {
			t.Helper()
			synctest.Wait()
			for _, code := range want {
				select {
				case got := <-closes:
					if got != code {
						t.Errorf("%s: closed with %d, want %d", what, got, code)
					}
				default:
					t.Errorf("%s: not closed, want %d", what, code)
				}
			}
			if len(closes) > 0 {
				t.Errorf("%s: closed with %d, which it shouldn't be", what, <-closes)
			}
		}

		kit := backend.New(options(backend.Options{DrainTimeout: time.Second}))
		answer := http.Header{}
		c := kit.Control(answer, request("Holdfast-Control", "1"))
		leave := c.Join(end)
		for _, payload := range []string{"", "holdfast", "holdfast leave ", "Holdfast leave", "holdfast begin."} {
			if c.Ping([]byte(payload)) {
				t.Errorf("%q is reported as a notice", payload)
			}
		}
		closedWith("other pings")
		if !c.Ping([]byte("holdfast leave")) || !c.Ping([]byte("holdfast leave")) {
			t.Error("a notice isn't reported")
		}
		closedWith("two notices", 1012)
		leave()
		c.Ping([]byte("holdfast leave"))
		closedWith("a notice after the end")

		c = kit.Control(answer, request("Holdfast-Control", "1"))
		c.Ping([]byte("holdfast leave"))
		leave = c.Join(end)
		closedWith("a notice before Join", 1012)
		leave()

		c = kit.Control(answer, request("Holdfast-Control", "1"))
		leave = c.Join(end)
		drained := make(chan error)
		go func() { drained <- kit.Drain(t.Context()) }()
		closedWith("a drain", 1001)
		c.Ping([]byte("holdfast leave"))
		closedWith("a notice while it is being closed")
		leave()
		if err := <-drained; err != nil {
			t.Error(err)
		}

		for _, b := range []struct {
			control, why string
			begun        bool
		}{
			{"1", "", true}, {"", "", true}, {"1", "drain", false}, {"1", "loss", false}, {"1", "rebalance", false},
			{"", "drain", false}, {"2", "drain", false}, {"", "loss", true}, {"2", "loss", true}, {"", "rebalance", false},
		} {
			for _, begin := range []func(*backend.Control){
				func(c *backend.Control) { c.Ping([]byte("holdfast begin")) }, (*backend.Control).Begin,
			} {
				c := kit.Control(http.Header{}, request("Holdfast-Control", b.control, "Holdfast-Reattach", b.why))
				if c.Notices() != (b.control == "1") {
					t.Errorf("%+v: notices: %v", b, c.Notices())
				}
				isBegun := func() bool {
					select {
					case <-c.Begun():
						return true
					default:
						return false
					}
				}
				if isBegun() != b.begun {
					t.Errorf("%+v: begun after the handshake: %v", b, !b.begun)
				}
				begin(c)
				begin(c)
				if !isBegun() {
					t.Errorf("%+v: not begun", b)
				}
			}
		}
	})
}
