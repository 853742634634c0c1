package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
)

// prompt calls stop when somebody is asked to send SIGTERM.
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

func optionsFor(address string, stop func()) Options {
	return Options{
		URL: "ws://" + address + "/ws", Health: "/health", Subprotocol: []string{"one", "two"},
		Interval: testNotice / 3, Idle: testIdle, Timeout: 3 * time.Second,
		Drain: true, Sessions: 5, DrainTimeout: 6 * time.Second, Progress: &prompt{stop: stop},
	}
}

func results(r *Report) (mend, skipped []string) {
	for _, l := range r.Lines {
		switch l.Result {
		case Mend:
			mend = append(mend, l.Check)
		case Skipped:
			skipped = append(skipped, l.Check)
		}
	}
	return mend, skipped
}

// finds is what is to be found of a defect.
type finds struct {
	defect  string
	mend    []string
	skipped []string
	found   string // part of what the first of mend found
}

// testFinds examines a server with each defect, all at a time since they wait
// more than they work.
func testFinds(t *testing.T, drain bool, table []finds) {
	t.Parallel()
	reports := make([]*Report, len(table))
	var examining sync.WaitGroup
	for i, c := range table {
		s := serveWith(t, c.defect)
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
		mend, skipped := results(r)
		if !drain { // all of it is skipped then
			skipped = skipped[:len(skipped)-len(drainChecks)]
		}
		if !slices.Equal(mend, c.mend) || !slices.Equal(skipped, c.skipped) || r.Mend != len(mend) {
			t.Errorf("%s:\nto mend %v, want %v\nskipped %v, want %v\n%s", c.defect, mend, c.mend, skipped, c.skipped, text(r))
		}
		for i, l := range r.Lines {
			if l.Number != i+1 || l.Found == "" || (l.Advice != "") != (l.Result == Mend) {
				t.Errorf("%s: line %d is %+v", c.defect, i, l)
			}
			if len(c.mend) > 0 && l.Check == c.mend[0] && !strings.Contains(l.Found, c.found) {
				t.Errorf("%s: %s found %q, want %q", c.defect, l.Check, l.Found, c.found)
			}
		}
	}
}

func text(r *Report) (text string) {
	for _, l := range r.Lines {
		text += fmt.Sprintf("%+v\n", l)
	}
	return text
}

var drainChecks = []string{"drain-health", "drain-notice", "drain-close", "drain-spread", "drain-refuse", "drain-exit"}

// Each defect is found, by the check that is for it, and by no other that
// could do without what is broken.
func TestDefects(t *testing.T) {
	rest := []string{"ping", "close", "reattach", "again", "compression", "health", "idle"}
	testFinds(t, false, []finds{
		{"", nil, nil, ""},
		{wrongAccept, []string{"handshake"}, rest, "does not answer the key"},
		{noUpgrade, []string{"handshake"}, rest, "lacks \"Upgrade"},
		{noConnection, []string{"handshake"}, rest, "lacks \"Connection"},
		{strangeProtocol, []string{"handshake"}, rest, `subprotocol "smtp", which was not offered`},
		{strangeExtension, []string{"handshake"}, rest, `extension "permessage-deflate", which was not offered`},
		{saysNothing, []string{"handshake"}, rest, "no answer within 3s"},
		{speaksAnother, []string{"handshake"}, rest, "no HTTP answer"},
		{says401, []string{"handshake"}, rest, "answered with 401 Unauthorized"},
		{says404, []string{"handshake"}, rest, "answered with 404 Not Found"},
		{says426, []string{"handshake"}, rest, "answered with 426"},
		{says503, []string{"handshake"}, rest, "answered with 503"},
		{noPong, []string{"ping", "reattach", "idle"}, nil, "no pong within 3s"},
		{wrongPong, []string{"ping", "reattach", "idle"}, nil, "doesn't carry what the ping carried"},
		{latePong, []string{"ping"}, nil, "the pong came after 2.2"},
		{masksFrames, []string{"ping", "close", "reattach", "idle"}, nil, "masked frame"},
		{ignoresClose, []string{"close", "reattach"}, nil, "our Close with 1000 was not answered within 3s"},
		{cutsOnClose, []string{"close", "reattach"}, nil, "after our Close with 1000, the connection ended without a Close frame"},
		{staysOpen, []string{"close", "reattach"}, nil, "keeps the connection open"},
		{talksPastClose, []string{"close", "reattach"}, nil, "sent something after its Close"},
		{refusesMoved, []string{"reattach"}, []string{"again"}, "is answered with 404"},
		{failsMoved, []string{"reattach"}, []string{"again"}, "answered with 500"},
		{kicksOld, []string{"reattach"}, nil, "the old one was gone"},
		{losesNew, []string{"reattach"}, nil, "the new one ended too"},
		{secondChoice, []string{"again"}, nil, `the subprotocol was "one", and then "two"`},
		{secondDeflate, []string{"again"}, nil, `the extensions were "permessage-deflate; client_no_context_takeover; server_no_context_takeover", and then ""`},
		{takesOver, []string{"compression"}, nil, "it agreed to permessage-deflate"},
		{noHealth, []string{"health"}, nil, "GET /health says 404"},
		{alwaysDrains, []string{"health"}, nil, "says 503"},
		{redirects, []string{"health"}, nil, "says 302"},
		{strangeLoad, []string{"health"}, nil, `Holdfast-Load: "busy"`},
		{impatient, []string{"idle"}, nil, "without traffic, the server closed it with 1001"},
		{impatientCut, []string{"idle"}, nil, "without traffic, the connection ended without a Close frame"},
	})
}

func TestDefectsInDrain(t *testing.T) {
	testFinds(t, true, []finds{
		{"", nil, nil, ""},
		{never503, []string{"drain-health"}, []string{"drain-notice"}, "health never said 503; the last was 200"},
		{late503, []string{"drain-health", "drain-notice"}, nil, "after the first session had ended"},
		{noNotice, []string{"drain-notice"}, nil, "the first session ended after"},
		{deafInNotice, []string{"drain-notice"}, nil, "a handshake was not served: answered with 503"},
		{stuckInNotice, []string{"drain-notice"}, nil, "a session did not work: no pong within 2s"},
		{cutsInDrain, []string{"drain-close"}, nil, "cut off without a Close frame"},
		{closes1000, []string{"drain-close"}, nil, "6 closed with 1000"},
		{closesAtOnce, []string{"drain-spread"}, nil, "6 sessions ended within"},
		{takesMore, []string{"drain-refuse"}, nil, "a handshake was taken"},
		{staysUp, []string{"drain-exit"}, nil, "somebody still listens"},
		{neverCloses, []string{"drain-close"}, []string{"drain-spread", "drain-refuse", "drain-exit"}, "of 6 sessions, 6 still open"},
		{ignoresTerm, []string{"drain-health"}, drainChecks[1:], "no sign of a drain in 6s"},
	})
}

// A server with the kit has nothing to mend.
func TestKitIsHealthy(t *testing.T) {
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
	go func() {
		ended <- kit.Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
				Subprotocols: []string{"two", "one"}, CompressionMode: websocket.CompressionNoContextTakeover,
			})
			if err != nil {
				return
			}
			defer conn.CloseNow()
			leave := kit.Join(r, func(code int, reason string) { conn.Close(websocket.StatusCode(code), reason) })
			defer leave()
			for err == nil {
				_, _, err = conn.Read(r.Context())
			}
		}))
	}()
	r, err := Examine(t.Context(), optionsFor(l.Addr().String(), stop))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Lines {
		if l.Result != OK {
			t.Errorf("%+v", l)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Without --pid and --drain the server is left in peace.
func TestWithoutDrain(t *testing.T) {
	s := serveWith(t)
	s.mu.Lock()
	s.host = "chat.example.com"
	s.mu.Unlock()
	o := optionsFor(s.listener.Addr().String(), nil)
	o.Drain, o.Health, o.Subprotocol = false, "", nil
	o.Header = [][2]string{{"host", s.host}, {"Authorization", "Bearer token"}}
	var each []Line
	o.Each = func(l Line) { each = append(each, l) }
	r, err := Examine(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	mend, skipped := results(r)
	if len(mend) != 0 || len(skipped) != 7 || !slices.Equal(each, r.Lines) {
		t.Errorf("%+v", r.Lines)
	}
}

// wss, with a certificate that nobody knows.
func TestTLS(t *testing.T) {
	kit := backend.New(backend.Options{Log: slog.New(slog.DiscardHandler)})
	s := httptest.NewUnstartedServer(kit.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := websocket.Accept(w, r, nil); err == nil {
			conn.Read(r.Context())
			conn.CloseNow()
		}
	})))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the certificate that is refused
	s.StartTLS()
	defer s.Close()
	o := optionsFor(s.Listener.Addr().String(), nil)
	o.URL = "wss" + strings.TrimPrefix(o.URL, "ws")
	o.Drain, o.Idle = false, time.Millisecond
	for _, o.Insecure = range []bool{false, true} {
		r, err := Examine(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if mend, _ := results(r); o.Insecure != (len(mend) == 0) || !o.Insecure && !strings.Contains(r.Lines[0].Found, "can't connect: tls: ") {
			t.Errorf("insecure %v: %s", o.Insecure, text(r))
		}
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r, err := Examine(t.Context(), Options{URL: "ws://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Mend != 1 || !strings.Contains(r.Lines[0].Found, "can't connect") {
		t.Errorf("%+v", r.Lines)
	}
}

// An examination that is broken off ends at once, whatever it waits for.
func TestBrokenOff(t *testing.T) {
	stop := errors.New("stopped")
	for _, at := range []int{checkHandshake, checkHealth, checkIdle} {
		defect := ""
		if at == checkHandshake {
			defect = saysNothing
		}
		s := serveWith(t, defect)
		ctx, cancel := context.WithCancelCause(t.Context())
		o := optionsFor(s.listener.Addr().String(), func() { cancel(stop) })
		o.Timeout, o.Idle, o.DrainTimeout = time.Hour, time.Hour, time.Hour
		if at == checkIdle {
			o.Idle = time.Millisecond // and on to the drain, where it is asked to stop
		}
		o.Each = func(l Line) {
			if l.Result != OK {
				t.Errorf("broken off at %d, it told %+v", at, l)
			}
			if l.Number == at && at == checkHealth {
				cancel(stop)
			}
		}
		if at == checkHandshake {
			time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
		}
		if _, err := Examine(ctx, o); !errors.Is(err, stop) {
			t.Errorf("broken off at %d: %v", at, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"must begin with ws:// or wss://": {URL: "http://localhost/"},
		"has no host":                     {URL: "ws:///path"},
		"is no URL":                       {URL: "ws://a b/"},
		"has a password in it":            {URL: "ws://me:secret@localhost/"},
		"has a fragment":                  {URL: "ws://localhost/#a"},
		"must be a path":                  {URL: "ws://localhost", Health: "health"},
		"can't be less than 0":            {URL: "ws://localhost", Idle: -1},
		"must be 2 to 1000":               {URL: "ws://localhost", Sessions: 1},
		"either --pid or --drain":         {URL: "ws://localhost", PID: os.Getpid(), Drain: true},
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

// Each check's section is in the document, under its number.
func TestDocumentHasTheChecklist(t *testing.T) {
	text, err := os.ReadFile("../../" + document)
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
