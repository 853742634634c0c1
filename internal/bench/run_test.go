package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/bench/server"
	"github.com/holdfast-ws/holdfast/internal/bench/wsconn"
)

// benchServer returns the URL, without a path, of a right server.
func benchServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- new(server.Server).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "ws://" + l.Addr().String()
}

// few is a small load that is over soon.
func few(url string) Options {
	return Options{
		URL: url, Mode: Echo, Sessions: 10, Ramp: 1000, Rate: 1000, Size: 64, Duration: 200 * time.Millisecond,
		Senders: 1, Parallel: 4, Rounds: 2, Timeout: 10 * time.Second, CapacityP99: time.Second,
	}
}

func run1(t *testing.T, o Options) (*Report, Result) {
	t.Helper()
	rep, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return rep, rep.Targets[len(rep.Targets)-1]
}

// kinds are the failures as "kind×count", the most frequent first.
func kinds(r Result) string {
	var all []string
	for _, f := range r.Failures {
		all = append(all, fmt.Sprintf("%s×%d", f.Kind, f.Count))
	}
	return strings.Join(all, " ")
}

func TestEcho(t *testing.T) {
	for _, change := range []func(*Options){
		func(*Options) {},
		func(o *Options) { o.Text, o.Size = true, MinTextSize },
		func(o *Options) { o.Size, o.Rate = 300_000, 50 },
	} {
		o := few(benchServer(t) + "/echo")
		change(&o)
		rep, r := run1(t, o)
		want := int64(o.Rate * o.Duration.Seconds())
		if rep.Failed() != 0 || r.Opened != 10 || r.Dropped != 0 || r.Sent != want || r.Received != want ||
			r.Handshake.Count != 10 || r.Message.Count != uint64(want) || r.Closing.Count != 10 || r.Message.P50 <= 0 {
			t.Errorf("%d bytes: %s; %+v", o.Size, kinds(r), r)
		}
	}
}

// TestTLS runs over wss against a server that shares no code with this one.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(rightEcho))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	o := few(strings.Replace(s.URL, "https", "wss", 1))
	_, r := run1(t, o)
	if kinds(r) != "tls_failed×10" {
		t.Errorf("with an unknown certificate: %s", kinds(r))
	}
	o.Insecure = true
	if _, r := run1(t, o); kinds(r) != "" || r.Received != 200 {
		t.Errorf("with --insecure: %s; %+v", kinds(r), r)
	}
}

func rightEcho(w http.ResponseWriter, r *http.Request) {
	faulty(w, r, func(ws *websocket.Conn, typ websocket.MessageType, _ int, m []byte) error {
		return ws.Write(r.Context(), typ, m)
	})
}

// faulty serves a WebSocket by giving each message, with its number, to answer.
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

// TestEveryFailureIsCounted: servers that each do one thing wrong, to 10
// sessions with 20 messages each.
func TestEveryFailureIsCounted(t *testing.T) {
	type answerer = func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error
	bg := context.Background()
	echo := func(ws *websocket.Conn, typ websocket.MessageType, m []byte) error { return ws.Write(bg, typ, m) }
	for _, c := range []struct {
		name   string
		answer func() answerer // one for each session
		want   string
	}{
		{"one message in ten is forgotten", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n%10 == 3 {
					return nil
				}
				return echo(ws, typ, m)
			}
		}, "lost×20"},
		{"the last is forgotten", func() answerer {
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
		{"text comes back for binary", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 5 {
					typ = websocket.MessageText
				}
				return echo(ws, typ, m)
			}
		}, "corrupt×10 lost×10"},
		{"one comes twice", func() answerer {
			return func(ws *websocket.Conn, typ websocket.MessageType, n int, m []byte) error {
				if n == 7 {
					_ = echo(ws, typ, m)
				}
				return echo(ws, typ, m)
			}
		}, "duplicate×10"},
		{"two change places", func() answerer {
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
				t.Errorf("the report doesn't tell of %s:\n%s", kind, &text)
			}
		})
	}
}

// TestMisdelivered: two sessions get each other's messages.
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
		t.Errorf("nobody there: %s", kinds(r))
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0") // connects, and is never accepted
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
			rightEcho(w, r)
		}
	}))
	defer s.Close()
	o = few(strings.Replace(s.URL, "http", "ws", 1))
	o.Sessions = 9
	if _, r := run1(t, o); kinds(r) != "handshake_invalid×3 handshake_status_503×3" || r.Opened != 3 || r.Received != 200 {
		t.Errorf("one in three is well: %s; %+v", kinds(r), r)
	}
}

// TestCloseUnanswered: a server that doesn't answer Close.
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

func TestIdle(t *testing.T) {
	o := few(benchServer(t) + "/sink")
	o.Mode = Idle
	rep, r := run1(t, o)
	if rep.Failed() != 0 || r.Opened != 10 || r.HeldFor < o.Duration || r.Closing.Count != 10 {
		t.Errorf("%s; %+v", kinds(r), r)
	}
}

func TestFanout(t *testing.T) {
	o := few(benchServer(t) + "/broadcast")
	o.Mode, o.Senders, o.Rate = Fanout, 3, 50
	rep, r := run1(t, o)
	if rep.Failed() != 0 || r.Sent != 10 || r.Received != 100 {
		t.Errorf("the sender included: %s; %+v", kinds(r), r)
	}

	// A chat that sends to all others, and forgets one of them once.
	var mu sync.Mutex
	var all []*websocket.Conn
	forgets := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		mu.Lock()
		all = append(all, ws)
		mu.Unlock()
		for n := 0; ; n++ {
			typ, m, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			mu.Lock()
			skipped := 0
			for _, other := range all {
				if forgets && n == 5 && other != ws && skipped == 0 {
					skipped++
				} else if other != ws {
					_ = other.Write(r.Context(), typ, m)
				}
			}
			mu.Unlock()
		}
	}))
	defer s.Close()
	o.URL, o.Senders, o.Timeout = strings.Replace(s.URL, "http", "ws", 1), 1, 2*time.Second
	if _, r := run1(t, o); kinds(r) != "" || r.Received != 90 {
		t.Errorf("all but the sender: %s; %+v", kinds(r), r)
	}
	mu.Lock()
	all, forgets = nil, true
	mu.Unlock()
	if _, r := run1(t, o); kinds(r) != "lost×1" || r.Received != 89 {
		t.Errorf("with one forgotten: %s; %+v", kinds(r), r)
	}
}

func TestChurn(t *testing.T) {
	o := few(benchServer(t) + "/echo")
	o.Mode, o.Rate = Churn, 0
	rep, r := run1(t, o)
	if rep.Failed() != 0 || r.Received == 0 || r.Sent != r.Received || r.Opened != r.Sent || r.Closing.Count != uint64(r.Sent) {
		t.Errorf("in parallel: %s; %+v", kinds(r), r)
	}
	o.Rate, o.Sessions = 100, 1000
	rep, r = run1(t, o)
	if rep.Failed() != 0 || r.Received != 20 {
		t.Errorf("at a rate: %s; %+v", kinds(r), r)
	}
	o.Rate, o.Sessions = 20_000, 1
	if _, r = run1(t, o); !strings.HasPrefix(kinds(r), "too_many_open×") || r.Sent+r.Unsent != 4000 {
		t.Errorf("with too few sessions: %s; %+v", kinds(r), r)
	}
}

// TestDirect: both targets get the same, and the difference shows what slows
// one of them.
func TestDirect(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		faulty(w, r, func(ws *websocket.Conn, typ websocket.MessageType, _ int, m []byte) error {
			<-time.After(20 * time.Millisecond)
			return ws.Write(r.Context(), typ, m)
		})
	}))
	defer slow.Close()
	o := few(strings.Replace(slow.URL, "http", "ws", 1))
	o.Direct = []string{benchServer(t) + "/echo", benchServer(t) + "/echo"}
	o.Rate = 200
	o.Capacity, o.CapacityP99, o.Trial = true, 250*time.Millisecond, 100*time.Millisecond
	rep, _ := run1(t, o)
	if rep.Failed() != 0 || len(rep.Targets) != 2 || rep.Targets[0].Name != targetDirect || rep.Targets[1].Name != targetBalancer {
		t.Fatalf("%s; %+v", kinds(rep.Targets[1]), rep)
	}
	for _, r := range rep.Targets {
		if r.Sent != 40 || r.Received != 40 || r.Opened != 10 {
			t.Errorf("%s: %+v", r.Name, r)
		}
	}
	if len(rep.Added) != 8 || rep.Added[4].What != "message" || rep.Added[4].Median < 10*time.Millisecond || rep.Added[4].Rounds != 2 {
		t.Errorf("added: %+v", rep.Added)
	}
	if len(rep.Capacity) != 3 || rep.Capacity[0].Target != targetOneServer || rep.Capacity[2].Target != targetBalancer {
		t.Fatalf("capacity: %+v", rep.Capacity)
	}
	// 10 sessions at 20 ms a message: 500/s, and a trial as short as this one
	// forgives some queueing. A busy machine may give less.
	if c := rep.Capacity[2]; c.Rate < 20 || c.Rate > 2000 || len(c.Trials) < 3 {
		t.Errorf("capacity of the slow one: %+v", c)
	}
	var text, js strings.Builder
	rep.Print(&text)
	for _, want := range []string{"added by the balancer", "capacity (", "no failures", "one server", "load balancing gives"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in the report:\n%s", want, &text)
		}
	}
	if err := rep.PrintJSON(&js); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Mode    string
		Failed  *int
		Targets []struct {
			Sent    int
			Message map[string]float64
		}
		Capacity []struct{ Trials []any }
	}
	if err := json.Unmarshal([]byte(js.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Mode != "echo" || *got.Failed != 0 || len(got.Targets) != 2 || got.Targets[1].Message["p50_ms"] < 20 || len(got.Capacity) != 3 {
		t.Errorf("JSON:\n%s", &js)
	}
}

func TestInterrupted(t *testing.T) {
	for _, mode := range []Mode{Echo, Churn, Idle} {
		o := few(benchServer(t) + "/echo")
		o.Mode, o.Duration, o.Rate = mode, time.Hour, 100
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		rep, err := Run(ctx, o)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		r := rep.Targets[0]
		if !rep.Interrupted || rep.Failed() != 0 || r.Opened == 0 || mode != Idle && r.Received == 0 || rep.Took > 20*time.Second {
			t.Errorf("%s: %s; %+v", mode, kinds(r), r)
		}
	}
}

func TestProgress(t *testing.T) {
	g := &group{name: "target"}
	g.opened.Store(3)
	p := &progress{groups: []*group{g}, live: true, to: new(strings.Builder)}
	p.phase("opening", 0)
	p.print()
	if got := p.to.(*strings.Builder).String(); !strings.HasPrefix(got, "\ropening, 0s | 3 opened") {
		t.Errorf("got %q", got)
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"":               func(*Options) {},
		"--mode":         func(o *Options) { o.Mode = "flood" },
		"--sessions":     func(o *Options) { o.Sessions = 0 },
		"--ramp":         func(o *Options) { o.Ramp = 0 },
		"--rate":         func(o *Options) { o.Rate = 0 },
		"--size":         func(o *Options) { o.Size = MinSize - 1 },
		"(in hex":        func(o *Options) { o.Text, o.Size = true, MinTextSize-1 },
		"--duration":     func(o *Options) { o.Duration = 0 },
		"--hold":         func(o *Options) { o.Hold = -1 },
		"--timeout":      func(o *Options) { o.Timeout = 0 },
		"--senders":      func(o *Options) { o.Mode, o.Senders = Fanout, 11 },
		"--parallel":     func(o *Options) { o.Mode, o.Parallel = Churn, 0 },
		"--rounds":       func(o *Options) { o.Direct, o.Rounds = []string{"ws://x"}, 0 },
		"leave --mode":   func(o *Options) { o.Capacity, o.Mode = true, Idle },
		"--capacity-p99": func(o *Options) { o.Capacity, o.CapacityP99 = true, 0 },
	} {
		o := few("ws://127.0.0.1")
		change(&o)
		err := o.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v", want, err)
		}
	}
	o := few("ws://127.0.0.1")
	o.Sessions = 1 << 40
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
		t.Errorf("more sessions than descriptors: %v", err)
	}
	o.URL, o.Header = "http://127.0.0.1", []wsconn.Field{{Name: "A", Value: "b"}}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "ws://") {
		t.Errorf("no WebSocket URL: %v", err)
	}
}
