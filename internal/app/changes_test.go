package app_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
)

func num(n int) *int { return &n }

// differs lists the changes, without their times.
func (r *running) differs() (all []string) {
	r.t.Helper()
	for _, c := range r.Balancer().Changes() {
		text := fmt.Sprintf("%s/%s %s %s>%s", c.Pool, c.Backend, c.Field, c.File, c.Now)
		if c.Problem != "" {
			text += " (" + c.Problem + ")"
		}
		if c.Since.IsZero() || time.Since(c.Since) > time.Hour {
			r.t.Errorf("%s: since %v", text, c.Since)
		}
		all = append(all, text)
	}
	if n := r.App.Status().Changes; n != len(all) {
		r.t.Errorf("the status has %d changes, want %d", n, len(all))
	}
	return all
}

func (r *running) wantDiffers(want ...string) {
	r.t.Helper()
	if got := r.differs(); !reflect.DeepEqual(got, want) {
		r.t.Errorf("changes\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// again stops the balancer and starts it with the same file and state.
func (r *running) again(o app.Options) *running {
	r.t.Helper()
	r.stop()
	text, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	return startWith(r.t, string(text), o)
}

// reached opens n sessions and counts them by backend.
func (r *running) reached(path string, n int) map[string]int {
	r.t.Helper()
	got := map[string]int{}
	for range n {
		w := r.open(path)
		name, _, _ := strings.Cut(w.answer("x"), ":")
		got[name]++
		defer w.Close(websocket.StatusNormalClosure, "")
	}
	return got
}

// openAt opens a session with a backend, which balance: round_robin leads to sooner or
// later.
func (r *running) openAt(path, name string) *ws {
	r.t.Helper()
	for {
		w := r.open(path)
		if w.answer("x") == name+": x" {
			return w
		}
		w.Close(websocket.StatusNormalClosure, "")
	}
}

func wantRefused(t *testing.T, err error, status int, field, text string) {
	t.Helper()
	if p, ok := err.(*api.Problem); !ok || p.Status != status || p.Field != field || !strings.Contains(p.Detail, text) {
		t.Errorf("%#v, want %d of %q with %q", err, status, field, text)
	}
}

// A backend that is added serves, stays over reloads and restarts, and is the file's once
// it is in there. Sessions don't notice.
func TestAddedBackend(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		state := app.Options{State: filepath.Join(t.TempDir(), "dir", "state.json")}
		one, two := backend(t, "one"), backend(t, "two")
		file := func(backends string) string {
			return pools(engine, "pools: {a: {balance: round_robin, backends: ["+backends+"]}}", "routes: [{match: {path: /ws}, pool: a}]")
		}
		only, both := "{name: one, address: \""+one+"\"}", "{name: one, address: \""+one+"\"}, {name: two, address: \""+two+"\", weight: 3}"
		r := startWith(t, file(only), state)
		w := r.open("/ws")
		w.echo("1", "one: 1")
		got, err := r.Balancer().AddBackend("a", api.NewBackend{Name: "two", Address: two, Weight: num(2), MaxSessions: 50})
		if err != nil || len(got.Warnings) > 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		if b := got.Backend; b.Name != "two" || b.Address != two || b.State != "up" || b.Source != "runtime" || b.Weight != 2 || b.MaxSessions != 50 || !reflect.DeepEqual(b.Changed, []string{"added"}) {
			t.Errorf("the response has %+v", b)
		}
		serves := func(r *running) {
			t.Helper()
			if got := r.reached("/ws", 6); got["two"] != 4 || got["one"] != 2 {
				t.Errorf("six sessions are with %v, want 4 with two, which has weight 2", got)
			}
		}
		serves(r)
		r.wantDiffers("a/two added >" + two)
		r.mustReload(file(only))
		r.wantDiffers("a/two added >" + two)
		serves(r)
		w.echo("2", "one: 2")
		r = r.again(state)
		r.wantDiffers("a/two added >" + two)
		serves(r)
		w = r.open("/ws")
		before := w.answer("1")
		// The file has it now, with another weight, and then with the same.
		r.mustReload(file(both))
		r.wantDiffers("a/two weight 3>2", "a/two max_sessions 0>50")
		serves(r)
		if b := backendNamed(t, r.App.Status(), "a", "two"); b.Source != "file" || !reflect.DeepEqual(b.Changed, []string{"weight", "max_sessions"}) {
			t.Errorf("the status has %+v", b)
		}
		r.mustReload(file(strings.ReplaceAll(both, "weight: 3", "weight: 2, max_sessions: 50")))
		r.wantDiffers()
		serves(r)
		w.echo("1", before)
		r = r.again(state)
		r.wantDiffers()
	})
}

// What is removed is drained, stays away over reloads and restarts, and comes back by a
// revert.
func TestRemovedBackend(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		state := app.Options{State: filepath.Join(t.TempDir(), "state.json")}
		one, two := backend(t, "one"), backend(t, "two")
		text := pools(engine, "pools: {a: {balance: round_robin, backends: [{name: one, address: \""+one+"\"}, {name: two, address: \""+two+"\"}]}}", "routes: [{match: {path: /ws}, pool: a}]")
		r := startWith(t, text, state)
		first, second := r.openAt("/ws", "one"), r.openAt("/ws", "two")
		got, err := r.Balancer().RemoveBackend("a", "two", "0s")
		if err != nil || got.Backend.State != "removed" || len(got.Warnings) > 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		second.wantClose(websocket.StatusGoingAway)
		r.wantDiffers("a/two removed " + two + ">")
		if got := r.reached("/ws", 2); got["two"] > 0 {
			t.Errorf("sessions are with %v", got)
		}
		_, err = r.Balancer().RemoveBackend("a", "one", "")
		wantRefused(t, err, 409, "backend", `"one" is the only backend of the pool "a"`)
		r.mustReload(text)
		r.wantDiffers("a/two removed " + two + ">")
		first.echo("2", "one: 2")
		r = r.again(state)
		r.wantDiffers("a/two removed " + two + ">")
		if got := r.reached("/ws", 2); got["two"] > 0 {
			t.Errorf("after a restart, sessions are with %v", got)
		}
		// With the other one out of the file, the removal would leave nothing.
		alone := strings.Replace(text, "{name: one, address: \""+one+"\"}, ", "", 1)
		r.mustReload(alone)
		r.wantDiffers("a/two removed " + two + "> (the pool would have no backends)")
		if got := r.reached("/ws", 2); got["two"] != 2 {
			t.Errorf("sessions are with %v", got)
		}
		r.mustReload(text)
		gone, err := r.Balancer().Revert("a", "two")
		if err != nil || len(gone) != 1 || gone[0].Field != "removed" {
			t.Errorf("%+v, %v", gone, err)
		}
		r.wantDiffers()
		if got := r.reached("/ws", 2); got["one"] != 1 || got["two"] != 1 {
			t.Errorf("after the revert, sessions are with %v", got)
		}
		_, err = r.Balancer().Revert("a", "two")
		wantRefused(t, err, 404, "backend", `nothing is changed of the backend "two" of the pool "a"`)
		// Once the file doesn't have it, its removal is no change.
		if _, err := r.Balancer().RemoveBackend("a", "two", ""); err != nil {
			t.Fatal(err)
		}
		r.mustReload(strings.Replace(text, ", {name: two, address: \""+two+"\"}", "", 1))
		r.wantDiffers()
		r.mustReload(text)
		r.wantDiffers()
	})
}

// Another server may take the name of one that was removed, and it may come back itself.
func TestReplacedBackend(t *testing.T) {
	one, two, other := backend(t, "one"), backend(t, "two"), backend(t, "other")
	text := pools("auto", "pools: {a: {balance: round_robin, backends: [{name: one, address: \""+one+"\"}, {name: two, address: \""+two+"\"}]}}", "routes: [{match: {path: /ws}, pool: a}]")
	r := start(t, text)
	b := r.Balancer()
	must := func(_ api.BackendResult, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(b.RemoveBackend("a", "two", ""))
	must(b.AddBackend("a", api.NewBackend{Name: "two", Address: other}))
	r.wantDiffers("a/two added >"+other, "a/two removed "+two+">")
	if got := r.reached("/ws", 2); got["other"] != 1 {
		t.Errorf("sessions are with %v", got)
	}
	r.mustReload(text)
	r.wantDiffers("a/two added >"+other, "a/two removed "+two+">")
	must(b.RemoveBackend("a", "two", ""))
	r.wantDiffers("a/two removed " + two + ">")
	must(b.AddBackend("a", api.NewBackend{Name: "two", Address: two}))
	r.wantDiffers()
	if got := r.reached("/ws", 2); got["two"] != 1 {
		t.Errorf("sessions are with %v", got)
	}
}

func TestWeightAtRunTime(t *testing.T) {
	one, two := backend(t, "one"), backend(t, "two")
	file := func(weight int) string {
		return pools("auto", fmt.Sprintf("pools: {a: {balance: round_robin, backends: [{name: one, address: %q}, {name: two, address: %q, weight: %d}]}}", one, two, weight), "routes: [{match: {path: /ws}, pool: a}]")
	}
	state := app.Options{State: filepath.Join(t.TempDir(), "state.json")}
	r := startWith(t, file(1), state)
	got, err := r.Balancer().PatchBackend("a", "two", api.BackendPatch{Weight: num(3), MaxSessions: num(100)})
	if b := got.Backend; err != nil || b.Weight != 3 || b.MaxSessions != 100 || !reflect.DeepEqual(b.Changed, []string{"weight", "max_sessions"}) {
		t.Errorf("%+v, %v", got, err)
	}
	serves := func() {
		t.Helper()
		if got := r.reached("/ws", 8); got["two"] != 6 {
			t.Errorf("eight sessions are with %v, want 6 with two", got)
		}
	}
	serves()
	r = r.again(state)
	serves()
	r.wantDiffers("a/two weight 1>3", "a/two max_sessions 0>100")
	r.mustReload(file(2))
	serves()
	r.wantDiffers("a/two weight 2>3", "a/two max_sessions 0>100")
	r.mustReload(file(3))
	r.wantDiffers("a/two max_sessions 0>100")
	// Back to what the file says is no change.
	if _, err := r.Balancer().PatchBackend("a", "two", api.BackendPatch{MaxSessions: num(0)}); err != nil {
		t.Error(err)
	}
	r.wantDiffers()
	serves()
}

// A drain and a maintenance survive a restart: the backend gets no session in between.
func TestAdminStateSurvivesARestart(t *testing.T) {
	for _, state := range []string{"drain", "maint"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			o := app.Options{State: filepath.Join(t.TempDir(), "state.json")}
			one, two := backend(t, "one"), backend(t, "two")
			r := startWith(t, pools("auto", "pools: {a: {balance: round_robin, backends: [{name: one, address: \""+one+"\"}, {name: two, address: \""+two+"\"}]}}", "routes: [{match: {path: /ws}, pool: a}]"), o)
			w := r.openAt("/ws", "one")
			got, err := r.Balancer().PatchBackend("a", "one", api.BackendPatch{Admin: state, Timeout: "0s"})
			if b := got.Backend; err != nil || b.Admin != state || b.State != state || b.Drain == nil || !reflect.DeepEqual(b.Changed, []string{"admin"}) {
				t.Errorf("%+v, %v", got, err)
			}
			w.wantClose(websocket.StatusGoingAway)
			for range 2 {
				r = r.again(o)
				r.wantDiffers("a/one admin ready>" + state)
				if b := backendNamed(t, r.App.Status(), "a", "one"); b.State != state || !strings.HasPrefix(b.Reason, "asked for at 20") {
					t.Errorf("after a restart: %+v", b)
				}
				if got := r.reached("/ws", 4); got["one"] > 0 {
					t.Errorf("after a restart, sessions are with %v", got)
				}
			}
			if got, err := r.Balancer().PatchBackend("a", "one", api.BackendPatch{Admin: "ready"}); err != nil || got.Backend.State != "up" || got.Backend.Changed != nil {
				t.Errorf("%+v, %v", got, err)
			}
			r.wantDiffers()
			if got := r.reached("/ws", 4); got["one"] != 2 {
				t.Errorf("sessions are with %v", got)
			}
			r = r.again(o)
			r.wantDiffers()
		})
	}
}

// In maintenance nothing is checked; afterwards checks must pass before sessions come.
func TestMaintenance(t *testing.T) {
	var asked atomic.Int64
	var broken atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if broken.Load() {
			w.WriteHeader(500)
		}
	}))
	t.Cleanup(s.Close)
	r := start(t, pools("auto", fmt.Sprintf("pools: {a: {health: {http: {path: /}, interval: 100ms, timeout: 90ms, rise: 1, fall: 100}, backends: [{name: one, address: %q}, {name: two, address: %q}]}}", strings.TrimPrefix(s.URL, "http://"), backend(t, "two"))))
	testkit.Eventually(t, "it is checked", func() bool { return asked.Load() > 2 })
	patch := func(admin string) api.BackendResult {
		t.Helper()
		got, err := r.Balancer().PatchBackend("a", "one", api.BackendPatch{Admin: admin})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if b := patch("maint").Backend; b.State != "maint" || b.LastCheck != nil {
		t.Errorf("%+v", b)
	}
	broken.Store(true)
	n := asked.Load()
	if b := backendNamed(t, r.App.Status(), "a", "one"); b.State != "maint" || b.Operational != "up" {
		t.Errorf("in maintenance: %+v", b)
	}
	if b := patch("ready").Backend; b.State != "warming" && b.State != "down" {
		t.Errorf("after the maintenance: %+v", b)
	}
	testkit.Eventually(t, "the check finds it down", func() bool { return backendNamed(t, r.App.Status(), "a", "one").State == "down" })
	broken.Store(false)
	testkit.Eventually(t, "it is up", func() bool { return backendNamed(t, r.App.Status(), "a", "one").State == "up" })
	if asked.Load() == n {
		t.Error("nothing was checked after the maintenance")
	}
}

func TestChangeProblems(t *testing.T) {
	feeds := discovery.NewFeeds()
	feeds.Set("k8s", []discovery.Member{{Name: "pod", Address: "127.0.0.1:7"}})
	o := app.Options{Feeds: feeds, Program: true}
	text := pools("auto", `pools:
  chat: {backends: [{name: one, address: "127.0.0.1:1"}, {name: two, address: "127.0.0.1:2"}]}
  secure: {tls: {insecure_skip_verify: true}, backends: [{name: one, address: "127.0.0.1:1"}]}
  fed: {backends: [{name: one, address: "127.0.0.1:1"}]}
routes: [{match: {path: /a}, pool: chat}, {match: {path: /b}, pool: secure}, {match: {path: /c}, pool: fed}]`)
	file := filepath.Join(t.TempDir(), "holdfast.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.LogTo = &testkit.Log{}
	o.Load = func() (*config.Config, error) {
		c, err := yaml.Load(file)
		if err == nil {
			c.Pools[2].Feed = "k8s"
		}
		return c, err
	}
	a, err := app.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	b := a.Balancer()
	fine := api.NewBackend{Name: "x", Address: "127.0.0.1:9"}
	with := func(f func(*api.NewBackend)) api.NewBackend { n := fine; f(&n); return n }
	for _, c := range []struct {
		in     string
		n      api.NewBackend
		status int
		field  string
		text   string
	}{
		{"caht", fine, 404, "pool", `there is no pool "caht" (did you mean "chat"?)`},
		{"\x1b[2J", fine, 404, "pool", `there is no pool "\x1b[2J"`},
		{"fed", fine, 409, "pool", "listed by a program"},
		{"chat", with(func(n *api.NewBackend) { n.Name = "one" }), 409, "name", `has a backend "one" already, at 127.0.0.1:1`},
		{"chat", with(func(n *api.NewBackend) { n.Address = "127.0.0.1:2" }), 409, "address", `the backend "two" of the pool has the address 127.0.0.1:2 already`},
		{"chat", with(func(n *api.NewBackend) { n.Address = "127.0.0.1" }), 422, "address", `bad address "127.0.0.1"`},
		{"chat", with(func(n *api.NewBackend) { n.Address = ":80" }), 422, "address", "host"},
		{"chat", with(func(n *api.NewBackend) { n.Address = "" }), 422, "address", "address"},
		{"chat", with(func(n *api.NewBackend) { n.Address = "wss://127.0.0.1:9" }), 422, "address", "the pool has none"},
		{"secure", with(func(n *api.NewBackend) { n.Address = "ws://127.0.0.1:9" }), 422, "address", "the pool has tls"},
		{"chat", with(func(n *api.NewBackend) { n.Name = "a b" }), 422, "name", "a b"},
		{"chat", with(func(n *api.NewBackend) { n.Name = strings.Repeat("x", 300) }), 422, "name", "260"},
		{"chat", with(func(n *api.NewBackend) { n.Weight = num(0) }), 422, "weight", "drain it"},
		{"chat", with(func(n *api.NewBackend) { n.Weight = num(-1) }), 422, "weight", "expected a number from 1 to 256"},
		{"chat", with(func(n *api.NewBackend) { n.Weight = num(257) }), 422, "weight", "got 257"},
		{"chat", with(func(n *api.NewBackend) { n.MaxSessions = -1 }), 422, "max_sessions", "got -1"},
		{"chat", with(func(n *api.NewBackend) { n.HealthPort = 70000 }), 422, "health_port", "got 70000"},
	} {
		_, err := b.AddBackend(c.in, c.n)
		wantRefused(t, err, c.status, c.field, c.text)
	}
	_, err = b.RemoveBackend("chat", "oen", "")
	wantRefused(t, err, 404, "backend", `the pool "chat" has no backend "oen" (did you mean "one"?)`)
	_, err = b.RemoveBackend("chat", "one", "soon")
	wantRefused(t, err, 422, "timeout", `bad duration "soon"`)
	_, err = b.RemoveBackend("fed", "pod", "")
	wantRefused(t, err, 409, "pool", "listed by a program")
	for _, c := range []struct {
		p           api.BackendPatch
		field, text string
	}{
		{api.BackendPatch{Weight: num(0)}, "weight", "drain it"},
		{api.BackendPatch{Weight: num(1000)}, "weight", "got 1000"},
		{api.BackendPatch{MaxSessions: num(-5)}, "max_sessions", "got -5"},
		{api.BackendPatch{Admin: "asleep"}, "admin", `got "asleep"`},
		{api.BackendPatch{Admin: "drain", Timeout: "-1s"}, "timeout", "-1s"},
	} {
		_, err := b.PatchBackend("chat", "one", c.p)
		wantRefused(t, err, 422, c.field, c.text)
	}
	_, err = b.PatchBackend("chat", "three", api.BackendPatch{})
	wantRefused(t, err, 404, "backend", `no backend "three"`)
	_, err = b.Revert("chat", "")
	wantRefused(t, err, 404, "pool", "nothing is changed")
	if gone, err := b.Revert("", ""); err != nil || len(gone) > 0 {
		t.Errorf("%v, %v", gone, err)
	}
	if got := b.Changes(); len(got) > 0 {
		t.Errorf("refused requests have changed %+v", got)
	}
	// Weights and states of a program's backends can be changed, and go with them.
	if _, err := b.PatchBackend("fed", "pod", api.BackendPatch{Weight: num(7), Admin: "drain"}); err != nil {
		t.Error(err)
	}
	if got := b.Changes(); len(got) != 2 {
		t.Errorf("changes %+v", got)
	}
	feeds.Set("k8s", []discovery.Member{{Name: "pod2", Address: "127.0.0.1:8"}})
	testkit.Eventually(t, "the changes go with the pod", func() bool { return len(b.Changes()) == 0 })
	a.Shutdown(context.Background())
	_, err = b.AddBackend("chat", fine)
	wantRefused(t, err, 409, "", "shutting down")
}

// The last backend that takes sessions: it is said so, and done.
func TestDrainWarnsAtRunTime(t *testing.T) {
	r := start(t, pools("auto", "pools: {a: {backends: [{name: one, address: \"127.0.0.1:1\"}, {name: two, address: \"127.0.0.1:2\"}]}}"))
	b := r.Balancer()
	if got, err := b.PatchBackend("a", "one", api.BackendPatch{Admin: "drain"}); err != nil || len(got.Warnings) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	got, err := b.RemoveBackend("a", "two", "")
	if err != nil || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "no backend of the pool a takes new sessions now") {
		t.Errorf("%+v, %v", got, err)
	}
}

// A change that a configuration has no place for is kept, and said to have no effect.
func TestChangesOfAnotherConfiguration(t *testing.T) {
	state := app.Options{State: filepath.Join(t.TempDir(), "state.json")}
	both := pools("auto", "pools: {a: {backends: [{name: one, address: \"127.0.0.1:1\"}]}, b: {backends: [{name: one, address: \"127.0.0.1:1\"}]}}", "routes: [{match: {path: /a}, pool: a}, {match: {path: /b}, pool: b}]")
	r := startWith(t, both, state)
	b := r.Balancer()
	if _, err := b.AddBackend("a", api.NewBackend{Name: "new", Address: "127.0.0.1:2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.PatchBackend("b", "one", api.BackendPatch{Weight: num(9)}); err != nil {
		t.Fatal(err)
	}
	r.mustReload(pools("auto", "pools: {a: {backends: [{name: other, address: \"127.0.0.1:2\"}]}}"))
	r.wantDiffers("a/new added >127.0.0.1:2 (it has the address of the backend other of the configuration)",
		"b/one weight >9 (the configuration has no such pool now)")
	r = r.again(state)
	r.wantDiffers("a/new added >127.0.0.1:2 (it has the address of the backend other of the configuration)",
		"b/one weight >9 (the configuration has no such pool now)")
	r.mustReload(both)
	r.wantDiffers("a/new added >127.0.0.1:2", "b/one weight 1>9")
	if b := backendNamed(t, r.App.Status(), "b", "one"); b.Weight != 9 {
		t.Errorf("%+v", b)
	}
	// A reload that is refused changes nothing.
	if _, err := r.reload("nonsense: true"); err == nil {
		t.Error("it is accepted")
	}
	r.wantDiffers("a/new added >127.0.0.1:2", "b/one weight 1>9")
	if gone, err := r.Balancer().Revert("", ""); err != nil || len(gone) != 2 {
		t.Errorf("%v, %v", gone, err)
	}
	r.wantDiffers()
}

// A file that can't be used stops nothing, and isn't lost.
func TestBrokenStateFile(t *testing.T) {
	text := pools("auto", "pools: {a: {backends: [{name: one, address: \"127.0.0.1:1\"}]}}")
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(path, []byte(`{"version": 1, "state": {"a"`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startWith(t, text, app.Options{State: path})
	r.wantDiffers()
	r.logged("the file of changes at run time can't be used; there are none now", map[string]any{"level": "WARN"})
	if _, err := r.Balancer().AddBackend("a", api.NewBackend{Address: "127.0.0.1:2"}); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(path + ".*.kept")
	if err != nil || len(kept) != 1 {
		t.Errorf("%v, %v", kept, err)
	}
	r = r.again(app.Options{State: path})
	r.wantDiffers("a/127.0.0.1:2 added >127.0.0.1:2")

	// Another balancer with the same file doesn't read it, doesn't touch it, and says so.
	other := startWith(t, text, app.Options{State: path})
	other.wantDiffers()
	got, err := other.Balancer().PatchBackend("a", "one", api.BackendPatch{Admin: "drain"})
	if err != nil || len(got.Warnings) != 2 || !strings.Contains(strings.Join(got.Warnings, "\n"), "lost at the next stop: "+path+": another balancer uses it") {
		t.Errorf("%+v, %v", got, err)
	}
	other.stop()
	r = r.again(app.Options{State: path})
	r.wantDiffers("a/127.0.0.1:2 added >127.0.0.1:2")
}

// An agent's word counts after an operator's, as it always did, and ends what is kept.
func TestAgentEndsADrain(t *testing.T) {
	agent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Close() })
	var word atomic.Value
	word.Store("up")
	go func() {
		for {
			conn, err := agent.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, word.Load())
			conn.Close()
		}
	}()
	_, port, _ := strings.Cut(agent.Addr().String(), ":")
	r := start(t, pools("auto", "pools: {a: {health: {agent: {port: "+port+"}, interval: 100ms, timeout: 90ms}, backends: [{name: one, address: \"127.0.0.1:1\"}]}}"))
	if _, err := r.Balancer().PatchBackend("a", "one", api.BackendPatch{Admin: "drain"}); err != nil {
		t.Fatal(err)
	}
	r.wantDiffers("a/one admin ready>drain")
	word.Store("ready")
	testkit.Eventually(t, "the agent has ended the drain", func() bool {
		return backendNamed(t, r.App.Status(), "a", "one").Admin == "ready" && len(r.Balancer().Changes()) == 0
	})
}
