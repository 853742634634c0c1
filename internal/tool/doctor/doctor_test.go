package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// prompt calls stop when the user is asked to send SIGTERM.
type prompt struct {
	once sync.Once
	stop func()
}

func (p *prompt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "send SIGTERM to the server now") {
		p.once.Do(p.stop)
	}
	return len(b), nil
}

const testQuestion = "how many?"

func optionsFor(address string, stop func()) Options {
	return Options{
		URL: "ws://" + address + "/ws", Health: "/health", Subprotocol: []string{"one", "two"},
		Interval: testNotice / 3, Idle: testIdle, Timeout: 3 * time.Second,
		Say: []string{"first", "second"}, Ask: testQuestion, Answer: regexp.MustCompile(`^message (\d+)`),
		Drain: true, Sessions: 5, DrainTimeout: 6 * time.Second, Progress: &prompt{stop: stop},
	}
}

func results(r *Report) (toFix, skipped []string) {
	for _, l := range r.Checks {
		switch l.Result {
		case Fix:
			toFix = append(toFix, l.Check)
		case Skipped:
			skipped = append(skipped, l.Check)
		}
	}
	return toFix, skipped
}

// findings are the expected results for a defect.
type findings struct {
	defect  string
	toFix   []string
	skipped []string
	found   string // part of Found of the first of toFix
}

// testFindings examines a server with each defect. All run in parallel, since they
// mostly wait.
func testFindings(t *testing.T, drain bool, table []findings) {
	t.Parallel()
	reports := make([]*Report, len(table))
	var examining sync.WaitGroup
	for i, c := range table {
		s := serveWith(t, strings.Split(c.defect, " + ")...)
		o := optionsFor(s.listener.Addr().String(), s.stop)
		o.Drain = drain
		examining.Go(func() {
			var err error
			if reports[i], err = Examine(t.Context(), o); err != nil {
				t.Errorf("%s: %v", c.defect, err)
			}
		})
	}
	if examining.Wait(); t.Failed() {
		return
	}
	for i, c := range table {
		r := reports[i]
		toFix, skipped := results(r)
		if !drain { // all drain checks are skipped
			skipped = skipped[:len(skipped)-len(drainChecks)]
		}
		if !slices.Equal(toFix, c.toFix) || !slices.Equal(skipped, c.skipped) || r.ToFix != len(toFix) {
			t.Errorf("%s:\nto fix %v, want %v\nskipped %v, want %v\n%s", c.defect, toFix, c.toFix, skipped, c.skipped, text(r))
		}
		for i, l := range r.Checks {
			if l.Number != i+1 || l.Found == "" || (l.Advice != "") != (l.Result == Fix) {
				t.Errorf("%s: result %d is %+v", c.defect, i, l)
			}
			if len(c.toFix) > 0 && l.Check == c.toFix[0] && !strings.Contains(l.Found, c.found) {
				t.Errorf("%s: %s found %q, want %q", c.defect, l.Check, l.Found, c.found)
			}
		}
	}
}

func text(r *Report) (text string) {
	for _, l := range r.Checks {
		text += fmt.Sprintf("%+v\n", l)
	}
	return text
}

var drainChecks = []string{"drain-health", "drain-notice", "drain-close", "drain-spread", "drain-refuse", "drain-exit"}

// Each defect is found by its check, and by no other check that doesn't depend on
// what is broken.
func TestDefects(t *testing.T) {
	rest := []string{"ping", "close", "reattach", "again", "compression", "notice", "health", "idle"}
	testFindings(t, false, []findings{
		{"", nil, nil, ""},
		{wrongAccept, []string{"handshake"}, rest, "doesn't match the key"},
		{noUpgrade, []string{"handshake"}, rest, "lacks \"Upgrade"},
		{noConnection, []string{"handshake"}, rest, "lacks \"Connection"},
		{strangeProtocol, []string{"handshake"}, rest, `subprotocol "smtp", which was not offered`},
		{strangeExtension, []string{"handshake"}, rest, `extension "permessage-deflate", which was not offered`},
		{noAnswer, []string{"handshake"}, rest, "no answer within 3s"},
		{otherProtocol, []string{"handshake"}, rest, "no HTTP response"},
		{says401, []string{"handshake"}, rest, "answered with 401 Unauthorized"},
		{says404, []string{"handshake"}, rest, "answered with 404 Not Found"},
		{says426, []string{"handshake"}, rest, "answered with 426"},
		{says503, []string{"handshake"}, rest, "answered with 503"},
		{noPong, []string{"ping", "reattach", "idle"}, []string{"notice"}, "no pong within 3s"},
		{wrongPong, []string{"ping", "reattach", "idle"}, []string{"notice"}, "doesn't have the payload of the ping"},
		{latePong, []string{"ping"}, nil, "the pong came after"},
		{masksFrames, []string{"ping", "close", "reattach", "idle"}, []string{"again", "notice"}, "masked frame"},
		{ignoresClose, []string{"close"}, nil, "our Close with 1000 was not answered within 3s"},
		{noControl + " + " + ignoresClose, []string{"close", "reattach"}, []string{"notice"}, "our Close with 1000 was not answered within 3s"},
		{cutsOnClose, []string{"close"}, nil, "after our Close with 1000, the connection ended without a Close frame"},
		{noControl + " + " + cutsOnClose, []string{"close", "reattach"}, []string{"notice"}, "after our Close with 1000, the connection ended without a Close frame"},
		{staysOpen, []string{"close"}, nil, "keeps the connection open"},
		{noControl + " + " + staysOpen, []string{"close", "reattach"}, []string{"notice"}, "keeps the connection open"},
		{sendsAfterClose, []string{"close"}, nil, "sent something after its Close"},
		{noControl + " + " + sendsAfterClose, []string{"close", "reattach"}, []string{"notice"}, "sent something after its Close"},
		{refusesMoved, []string{"reattach"}, []string{"again", "notice"}, "is answered with 404"},
		{failsMoved, []string{"reattach"}, []string{"again", "notice"}, "answered with 500"},
		{closesOld, []string{"reattach"}, []string{"notice"}, "the old one ended"},
		{closesNew, []string{"reattach"}, nil, "the new one ended too"},
		{secondChoice, []string{"again"}, nil, `the subprotocol was "one", and then "two"`},
		{secondDeflate, []string{"again"}, nil, `the extensions were "permessage-deflate; client_no_context_takeover; server_no_context_takeover", and then ""`},
		{takesOver, []string{"compression"}, nil, "it agreed to permessage-deflate"},
		{noHealth, []string{"health"}, nil, "GET /health returned 404"},
		{alwaysDrains, []string{"health"}, nil, "returned 503"},
		{redirects, []string{"health"}, nil, "returned 302"},
		{strangeLoad, []string{"health"}, nil, `Holdfast-Load: "busy"`},
		{impatient, []string{"idle"}, nil, "without traffic, the server closed the session with 1001"},
		{impatientCut, []string{"idle"}, nil, "without traffic, the connection ended without a Close frame"},
	})
}

func TestDefectsInDrain(t *testing.T) {
	testFindings(t, true, []findings{
		{"", nil, nil, ""},
		{never503, []string{"drain-health"}, []string{"drain-notice"}, "the health check never returned 503; the last result was 200"},
		{late503, []string{"drain-health", "drain-notice"}, nil, "after the first session had ended"},
		{noNotice, []string{"drain-notice"}, nil, "the first session ended after"},
		{refusesInNotice, []string{"drain-notice"}, nil, "a handshake failed: answered with 503"},
		{stuckInNotice, []string{"drain-notice"}, nil, "a session didn't work: no pong within 2s"},
		{cutsInDrain, []string{"drain-close"}, nil, "cut off without a Close frame"},
		{closes1000, []string{"drain-close"}, nil, "6 closed with 1000"},
		{closesAtOnce, []string{"drain-spread"}, nil, "6 sessions ended within"},
		{acceptsWhileClosing, []string{"drain-refuse"}, nil, "a handshake was accepted"},
		{staysUp, []string{"drain-exit"}, nil, "the port is still open"},
		{neverCloses, []string{"drain-close"}, []string{"drain-spread", "drain-refuse", "drain-exit"}, "of 6 sessions, 6 still open"},
		{ignoresTerm, []string{"drain-health"}, drainChecks[1:], "no sign of a drain in 6s"},
	})
}

// A server with package backend passes all checks.
func TestBackendPackagePasses(t *testing.T) {
	t.Parallel()
	kit := backend.New(backend.Options{
		Notice: testNotice, DrainTimeout: 4 * time.Second, MaxSessions: 100, Log: slog.New(slog.DiscardHandler),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	var counts sync.Map // number of messages of each session
	go func() {
		ended <- kit.Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from := backend.Reattach(r)
			if _, known := counts.LoadOrStore(from.ID, new(atomic.Int32)); from.Reattached() && !known {
				counts.Delete(from.ID)
				http.NotFound(w, r)
				return
			}
			control := kit.Control(w.Header(), r)
			conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
				Subprotocols: []string{"two", "one"}, CompressionMode: websocket.CompressionNoContextTakeover,
				OnPingReceived: func(_ context.Context, payload []byte) bool { control.Ping(payload); return true },
			})
			if err != nil {
				return
			}
			defer conn.CloseNow()
			leave := control.Join(func(code int, reason string) { conn.Close(websocket.StatusCode(code), reason) })
			defer leave()
			n, _ := counts.Load(from.ID)
			for err == nil {
				if _, _, err = conn.Read(r.Context()); err == nil {
					err = conn.Write(r.Context(), websocket.MessageText, fmt.Append(nil, "message ", n.(*atomic.Int32).Add(1)))
				}
			}
		}))
	}()
	r, err := Examine(t.Context(), optionsFor(l.Addr().String(), stop))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Checks {
		if l.Result != OK {
			t.Errorf("%+v", l)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Without --pid and --drain the server isn't stopped.
func TestWithoutDrain(t *testing.T) {
	s := serveWith(t)
	s.mu.Lock()
	s.host = "chat.example.com"
	s.mu.Unlock()
	o := optionsFor(s.listener.Addr().String(), nil)
	o.Drain, o.Health, o.Subprotocol = false, "", nil
	o.Header = [][2]string{{"host", s.host}, {"Authorization", "Bearer token"}}
	var each []CheckResult
	o.Each = func(l CheckResult) { each = append(each, l) }
	r, err := Examine(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	toFix, skipped := results(r)
	if len(toFix) != 0 || len(skipped) != 7 || !slices.Equal(each, r.Checks) {
		t.Errorf("%+v", r.Checks)
	}
}

func TestUnreachableServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r, err := Examine(t.Context(), Options{URL: "ws://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if r.ToFix != 1 || !strings.Contains(r.Checks[0].Found, "can't connect") {
		t.Errorf("%+v", r.Checks)
	}
}

// A canceled examination ends at once, whatever it is waiting for.
func TestCanceled(t *testing.T) {
	stop := errors.New("stopped")
	for _, at := range []int{checkHandshake, checkHealth, checkIdle} {
		defect := ""
		if at == checkHandshake {
			defect = noAnswer
		}
		s := serveWith(t, defect)
		ctx, cancel := context.WithCancelCause(t.Context())
		o := optionsFor(s.listener.Addr().String(), func() { cancel(stop) })
		o.Timeout, o.Idle, o.DrainTimeout = time.Hour, time.Hour, time.Hour
		if at == checkIdle {
			o.Idle = time.Millisecond // continue to the drain, which is canceled when it asks for SIGTERM
		}
		o.Each = func(l CheckResult) {
			if l.Result != OK {
				t.Errorf("canceled at %d, it reported %+v", at, l)
			}
			if l.Number == at && at == checkHealth {
				cancel(stop)
			}
		}
		if at == checkHandshake {
			time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
		}
		if _, err := Examine(ctx, o); !errors.Is(err, stop) {
			t.Errorf("canceled at %d: %v", at, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"must begin with ws:// or wss://": {URL: "http://localhost/"},
		"has no host":                     {URL: "ws:///path"},
		"is not a URL":                    {URL: "ws://a b/"},
		"contains a password":             {URL: "ws://me:secret@localhost/"},
		"has a fragment":                  {URL: "ws://localhost/#a"},
		"must be a path":                  {URL: "ws://localhost", Health: "health"},
		"can't be negative":               {URL: "ws://localhost", Idle: -1},
		"must be 2 to 1000":               {URL: "ws://localhost", Sessions: 1},
		"either --pid or --drain":         {URL: "ws://localhost", PID: os.Getpid(), Drain: true},
		"give both":                       {URL: "ws://localhost", Answer: regexp.MustCompile("a")},
		"skips the checks that --say":     {URL: "ws://localhost", Ask: "a", NoReattach: true},
		"--pid -1":                        {URL: "ws://localhost", PID: -1},
		"--pid 1073741824":                {URL: "ws://localhost", PID: 1 << 30},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	o := Options{URL: "wss://example.com/a?b=c", PID: os.Getpid()}
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	want := target{tls: true, host: "example.com", address: "example.com:443", path: "/a?b=c", httpOrigin: "https://example.com"}
	if got := o.target(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// The document has a section for each check, with the same number.
func TestDocumentHasTheChecklist(t *testing.T) {
	text, err := os.ReadFile("../../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	var anchors []string
	for _, m := range regexp.MustCompile(`(?m)^### (\d+\. .*)$`).FindAllStringSubmatch(string(text), -1) {
		anchor := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
	}
	var want []string
	for check := checkHandshake; check < checks; check++ {
		want = append(want, checklist[check].anchor)
	}
	if !slices.Equal(anchors, want) {
		t.Errorf("the document has %q, want %q", anchors, want)
	}
}
