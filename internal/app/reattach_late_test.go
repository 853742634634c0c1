package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// gated is a backend that answers the handshakes of moves on request.
func gated(t *testing.T, name string) (address string, asked chan struct{}, answer chan struct{}) {
	t.Helper()
	asked, answer = make(chan struct{}, 10), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Holdfast-Reattach") != "" {
			asked <- struct{}{}
			<-answer
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for answerOne(r, c, name) {
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), asked, answer
}

// A session that is moved to a backend whose drain begins meanwhile doesn't stay
// there until the end of that drain.
func TestReattachToADrainingBackend(t *testing.T) {
	how := map[string]func(r *running, file string){
		"drained": func(r *running, _ string) { r.drain("chat/b") },
		"removed": func(r *running, without string) { r.mustReload(without) },
	}
	for name, go_ := range how {
		t.Run(name, func(t *testing.T) {
			testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
				a, c := backend(t, "one"), backend(t, "three")
				b, asked, answer := gated(t, "two")
				file := func(text string) string {
					return pools(engine, "pools:\n  chat:\n    reattach: {on: drain, timeout: 5s}\n    drain: {timeout: 300s, spread: 0s}\n    backends:\n"+text)
				}
				at := func(name, address string, weight int) string {
					return fmt.Sprintf("      - {name: %s, address: %q, weight: %d}\n", name, address, weight)
				}
				r := start(t, file(at("a", a, 256)+at("b", b, 16)+at("c", c, 1)))
				w := r.open("/")
				w.echo("1", "one: 1")
				r.drain("chat/a")
				<-asked
				go_(r, file(at("a", a, 256)+at("c", c, 1)))
				answer <- struct{}{}
				testkit.Eventually(t, "the session is with c", func() bool {
					_, body := get("http://" + r.AdminAddr() + "/v1/sessions")
					return strings.Contains(body, `"backend": "c"`)
				})
				w.echo("2", "three: 2")
				w.Close(websocket.StatusNormalClosure, "")
			})
		})
	}
}

// lingering is a backend that answers each message, and then reads nothing, not
// even a Close, until it is released.
func lingering(t *testing.T, name string) (address string, goOn chan struct{}) {
	t.Helper()
	goOn = make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for answerOne(r, c, name) {
			select {
			case <-goOn:
			case <-t.Context().Done():
			}
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), goOn
}

// The same if that backend has accepted the session already, and the old one
// hasn't closed it yet.
func TestReattachToADrainingBackendBeforeTheSwap(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, goOn := lingering(t, "one")
		b, asked, answer := gated(t, "two")
		r := start(t, pools(engine, fmt.Sprintf(`pools:
  chat:
    reattach: {on: drain, timeout: 20s}
    drain: {timeout: 300s, spread: 0s}
    backends:
      - {name: a, address: %q, weight: 256}
      - {name: b, address: %q, weight: 16}
      - {name: c, address: %q, weight: 1}
`, a, b, backend(t, "three"))))
		w := r.open("/")
		w.echo("1", "one: 1")
		r.drain("chat/a")
		<-asked
		answer <- struct{}{}
		testkit.Eventually(t, "b has its lease", func() bool { return r.onEach()["b"] == 1 })
		time.Sleep(50 * time.Millisecond) // its 101 is here in no time
		r.drain("chat/b")
		// So that the drain has begun, and found no session there to be moved.
		testkit.Eventually(t, "b is being emptied", func() bool {
			return strings.Contains(r.log.String(), `"backend":"b","sessions":1,"timeout"`)
		})
		if strings.Contains(r.log.String(), "session moved") {
			t.Error("it was moved before its old backend had ended")
		}
		close(goOn)
		testkit.Eventually(t, "the session is with c", func() bool { return fmt.Sprint(r.onEach()) == "map[a:0 b:0 c:1]" })
		w.echo("2", "three: 2")
		w.Close(websocket.StatusNormalClosure, "")
	})
}
