package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/tool/bench/server"
	"github.com/holdfast-ws/holdfast/internal/tool/bench/wsconn"
)

// benchServer starts a bench-server and returns its URL without a path.
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

// few returns options for a small and short load.
func few(url string) Options {
	return Options{
		URL: url, Mode: Echo, Sessions: 10, Ramp: 1000, Rate: 1000, Size: 64, Duration: 200 * time.Millisecond,
		Senders: 1, Parallel: 4, Rounds: 2, Timeout: 2 * time.Minute, CapacityP99: time.Second,
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

// kinds formats the failures as "kind×count", the most frequent first.
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

// TestTLS uses wss and another WebSocket implementation as the server.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(correctEcho))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	o := few(strings.Replace(s.URL, "https", "wss", 1))
	_, r := run1(t, o)
	if kinds(r) != "tls_failed×10" {
		t.Errorf("with an unknown certificate: %s", kinds(r))
	}
	if first := r.Failures[0].First; !strings.Contains(first, "--ca names a file") {
		t.Errorf("the advice is missing: %s", first)
	}
	o.Insecure = true
	if _, r := run1(t, o); kinds(r) != "" || r.Received != 200 || r.TLS != [2]TLS{1: {Full: 10}} {
		t.Errorf("with --insecure: %s; %+v", kinds(r), r)
	}
	o.Insecure = false
	o.Roots = x509.NewCertPool()
	o.Roots.AddCert(s.Certificate())
	rep, r := run1(t, o)
	if kinds(r) != "" || r.Received != 200 || r.TLS != [2]TLS{1: {Full: 10}} {
		t.Errorf("with --ca: %s; %+v", kinds(r), r)
	}
	var text, object strings.Builder
	rep.Print(&text)
	if !strings.Contains(text.String(), "TLS 1.3: 10 full, 0 resumed") {
		t.Errorf("the report is %s", text.String())
	}
	if err := rep.PrintJSON(&object); err != nil || !strings.Contains(object.String(), `"tls_1_3": 10`) {
		t.Errorf("the report is %s, %v", object.String(), err)
	}

	// One connection at a time, so that all but the first can resume.
	o.Mode, o.Rate, o.Parallel, o.Duration, o.Resume = Churn, 0, 1, 300*time.Millisecond, true
	for version, want := range map[uint16]int{tls.VersionTLS12: 0, tls.VersionTLS13: 1} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(correctEcho))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{MaxVersion: version}
		s.StartTLS()
		defer s.Close()
		o.URL = strings.Replace(s.URL, "https", "wss", 1)
		_, r := run1(t, o)
		if n := r.TLS[want]; kinds(r) != "" || n.Full != 1 || n.Resumed != r.Opened-1 || n.Resumed < 1 || r.TLS[1-want] != (TLS{}) {
			t.Errorf("with --resume: %s; %+v", kinds(r), r)
		}
	}
}

// TestNotTLS uses wss with a server that speaks only ws.
func TestNotTLS(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(correctEcho))
	defer s.Close()
	_, r := run1(t, few(strings.Replace(s.URL, "http", "wss", 1)))
	if kinds(r) != "tls_failed×10" || !strings.Contains(r.Failures[0].First, "use ws://") {
		t.Errorf("%+v", r.Failures)
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

	// A chat that sends to all others, and once omits one of them.
	var mu sync.Mutex
	var all []*websocket.Conn
	omits := false
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
			for len(all) < o.Sessions { // a session is open before it is in all
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
			}
			skipped := 0
			for _, other := range all {
				if omits && n == 5 && other != ws && skipped == 0 {
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
	all, omits = nil, true
	mu.Unlock()
	if _, r := run1(t, o); kinds(r) != "lost×1" || r.Received != 89 {
		t.Errorf("with one omitted: %s; %+v", kinds(r), r)
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

// Both targets get the same load, and the added latency shows that one is slower.
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
	// On a busy machine, the fast target may once look as slow as the other one.
	for tries := 1; tries < 5 && len(rep.Added) == 8 && rep.Added[4].Median < 10*time.Millisecond; tries++ {
		again := o
		again.Capacity = false
		more, _ := run1(t, again)
		rep.Added = more.Added
	}
	if len(rep.Added) != 8 || rep.Added[4].What != "message" || rep.Added[4].Median < 10*time.Millisecond || rep.Added[4].Rounds != 2 {
		t.Errorf("added: %+v", rep.Added)
	}
	if len(rep.Capacity) != 3 || rep.Capacity[0].Target != targetOneServer || rep.Capacity[2].Target != targetBalancer {
		t.Fatalf("capacity: %+v", rep.Capacity)
	}
	// 10 sessions with 20 ms per message: 500/s. A trial as short as this one
	// tolerates some queueing, and a busy machine may achieve less.
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
		o.Mode, o.Duration, o.Rate = mode, time.Hour, 10 // low enough for a slow machine
		// A slow machine needs more time until there is something to interrupt.
		for after := 300 * time.Millisecond; ; after *= 2 {
			// Cancelled as by a signal: a deadline would also be that of connecting, which may
			// fail a moment before the context has ended.
			ctx, cancel := context.WithCancel(t.Context())
			timer := time.AfterFunc(after, cancel)
			rep, err := Run(ctx, o)
			timer.Stop()
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			r := rep.Targets[0]
			if !rep.Interrupted || rep.Failed() != 0 || rep.Took >= o.Duration {
				t.Errorf("%s: %s; %+v", mode, kinds(r), r)
			} else if r.Opened == 0 || mode != Idle && r.Received == 0 {
				if after < time.Minute {
					continue
				}
				t.Errorf("%s: nothing happened within %v: %+v", mode, after, r)
			}
			break
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
		"needs --mode":   func(o *Options) { o.Capacity, o.Mode = true, Idle },
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
		t.Errorf("not a WebSocket URL: %v", err)
	}
}
