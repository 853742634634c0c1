package app_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
)

const base = `
listeners: [{name: public, address: "127.0.0.1:0"}]
timeouts: {shutdown: 2s}
admin: {address: 127.0.0.1:0}
engine: %s
`

func pools(engine string, lines ...string) string {
	return fmt.Sprintf(base, engine) + strings.Join(lines, "\n") + "\n"
}

func TestReloadSwapsRoutesAndLeavesSessionsAlone(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		one, two := backend(t, "one"), backend(t, "two")
		both := "pools: {a: {backends: [{name: one, address: " + one + "}]}, b: {backends: [{name: two, address: " + two + "}]}}"
		r := start(t, pools(engine, both, "routes: [{match: {path: /ws}, pool: a}, {pool: b}]"))
		stays := r.open("/ws")
		stays.echo("1", "one: 1")
		if w := r.mustReload(pools(engine, both, "routes: [{match: {path: /ws}, pool: b}, {pool: a}]")); len(w) != 0 {
			t.Errorf("warnings %q", w)
		}
		r.open("/ws").echo("2", "two: 2")
		stays.echo("3", "one: 3")
		if got := r.status(); got.Generation != 2 || got.Totals.Active != 2 {
			t.Errorf("status %+v", got)
		}
	})
}

func TestBadReloadChangesNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		good := pools(engine, "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}]}}")
		r := start(t, good)
		stays := r.open("/")
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		listeners := r.Addresses()
		for _, c := range []struct{ text, want string }{
			{strings.Replace(good, "pools:", "pool:", 1), `unknown key "pool"`},
			{strings.Replace(good, "listeners: [", "listeners: [{name: more, address: \""+taken.Addr().String()+"\"}, ", 1), "address already in use"},
			{"", "listeners"},
		} {
			if _, err := r.reload(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		}
		stays.echo("1", "one: 1")
		r.open("/").echo("2", "one: 2")
		if got := r.status(); got.Generation != 1 || fmt.Sprint(r.Addresses()) != fmt.Sprint(listeners) {
			t.Errorf("status %+v, listeners %v, were %v", got, r.Addresses(), listeners)
		}
		if _, body := get("http://" + r.AdminAddr() + "/metrics"); !strings.Contains(body, `holdfast_config_reloads_total{result="failure"} 3`) {
			t.Error("the failures are not counted")
		}
	})
}

func TestSessionsOfARemovedBackendAreClosed(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		one, two := "{name: one, address: "+backend(t, "one")+"}", "{name: two, address: "+backend(t, "two")+"}"
		text := pools(engine, "pools: {a: {balance: round_robin, drain: {timeout: 1s, code: 3001, reason: bye}, backends: [%s]}}")
		r := start(t, fmt.Sprintf(text, one+", "+two))
		sessions := map[string]*ws{}
		for range 2 {
			w := r.open("/")
			if err := w.Write(t.Context(), websocket.MessageText, []byte("?")); err != nil {
				t.Fatal(err)
			}
			sessions[<-w.messages] = w
		}
		r.mustReload(fmt.Sprintf(text, two))
		sessions["one: ?"].echo("on", "one: on") // it goes on for a while
		if reason := sessions["one: ?"].wantClose(3001); reason != "bye" {
			t.Errorf("closed with the reason %q, want that of the file", reason)
		}
		sessions["two: ?"].echo("still", "two: still")
		for range 4 {
			r.open("/").echo("new", "two: new")
		}
		eventually(t, "the backend is forgotten", func() bool { return len(r.status().Pools[0].Backends) == 1 })
	})
}

func TestListenersComeAndGo(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		more := ln.Addr().String()
		ln.Close()
		first := pools(engine, "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}]}}")
		r := start(t, first)
		public := r.Addresses()[0]
		r.mustReload(strings.Replace(first, "listeners: [", "listeners: [{name: more, address: \""+more+"\"}, ", 1))
		stays := open(t, "ws://"+more)
		open(t, "ws://"+public).echo("1", "one: 1")
		r.mustReload(first)
		if status, body := get("http://" + more); status != 0 {
			t.Errorf("the listener that left answers %d: %s", status, body)
		}
		stays.echo("2", "one: 2")
		open(t, "ws://"+public).echo("3", "one: 3")
	})
}

func TestWhatNeedsARestartIsTold(t *testing.T) {
	r := start(t, pools("portable", "pools: {a: {backends: [{address: 127.0.0.1:1}]}}"))
	warnings := r.mustReload(strings.NewReplacer("admin: {address: 127.0.0.1:0}", "admin: {address: 127.0.0.1:9}").Replace(
		pools("auto", "pools: {a: {backends: [{address: 127.0.0.1:1}]}}", "limits: {max_sessions: 7}")))
	var want []string
	for _, key := range []string{"admin.address", "engine", "limits"} {
		want = append(want, r.file+": "+key+" changed, which takes effect at the next start")
	}
	if fmt.Sprint(warnings) != fmt.Sprint(want) {
		t.Errorf("warnings %q, want %q", warnings, want)
	}
}

// At the end every client is told 1001, and /health says 503 meanwhile.
func TestShutdown(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		r := start(t, pools(engine, "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}]}}"))
		address := r.Addresses()[0]
		var sessions []*ws
		for range 10 {
			w := r.open("/")
			w.echo("x", "one: x")
			sessions = append(sessions, w)
		}
		if status, _ := get("http://" + r.AdminAddr() + "/health"); status != 200 {
			t.Errorf("/health was %d before", status)
		}
		cut := make(chan int)
		go func() { cut <- r.stop() }()
		sessions[0].wantClose(websocket.StatusGoingAway)
		if status, body := get("http://" + r.AdminAddr() + "/health"); status != 503 {
			t.Errorf("/health is %d %s meanwhile", status, body)
		}
		if status, body := get("http://" + address); status != 0 {
			t.Errorf("the listener still answers %d %s", status, body)
		}
		for _, w := range sessions[1:] {
			w.wantClose(websocket.StatusGoingAway)
		}
		if n := <-cut; n != 0 {
			t.Errorf("%d sessions were cut", n)
		}
		if got := strings.Count(r.log.String(), `"cause":"shutdown"`); got != 10 {
			t.Errorf("%d of 10 sessions were logged as ended by the shutdown", got)
		}
	})
}

// The log, the metrics and the status tell the same.
func TestWhatIsTold(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		r := start(t, pools(engine, "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}]}}", "routes: [{match: {path: /ws}, pool: a}]"))
		w := r.open("/ws")
		w.echo("hello", "one: hello")
		if s := r.status(); s.Totals.Active != 1 || s.Pools[0].Backends[0].Sessions != 1 {
			t.Errorf("status %+v", s)
		}
		w.Close(4001, "bye")
		get("http://" + r.Addresses()[0] + "/none")
		eventually(t, "the session has ended", func() bool { return r.status().Totals.Active == 0 })
		s := r.status()
		if s.Totals.Opened != 1 || s.Totals.FromClient.Messages != 1 || s.Totals.FromBackend.Messages != 1 || s.Pools[0].Backends[0].Sessions != 0 || s.Version != "v1.2.3" {
			t.Errorf("status %+v", s)
		}
		_, metrics := get("http://" + r.AdminAddr() + "/metrics")
		for _, want := range []string{
			"holdfast_sessions_active 0", "holdfast_sessions_total 1",
			`holdfast_messages_total{direction="from_client"} 1`, `holdfast_messages_total{direction="from_backend"} 1`,
			fmt.Sprintf(`holdfast_bytes_total{direction="from_client"} %d`, s.Totals.FromClient.Bytes),
			`holdfast_handshakes_total{result="opened"} 1`, "holdfast_handshake_duration_seconds_count 1",
			`holdfast_session_closes_total{cause="client_closed",code="4xxx"} 1`,
			`holdfast_http_requests_total{code="4xx"} 1`, `holdfast_http_requests_total{code="1xx"} 0`, "holdfast_http_request_duration_seconds_count 1",
		} {
			if !strings.Contains(metrics, "\n"+want+"\n") {
				t.Errorf("the metrics lack %q", want)
			}
		}
		r.stop()
		var opened, closed map[string]any
		for line := range strings.Lines(r.log.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			switch fields["msg"] {
			case "session open":
				opened = fields
			case "session closed":
				closed = fields
			}
		}
		for _, fields := range []map[string]any{opened, closed} {
			if fields["id"] == "" || fields["id"] != opened["id"] || fields["route"] != "/ws" || fields["pool"] != "a" || fields["backend"] != "one" || !strings.HasPrefix(fmt.Sprint(fields["client"]), "127.0.0.1:") {
				t.Errorf("logged %v", fields)
			}
		}
		want := map[string]any{"cause": "client_closed", "close_code": 4001.0, "messages_from_client": 1.0, "messages_from_backend": 1.0,
			"bytes_from_client": float64(s.Totals.FromClient.Bytes), "bytes_from_backend": float64(s.Totals.FromBackend.Bytes)}
		for k, v := range want {
			if closed[k] != v {
				t.Errorf("%s is logged as %v, want %v", k, closed[k], v)
			}
		}
		if _, ok := closed["duration"].(float64); !ok {
			t.Errorf("no duration in %v", closed)
		}
	})
}

// What fails at the start leaves nothing behind, which goleak sees.
func TestStartThatFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct{ listen, admin string }{
		"listener": {taken.Addr().String(), "127.0.0.1:0"},
		"admin":    {"127.0.0.1:0", taken.Addr().String()},
	} {
		var log lockedBuffer
		_, err := app.Start(app.Options{Admin: c.admin, LogTo: &log, Load: func() (*config.Config, error) {
			return config.Quick([]string{c.listen}, []string{"127.0.0.1:1"})
		}})
		if err == nil || !strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A name that doesn't resolve is a warning, and its backend is down.
func TestNameThatDoesNotResolve(t *testing.T) {
	r := start(t, pools("portable", "pools: {a: {backends: [{name: lost, address: nowhere.invalid:80}, {name: one, address: "+backend(t, "one")+"}]}}"))
	for range 3 {
		r.open("/").echo("x", "one: x")
	}
	states := map[string]string{}
	for _, b := range r.status().Pools[0].Backends {
		states[b.Name] = b.State
	}
	if states["lost"] != "unresolved" || states["one"] != "up" {
		t.Errorf("states %v", states)
	}
	eventually(t, "it is warned about", func() bool {
		return strings.Contains(r.log.String(), `"level":"WARN"`) && strings.Contains(r.log.String(), "nowhere.invalid")
	})
}

// Addresses come in the order of the configuration.
func TestAddresses(t *testing.T) {
	var want []string
	text := "engine: portable\npools: {a: {backends: [{address: 127.0.0.1:1}]}}\nlisteners:\n"
	for i := range 5 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, ln.Addr().String())
		text += fmt.Sprintf("  - {name: l%d, address: %q}\n", i, ln.Addr())
		ln.Close()
	}
	if got := start(t, text).Addresses(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Listeners that leave the port to the system are as many as are configured.
func TestListenersOnPortZero(t *testing.T) {
	one := pools("portable", "pools: {a: {backends: [{address: 127.0.0.1:1}]}}")
	r := start(t, strings.Replace(one, "listeners: [", "listeners: [{name: more, address: \"127.0.0.1:0\"}, ", 1))
	two := r.Addresses()
	if len(two) != 2 || two[0] == two[1] {
		t.Fatalf("addresses %v", two)
	}
	r.mustReload(one)
	if got := r.Addresses(); len(got) != 1 || got[0] != two[0] {
		t.Errorf("one is left: %v, of %v", got, two)
	}
	if status, _ := get("http://" + two[1]); status != 0 {
		t.Errorf("the other one answers %d", status)
	}
}

// A handshake that is under way when the balancer is told to stop comes to its
// session, which is closed politely like all others.
func TestShutdownDuringAHandshake(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		asked, answer := make(chan bool), make(chan bool)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(asked)
			<-answer
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			c.Read(r.Context())
		}))
		t.Cleanup(s.Close)
		r := start(t, pools(engine, "pools: {a: {backends: [{address: "+strings.TrimPrefix(s.URL, "http://")+"}]}}"))
		opened := make(chan *ws)
		address := r.Addresses()[0]
		go func() { opened <- open(t, "ws://"+address) }()
		<-asked
		cut := make(chan int)
		go func() { cut <- r.stop() }()
		eventually(t, "the shutdown has begun", func() bool {
			status, _ := get("http://" + r.AdminAddr() + "/health")
			return status == 503
		})
		close(answer)
		(<-opened).wantClose(websocket.StatusGoingAway)
		if n := <-cut; n != 0 {
			t.Errorf("%d sessions were cut", n)
		}
	})
}
