package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// fed is a balancer that a program runs: the only pool, chat, follows the list "chat".
type fed struct {
	*running
	feeds  *discovery.Feeds
	change func(*config.Config) // what the next load has beside the usual
}

func startFed(t *testing.T, engine string, change func(*config.Config), members ...discovery.Member) *fed {
	t.Helper()
	f := &fed{running: &running{t: t, log: &testkit.Log{}}, feeds: discovery.NewFeeds(), change: change}
	f.set(members...)
	var err error
	f.App, err = app.Start(app.Options{Load: f.load, Program: true, Feeds: f.feeds, LogTo: f.log})
	if err != nil {
		t.Fatal(err)
	}
	f.stop = sync.OnceValue(func() int { return f.Shutdown(context.Background()) })
	t.Cleanup(func() { f.stop() })
	return f
}

func (f *fed) load() (*config.Config, error) {
	c := config.Defaults()
	c.Shutdown.Delay, c.Timeouts.Shutdown = 0, time.Second
	c.Admin.Address = hostport.MustParse("127.0.0.1:0")
	c.Listeners = []config.Listener{{Name: "public", Address: hostport.MustParse("127.0.0.1:0")}}
	chat := config.NewPool("chat")
	chat.Feed = "chat"
	c.Pools = []config.Pool{chat}
	if f.change != nil {
		f.change(&c)
	}
	return &c, c.Validate()
}

func (f *fed) set(members ...discovery.Member) { f.feeds.Set("chat", members) }

// wantState waits until a backend is in a state, and returns its status.
func (f *fed) wantState(name, state string) (b api.Backend) {
	f.t.Helper()
	testkit.Eventually(f.t, name+" is "+state, func() bool {
		for _, p := range f.Status().Pools {
			for _, b = range p.Backends {
				if b.Name == name {
					return b.State == state
				}
			}
		}
		return state == ""
	})
	return b
}

// wantLogged waits until a text was logged n times.
func (f *fed) wantLogged(text string, n int) {
	f.t.Helper()
	testkit.Eventually(f.t, fmt.Sprintf("%s is in the log %d times", text, n), func() bool { return strings.Count(f.log.String(), text) == n })
}

func member(name, address string) discovery.Member {
	return discovery.Member{Name: name, Address: address}
}

func terminating(m discovery.Member, in time.Duration) discovery.Member {
	m.State, m.Deadline = discovery.Terminating, time.Now().Add(in)
	return m
}

func unready(m discovery.Member) discovery.Member {
	m.State = discovery.Unready
	return m
}

// TestFeedChurn: while the list of a pool changes 136 times, and is set again unchanged a
// thousand times, the sessions of the backend that stays notice nothing. An equal list
// makes no generation, and no line of the log.
func TestFeedChurn(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		stays := member("stays", backend(t, "stays"))
		f := startFed(t, engine, func(c *config.Config) { c.Engine = engine }, stays)
		var sessions []*ws
		for i := range 50 {
			w := f.open("/")
			w.echo(fmt.Sprint(i), fmt.Sprint("stays: ", i))
			sessions = append(sessions, w)
		}
		before := f.Status().Generation
		f.log.Take()
		for range 1000 {
			f.set(stays)
		}
		if got := f.Status().Generation; got != before || f.log.Take() != "" {
			t.Errorf("equal lists made %d generations", got-before)
		}

		others := []discovery.Member{member("x", backend(t, "x")), member("y", testkit.FreeAddress(t)), member("z", testkit.FreeAddress(t))}
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 136 {
			list := []discovery.Member{stays}
			for _, m := range others {
				switch random.IntN(4) {
				case 0:
					list = append(list, m)
				case 1:
					list = append(list, unready(m))
				case 2:
					list = append(list, terminating(m, time.Duration(random.IntN(10))*time.Second))
				}
			}
			f.set(list...)
			w := sessions[i%len(sessions)]
			w.echo("during", "stays: during")
			if i%20 == 0 { // let some of them have an effect
				generation := f.Status().Generation
				f.set(stays, member("new", fmt.Sprintf("127.0.0.1:%d", 1000+i)))
				testkit.Eventually(t, "a generation with another list", func() bool { return f.Status().Generation > generation })
			}
		}
		f.set(stays)
		f.wantState("new", "")
		for _, w := range sessions {
			w.echo("after", "stays: after")
		}
		if s := f.Status(); s.Pools[0].Sessions != len(sessions) || s.Totals.Opened != uint64(len(sessions)) {
			t.Errorf("%d sessions, %d opened", s.Pools[0].Sessions, s.Totals.Opened)
		}
		if strings.Contains(f.log.String(), "session closed") || strings.Contains(f.log.String(), "session moved") {
			t.Errorf("the log has\n%s", f.log)
		}
	})
}

// TestTerminatingIsSpread: without reattach, the sessions of a backend that will be killed
// are closed with 1001, evenly over the time that is left, and new ones go elsewhere.
func TestTerminatingIsSpread(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, b := member("a", backend(t, "a")), member("b", backend(t, "b"))
		f := startFed(t, engine, func(c *config.Config) { c.Engine = engine }, a)
		var sessions []*ws
		for range 20 {
			sessions = append(sessions, f.open("/"))
		}
		const killed, margin = 4 * time.Second, 2 * time.Second // 100 ms are for collecting changes
		began := time.Now()
		f.set(terminating(a, killed), b)
		st := f.wantState("a", "terminating")
		if !strings.HasPrefix(st.Reason, "it terminates, and will be killed at 20") || st.Listed != "terminating" {
			t.Errorf("status %+v", st)
		}
		testkit.Eventually(t, "a drain, which follows the state", func() bool {
			st := f.wantState("a", "terminating")
			return st.Drain != nil || st.Sessions == 0 // a busy machine may see it too late
		})
		f.open("/").echo("x", "b: x")
		for _, w := range sessions {
			w.wantClose(websocket.StatusGoingAway)
		}
		if last := time.Since(began); last < (killed-margin)*8/10 {
			t.Errorf("all were closed within %v", last)
		}
		f.set(b)
		f.wantState("a", "")
		f.wantLogged(`"cause":"backend_drained"`, len(sessions))
	})
}

// TestTerminatingIsMoved: with reattach, the sessions of a backend that terminates go on
// elsewhere, also if it leaves its list before.
func TestTerminatingIsMoved(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, b := member("a", backend(t, "a")), member("b", backend(t, "b"))
		f := startFed(t, engine, func(c *config.Config) {
			c.Engine = engine
			c.Pools[0].Reattach = &session.Reattach{Drain: true, Timeout: testkit.Patience}
		}, a)
		var sessions []*ws
		for range 20 {
			sessions = append(sessions, f.open("/"))
		}
		f.set(terminating(a, 5*time.Second), b)
		testkit.Eventually(t, "some are moved", func() bool { return f.wantState("b", "up").Sessions > 2 })
		f.set(terminating(a, time.Hour), b) // it has more time now
		testkit.Eventually(t, "the drain follows", func() bool {
			d := f.wantState("a", "terminating").Drain
			return d != nil && time.Until(d.Deadline) > time.Minute
		})
		f.set(b) // and has gone already
		testkit.Eventually(t, "all are moved", func() bool { return f.wantState("b", "up").Sessions == len(sessions) })
		for _, w := range sessions {
			w.echo("x", "b: x")
		}
		f.wantLogged(`"session moved"`, len(sessions))
		if log := f.log.String(); strings.Contains(log, "session closed") {
			t.Errorf("the log has\n%s", log)
		}
	})
}

// TestListedStates: an unready backend keeps its sessions and gets no new ones; one that
// terminated and is ready again takes them; the sessions of one that has gone are ended at
// once; and an empty list is believed.
func TestListedStates(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, b := member("a", backend(t, "a")), member("b", backend(t, "b"))
		f := startFed(t, engine, func(c *config.Config) {
			c.Engine = engine
			c.Pools[0].Drain.Spread = time.Second // of 5 minutes
		}, a)
		url := "http://" + f.Addresses()[0]
		w := f.open("/")
		f.set(unready(a))
		f.wantState("a", "unready")
		if status, _ := get(url); status != 503 {
			t.Errorf("status %d without a ready backend", status)
		}
		w.echo("1", "a: 1")
		f.set(terminating(a, time.Hour))
		f.wantState("a", "terminating")
		f.set(a)
		f.wantState("a", "up")
		other := f.open("/")
		other.echo("2", "a: 2")
		w.echo("3", "a: 3")

		f.set(terminating(a, time.Hour), b)
		f.wantState("a", "terminating")
		f.set(b)
		w.wantClose(websocket.StatusGoingAway)
		other.wantClose(websocket.StatusGoingAway)
		f.wantLogged(`"cause":"backend_removed"`, 2)
		f.set()
		f.wantState("b", "")
		if status, _ := get(url); status != 503 {
			t.Errorf("status %d with an empty list", status)
		}
		f.set(a)
		f.wantState("a", "up")
		f.open("/").echo("4", "a: 4")
	})
}

// TestReloadOfAProgram: a reload takes what the program has now; what can't be used
// changes nothing.
func TestReloadOfAProgram(t *testing.T) {
	f := startFed(t, "auto", nil, member("a", backend(t, "a")))
	w := f.open("/")
	f.feeds.Set("other", []discovery.Member{member("o", backend(t, "o"))})
	f.change = func(c *config.Config) {
		c.Admin.Address = hostport.MustParse("127.0.0.1:1")
		c.Pools[0].Feed = "other"
	}
	warnings, err := f.Reload()
	if err != nil || !slices.Equal(warnings, []string{"the configuration: admin.address changed, which takes effect at the next start"}) {
		t.Errorf("%v, warnings %q", err, warnings)
	}
	if again, err := f.Reload(); err != nil || len(again) != 0 {
		t.Errorf("%v, warnings %q", err, again)
	}
	f.open("/").echo("x", "o: x")
	w.echo("y", "a: y")
	unused := config.NewPool("unused")
	unused.Feed = "unused"
	f.change = func(c *config.Config) {
		c.Routes = []config.Route{{Pool: "chat"}}
		c.Pools[0].Feed = "other"
		c.Pools = append(c.Pools, unused)
	}
	for range 3 { // the same warning is returned each time, and logged once
		if warnings, err = f.Reload(); err != nil || !slices.Contains(warnings, `pools.unused: no route leads to the pool "unused"`) {
			t.Errorf("%v, warnings %q", err, warnings)
		}
	}
	f.wantLogged(`"msg":"reloaded"`, 5)
	f.wantLogged(`no route leads to the pool`, 1)
	f.change = func(c *config.Config) { c.Pools[0].Feed = "" }
	if _, err := f.Reload(); err == nil || !strings.Contains(err.Error(), "pools.chat.backends: the pool has no backends") {
		t.Errorf("%v", err)
	}
	f.open("/").echo("z", "o: z")
}

// TestLoads: the load of a pool is that of all its backends, also of one that has left, and
// its messages are never fewer than before.
func TestLoads(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, b := member("a", backend(t, "a")), member("b", backend(t, "b"))
		f := startFed(t, engine, func(c *config.Config) { c.Engine = engine }, a)
		if got := f.Loads(); len(got) != 1 || got[0].Pool != "chat" || got[0].Feed != "chat" || got[0].Messages != 0 || len(got[0].Backends) != 1 {
			t.Errorf("loads %+v", got)
		}
		first := f.open("/")
		f.set(unready(a), b)
		f.wantState("b", "up")
		second := f.open("/")
		for range 5 {
			first.echo("x", "a: x")
			second.echo("x", "b: x")
		}
		var got app.PoolLoad
		testkit.Eventually(t, "all messages are counted", func() bool { got = f.Loads()[0]; return got.Messages == 20 })
		want := []app.BackendLoad{{Name: "a", Address: a.Address, Sessions: 1, State: "unready"}, {Name: "b", Address: b.Address, Sessions: 1, State: "up"}}
		if got.Sessions != 2 || !slices.Equal(got.Backends, want) {
			t.Errorf("loads %+v", got)
		}
		f.set(b)
		f.wantState("a", "removed")
		if got = f.Loads()[0]; got.Sessions != 2 || len(got.Backends) != 2 || got.Backends[0].State != "removed" {
			t.Errorf("loads %+v", got)
		}
		first.echo("x", "a: x")
		first.Close(websocket.StatusNormalClosure, "")
		testkit.Eventually(t, "a has no session", func() bool { got = f.Loads()[0]; return len(got.Backends) == 1 })
		if got = f.Loads()[0]; got.Sessions != 1 || got.Messages != 22 {
			t.Errorf("loads %+v", got)
		}
		f.change = func(c *config.Config) {
			c.Engine = engine
			c.Pools[0].Name = "other"
		}
		if _, err := f.Reload(); err != nil {
			t.Fatal(err)
		}
		if all := f.Loads(); len(all) != 1 || all[0].Pool != "other" || all[0].Messages != 0 {
			t.Errorf("loads %+v", all)
		}
	})
}
