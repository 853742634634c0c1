package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// checked has backends whose health is asked at other ports.
type checked struct {
	wrong [2]atomic.Bool
	file  func(engine, path, more string) string
}

func newChecked(t *testing.T) *checked {
	k := &checked{}
	var backends string
	for i, name := range []string{"one", "two"} {
		health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if k.wrong[i].Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		t.Cleanup(health.Close)
		port := health.URL[strings.LastIndexByte(health.URL, ':')+1:]
		backends += fmt.Sprintf("      - {name: %c, address: %q, weight: %d, health_port: %s}\n", 'a'+i, backend(t, name), 256>>(8*i), port)
	}
	k.file = func(engine, path, more string) string {
		return pools(engine, "pools:\n  chat:\n    health: {http: {path: "+path+"}, interval: 1h, timeout: 59m, fall: 1, rise: 1, "+more+"    backends:\n"+backends)
	}
	return k
}

// TestOnDown: what happens to the sessions of a backend that a check takes down. A check
// has all the time it needs; a reload that changes it has it made at once.
func TestOnDown(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		k, reloads := newChecked(t), 0
		file := func(more string) string {
			reloads++
			return k.file(engine, fmt.Sprintf("/%d", reloads), more)
		}
		r := start(t, file("on_down: close}\n    reattach: {}\n"))
		// becomes has a check find a in a state.
		becomes := func(state, more string) {
			t.Helper()
			k.wrong[0].Store(state == "down")
			r.mustReload(file(more))
			testkit.Eventually(t, "a is "+state, func() bool { return r.states()["a"] == state })
		}
		becomes("up", "on_down: close}\n    reattach: {}\n")
		w := r.open("/")
		w.echo("1", "one: 1")
		becomes("down", "on_down: close}\n    reattach: {}\n")
		// A message sent before that could be on its way to the backend that is left, and
		// lost with it.
		testkit.Eventually(t, "the session has moved", func() bool {
			b := r.status().Pools[0].Backends
			return b[0].Sessions == 0 && b[1].Sessions == 1
		})
		w.echo("2", "two: 2")
		testkit.Eventually(t, "the log says so", func() bool {
			return strings.Contains(r.log.String(), "the sessions of a backend are ended, since it is down")
		})

		// By default, sessions are left alone.
		becomes("up", "on_down: keep}\n")
		kept := r.open("/")
		kept.echo("1", "one: 1")
		becomes("down", "on_down: keep}\n")
		kept.echo("2", "one: 2")

		// Without reattach, they are closed.
		becomes("up", "on_down: close}\n")
		kept.echo("3", "one: 3")
		becomes("down", "on_down: close}\n")
		kept.wantClose(1012)
		testkit.Eventually(t, "the log has the cause", func() bool { return strings.Contains(r.log.String(), "backend_down") })

		// While health is ignored, they aren't.
		becomes("up", "on_down: close, min_healthy: 2}\n")
		kept = r.open("/")
		kept.echo("1", "one: 1")
		becomes("down", "on_down: close, min_healthy: 2}\n")
		testkit.Eventually(t, "the log says that sessions go on", func() bool {
			return strings.Contains(r.log.String(), "fewer available backends than min_healthy")
		})
		kept.echo("2", "one: 2")
	})
}

// states are the states of all backends.
func (r *running) states() map[string]string {
	states := map[string]string{}
	for _, p := range r.status().Pools {
		for _, b := range p.Backends {
			states[b.Name] = b.State
		}
	}
	return states
}
