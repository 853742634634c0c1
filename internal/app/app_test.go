package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"

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
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
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
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
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
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
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
		testkit.Eventually(t, "the backend is forgotten", func() bool { return len(r.status().Pools[0].Backends) == 1 })
	})
}

// A backend that is removed by the reload that changes drain is drained as the new
// file says; one whose pool is removed, as the old file said.
func TestChangedDrainAppliesToRemovedBackends(t *testing.T) {
	text := func(drain, backends, more string) string {
		return pools("portable", "pools: {a: {drain: "+drain+", backends: ["+backends+"]}"+more+"}\nroutes: [{match: {path: /b}, pool: "+
			map[bool]string{true: "b", false: "a"}[more != ""]+"}, {pool: a}]")
	}
	one, two := "{name: one, address: "+backend(t, "one")+"}", "{name: two, address: "+backend(t, "two")+"}"
	r := start(t, text("{timeout: 1s}", one, ", b: {drain: {timeout: 40m}, backends: ["+two+"]}"))
	r.open("/").echo("1", "one: 1")
	r.open("/b").echo("1", "two: 1")
	r.mustReload(text("{timeout: 50m}", two, ""))
	want := map[string]time.Duration{"a/one": 50 * time.Minute, "b/two": 40 * time.Minute}
	found := 0
	for _, p := range r.Status().Pools {
		for _, b := range p.Backends {
			if b.State != "removed" {
				continue
			}
			found++
			if name := p.Name + "/" + b.Name; b.Drain == nil || b.Drain.Deadline.Sub(b.Drain.Since) != want[name] {
				t.Errorf("%s is emptied by %+v, want %v", name, b.Drain, want[name])
			}
		}
	}
	if found != 2 {
		t.Errorf("%d backends have left, want 2: %+v", found, r.Status().Pools)
	}
}

// Draining the last backend that serves gives a warning; draining one of several
// doesn't.
func TestDrainOfTheLastBackendWarns(t *testing.T) {
	r := start(t, pools("portable", "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}, {name: two, address: "+backend(t, "two")+"}]}}"))
	client := r.client()
	for i, want := range []bool{false, true} {
		name := []string{"one", "two"}[i]
		result, err := client.Drain(t.Context(), "a", name, "")
		warning := strings.Join(result.Warnings, "\n")
		if err != nil || strings.Contains(warning, "no backend of the pool a takes new sessions now") != want || (warning != "") != want {
			t.Errorf("drain a/%s: %q, %v", name, warning, err)
		}
		if result.Backend.Name != name || result.Backend.State != "drain" {
			t.Errorf("drain a/%s answers with %+v", name, result.Backend)
		}
	}
	for _, name := range []string{"one", "two"} {
		if _, err := client.Undrain(t.Context(), "a", name); err != nil {
			t.Error(err)
		}
	}
	for _, b := range r.status().Pools[0].Backends {
		if b.State != "up" || b.Reason != "" || b.Since == nil {
			t.Errorf("undrained: %+v", b)
		}
	}
}

// During a shutdown, the status says since when.
func TestStatusDuringShutdown(t *testing.T) {
	r := start(t, pools("portable", "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}]}}"))
	if s := r.Status(); s.Draining || s.DrainingSince != nil {
		t.Errorf("running: %v, %v", s.Draining, s.DrainingSince)
	}
	before := time.Now()
	r.Announce()
	r.stop()
	if s := r.Status(); !s.Draining || s.DrainingSince == nil || s.DrainingSince.Before(before) || s.DrainingSince.After(time.Now()) || !s.Started.Before(before) {
		t.Errorf("shutting down: %v since %v, started %v", s.Draining, s.DrainingSince, s.Started)
	}
}

func TestListenersComeAndGo(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		more := testkit.FreeAddress(t)
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

func TestReloadWarnsOfKeysThatNeedARestart(t *testing.T) {
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

// A shutdown closes every session with 1001, and /health answers 503 meanwhile.
func TestShutdown(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
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

// The log, the metrics and the status agree.
func TestLogMetricsAndStatus(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		r := start(t, pools(engine, "pools: {a: {backends: [{name: one, address: "+backend(t, "one")+"}]}}", "routes: [{match: {path: /ws}, pool: a}]"))
		w := r.open("/ws")
		w.echo("hello", "one: hello")
		if s := r.status(); s.Totals.Active != 1 || s.Pools[0].Backends[0].Sessions != 1 {
			t.Errorf("status %+v", s)
		}
		w.Close(4001, "bye")
		get("http://" + r.Addresses()[0] + "/none")
		testkit.Eventually(t, "the session has ended", func() bool { return r.status().Totals.Active == 0 })
		s := r.status()
		if s.Totals.Opened != 1 || s.Totals.FromClient.Messages != 1 || s.Totals.FromBackend.Messages != 1 || s.Pools[0].Backends[0].Sessions != 0 || s.Version != "v1.2.3" {
			t.Errorf("status %+v", s)
		}
		_, metrics := get("http://" + r.AdminAddr() + "/metrics")
		for _, want := range []string{
			"holdfast_sessions_active 0", "holdfast_sessions_total 1",
			`holdfast_messages_total{BACKEND,direction="from_client",POOL} 1`, `holdfast_messages_total{BACKEND,direction="from_backend",POOL} 1`,
			fmt.Sprintf(`holdfast_bytes_total{BACKEND,direction="from_client",POOL} %d`, s.Totals.FromClient.Bytes),
			`holdfast_handshakes_total{BACKEND,POOL,result="opened"} 1`, `holdfast_handshake_duration_seconds_count{BACKEND,POOL} 1`,
			`holdfast_session_closes_total{BACKEND,cause="client_closed",code="4xxx",POOL} 1`,
			`holdfast_http_requests_total{backend="",code="4xx",pool=""} 1`, `holdfast_http_requests_total{backend="",code="1xx",pool=""} 0`,
			`holdfast_http_request_duration_seconds_count{backend="",pool=""} 1`,
		} {
			want = strings.NewReplacer("BACKEND", fmt.Sprintf("backend=%q", s.Pools[0].Backends[0].Name), "POOL", fmt.Sprintf("pool=%q", s.Pools[0].Name)).Replace(want)
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

// A failed start leaves no goroutines behind, which goleak checks.
func TestFailedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct{ listen, admin string }{
		"listener": {taken.Addr().String(), "127.0.0.1:0"},
		"admin":    {"127.0.0.1:0", taken.Addr().String()},
	} {
		var log testkit.Log
		_, err := app.Start(app.Options{Admin: hostport.MustParse(c.admin), LogTo: &log, Load: func() (*config.Config, error) {
			return config.Quick(config.Flags{Listen: []string{c.listen}, Backend: []string{"127.0.0.1:1"}})
		}})
		if err == nil || !strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A name that doesn't resolve gives a warning, and its backend is down.
func TestUnresolvedName(t *testing.T) {
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
	testkit.Eventually(t, "it is warned about", func() bool {
		return strings.Contains(r.log.String(), `"level":"WARN"`) && strings.Contains(r.log.String(), "nowhere.invalid")
	})
}

// Addresses are in the order of the configuration.
func TestAddresses(t *testing.T) {
	var want []string
	text := "engine: portable\npools: {a: {backends: [{address: 127.0.0.1:1}]}}\nlisteners:\n"
	for i := range 5 {
		want = append(want, testkit.FreeAddress(t))
		text += fmt.Sprintf("  - {name: l%d, address: %q}\n", i, want[i])
	}
	if got := start(t, text).Addresses(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Several listeners may leave the port to the system.
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

// A handshake that is running when a shutdown begins becomes a session, which is
// closed like all others.
func TestShutdownDuringAHandshake(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
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
		testkit.Eventually(t, "the shutdown has begun", func() bool {
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

// The duration of a drain follows the rules of the configuration.
func TestDrainTimeoutIsBounded(t *testing.T) {
	r := start(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
pools: {all: {backends: [{name: one, address: %q}]}}
admin: {address: "127.0.0.1:0"}
`, backend(t, "one")))
	for timeout, refused := range map[string]string{
		"2562047h": "the longest is 8760h, a year",
		"8761h":    "the longest is 8760h, a year",
		"-3s":      "it must not be negative",
		"5":        "the unit is missing, write for example 5s",
		"soon":     "write numbers with the units ms, s, m or h",
		"8760h":    "", "0": "", "90s": "", "": "",
	} {
		_, err := r.client().Drain(t.Context(), "all", "one", timeout)
		if p, ok := errors.AsType[*api.Problem](err); ok != (refused != "") || ok && (p.Status != 422 || p.Field != "timeout" || !strings.Contains(p.Detail, refused)) {
			t.Errorf("timeout %q: %v, want %q", timeout, err, refused)
		}
	}
}

// Metrics are labelled with pool and backend, and disappear with the backend.
func TestMetricsOfRemovedBackends(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		one, two := backend(t, "one"), backend(t, "two")
		file := func(backends string) string {
			return fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\npools: {chat: {balance: round_robin, backends: [%s]}}\n", engine, backends)
		}
		both := fmt.Sprintf("{name: one, address: %q}, {name: two, address: %q}", one, two)
		r := start(t, file(both))
		scrape := func() string {
			_, metrics := get("http://" + r.AdminAddr() + "/metrics")
			return metrics
		}
		for range 2 {
			w := r.open("/")
			w.answer("hello")
			w.Close(websocket.StatusNormalClosure, "")
		}
		for range 2 {
			get("http://" + r.Addresses()[0] + "/")
		}
		testkit.Eventually(t, "both backends are counted for", func() bool {
			metrics := scrape()
			for _, name := range []string{"one", "two"} {
				for _, series := range []string{
					`holdfast_handshakes_total{backend=%q,pool="chat",result="opened"} 1`,
					`holdfast_messages_total{backend=%q,direction="from_client",pool="chat"} 1`,
					`holdfast_session_closes_total{backend=%q,cause="client_closed",code="1000",pool="chat"} 1`,
				} {
					if !strings.Contains(metrics, fmt.Sprintf(series, name)) {
						return false
					}
				}
			}
			return strings.Contains(metrics, `holdfast_http_requests_total{backend="one",code="2xx",pool="chat"} 1`)
		})
		r.mustReload(file(fmt.Sprintf("{name: one, address: %q}", one)))
		testkit.Eventually(t, "what is gone has no state", func() bool { return !strings.Contains(scrape(), `holdfast_backend_state{backend="two"`) })
		metrics := scrape()
		for _, name := range []string{"one", "two"} { // who scrapes must see the last counts; internal/ops/metrics tests that they go
			if !strings.Contains(metrics, fmt.Sprintf(`holdfast_handshakes_total{backend=%q,pool="chat",result="opened"} 1`, name)) {
				t.Errorf("%s has lost its count:\n%s", name, metrics)
			}
		}
		if strings.Contains(metrics, `holdfast_backend_sessions{backend="two"`) {
			t.Errorf("a backend that is gone has sessions:\n%s", metrics)
		}
	})
}
