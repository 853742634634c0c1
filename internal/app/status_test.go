package app_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// backendNamed finds a backend of the status by its name.
func backendNamed(t *testing.T, s api.Status, pool, name string) api.Backend {
	t.Helper()
	for _, p := range s.Pools {
		for _, b := range p.Backends {
			if p.Name == pool && b.Name == name {
				return b
			}
		}
	}
	t.Fatalf("no backend %s/%s in %+v", pool, name, s.Pools)
	panic("unreachable")
}

// The counts of the status are those of the metrics, and rates come once there is something
// to compare with.
func TestStatusCounts(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		r := start(t, pools(engine, fmt.Sprintf("pools: {a: {backends: [{name: one, address: %q}, {name: none, address: %q, backup: true}]}}",
			backend(t, "one"), "127.0.0.1:1"), "routes: [{match: {path: /ws}, pool: a}]"))
		if s := r.App.Status(); s.Rates.Over != 0 || s.Pools[0].Rates.Over != 0 || s.Pools[0].Handshake != nil || s.LogLevel != "info" {
			t.Errorf("the first status: %+v", s)
		}
		for range 3 {
			w := r.open("/ws")
			w.echo("hello", "one: hello")
			w.Close(4001, "bye")
		}
		open := r.open("/ws")
		testkit.Eventually(t, "sessions have ended", func() bool { return r.App.Status().Totals.Active == 1 })
		var s api.Status
		testkit.Eventually(t, "there are rates", func() bool { s = r.App.Status(); return s.Rates.Over > 0 })
		b := backendNamed(t, s, "a", "one")
		if b.Opened != 4 || b.Failed != 0 || b.FromClient.Messages != 3 || b.FromBackend.Messages != 3 || !reflect.DeepEqual(b.Closes, map[string]uint64{"client_closed": 3}) || b.Source != "file" {
			t.Errorf("backend %+v", b)
		}
		if p := s.Pools[0]; !reflect.DeepEqual(p.Counts, b.Counts) {
			t.Errorf("the pool's counts are %+v, want those of its only backend with sessions, %+v", p.Counts, b.Counts)
		}
		if c := backendNamed(t, s, "a", "none"); c.Opened != 0 || c.Closes != nil || c.Handshake != nil || c.LastCheck != nil || c.Certificate != nil || !c.Backup {
			t.Errorf("the other backend: %+v", c)
		}
		// All of it happened since the first status.
		for what, got := range map[string][2]float64{"all": {s.Rates.Opened, s.Rates.Closed}, "the backend": {b.Rates.Opened, b.Rates.Closed}} {
			if over := b.Rates.Over; over < 1 || abs(got[0]*over-4) > .01 || abs(got[1]*over-3) > .01 {
				t.Errorf("%s: %v opened and %v closed a second, over %v", what, got[0], got[1], over)
			}
		}
		if h := b.Handshake; h == nil || h.Count != 4 || h.P50 <= 0 || h.P99 < h.P50 {
			t.Errorf("handshakes: %+v", h)
		}
		_, metrics := get("http://" + r.AdminAddr() + "/metrics")
		for _, want := range []string{
			fmt.Sprintf(`holdfast_handshakes_total{backend="one",pool="a",result="opened"} %d`, b.Opened),
			fmt.Sprintf(`holdfast_bytes_total{backend="one",direction="from_client",pool="a"} %d`, b.FromClient.Bytes),
			fmt.Sprintf(`holdfast_session_closes_total{backend="one",cause="client_closed",code="4xxx",pool="a"} %d`, b.Closes["client_closed"]),
		} {
			if !strings.Contains(metrics, "\n"+want+"\n") {
				t.Errorf("the metrics lack %q", want)
			}
		}
		open.CloseNow()
	})
}

func abs(f float64) float64 { return max(f, -f) }

func TestStatusOfChecksAndCertificates(t *testing.T) {
	ca := testca.New(t)
	pair := ca.Issue("chat.internal", "127.0.0.1")
	tlsBackend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
	}))
	tlsBackend.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS}}
	tlsBackend.Config.ErrorLog = log.New(io.Discard, "", 0)
	tlsBackend.StartTLS()
	t.Cleanup(tlsBackend.Close)
	address := tlsBackend.Listener.Addr().String()
	text := `
listeners: [{address: "127.0.0.1:0"}]
pools:
  good: {tls: {ca: %q}, health: {http: {path: /good}}, backends: [{name: b, address: %q}]}
  bad: {tls: {ca: %q}, health: {http: {path: /bad}}, backends: [{name: b, address: %q}]}
  untrusted: {tls: {ca: %q}, health: {tcp: true}, backends: [{name: b, address: %q}]}
routes: [{match: {path: /good}, pool: good}, {match: {path: /bad}, pool: bad}, {match: {path: /untrusted}, pool: untrusted}]
`
	text = fmt.Sprintf(text, ca.File(), address, ca.File(), address, testca.New(t).File(), address)
	r := start(t, text)
	check := func() {
		t.Helper()
		var s api.Status
		testkit.Eventually(t, "all are checked", func() bool {
			s = r.App.Status()
			for _, p := range s.Pools {
				if p.Backends[0].LastCheck == nil {
					return false
				}
			}
			return true
		})
		for pool, reason := range map[string]string{"good": "", "bad": "status 500", "untrusted": "unknown authority"} {
			b := backendNamed(t, s, pool, "b")
			if c := b.LastCheck; c.OK != (reason == "") || !strings.Contains(c.Reason, reason) || c.Duration <= 0 || time.Since(c.At) > time.Hour {
				t.Errorf("%s: the last check is %+v", pool, c)
			}
			if c := b.Certificate; c == nil || !reflect.DeepEqual(c.Names, []string{"chat.internal", "127.0.0.1"}) || c.DaysLeft <= 0 || !c.NotAfter.Equal(pair.TLS.Leaf.NotAfter) {
				t.Errorf("%s: the certificate is %+v", pool, c)
			}
		}
	}
	check()
	r.mustReload(text + "\nlog: {level: debug}\n")
	check()
}

func TestLogLevel(t *testing.T) {
	text := pools("auto", "pools: {a: {backends: [{name: one, address: \"127.0.0.1:1\"}]}}")
	r := start(t, text)
	b := r.Balancer()
	want := func(level, file string) {
		t.Helper()
		if l := b.Log(); l != (api.Log{Level: level, File: file}) || r.App.Status().LogLevel != level {
			t.Errorf("%+v, want %s, and %s in the file", l, level, file)
		}
	}
	want("info", "info")
	for _, level := range []string{"error", "debug"} {
		if l, err := b.SetLog(level); err != nil || l.Level != level {
			t.Errorf("%+v, %v", l, err)
		}
		r.logged("the log level is changed", map[string]any{"level": level})
		want(level, "info")
	}
	r.mustReload(text)
	want("debug", "info")
	r.mustReload(text + "\nlog: {level: warn}\n")
	want("warn", "warn")
	for _, word := range []string{"", "DEBUG", "INFO+1", "loud", "warn\x1b[0m"} {
		_, err := b.SetLog(word)
		if p, ok := err.(*api.Problem); !ok || p.Status != 422 || p.Field != "level" || strings.Contains(p.Detail, "\x1b") {
			t.Errorf("%q: %v", word, err)
		}
	}
	want("warn", "warn")
}

func TestReloadProblems(t *testing.T) {
	text := pools("auto", "pools: {a: {backends: [{name: one, address: \"127.0.0.1:1\"}]}}")
	r := start(t, text)
	if got, err := r.Balancer().Reload(t.Context()); err != nil || got.Generation != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	r.write("listeners: []\npools: {a: {blance: hash}}")
	_, err := r.Balancer().Reload(t.Context())
	p, ok := err.(*api.Problem)
	if !ok || p.Status != 422 || len(p.Errors) != 3 || !strings.Contains(p.Errors[2], `unknown key "blance"`) {
		t.Errorf("%#v", err)
	}
	r.stop()
	_, err = r.Balancer().Reload(t.Context())
	if p, ok := err.(*api.Problem); !ok || p.Status != 409 || p.Detail != "the balancer is shutting down" {
		t.Errorf("%#v", err)
	}
}

func TestRoutes(t *testing.T) {
	r := start(t, `
listeners:
  - {name: web, address: "127.0.0.1:0"}
  - {name: raw, address: "127.0.0.1:0", mode: tcp, pool: a}
routes:
  - {match: {path: /ws}, pool: a}
  - {match: {path: /old, listener: web}, redirect: {to: "https://example.com/", status: 301}}
  - {match: {path: /no}, respond: 403}
  - {match: {path: /part}, split: [{pool: a, weight: 9}, {pool: b}, {respond: 503, weight: 2}]}
  - {match: {path: /in}, pool: b, auth: {request: {url: "http://127.0.0.1:1/"}}}
pools: {a: {backends: [{address: "127.0.0.1:1"}]}, b: {backends: [{address: "127.0.0.1:1"}]}}
`)
	want := []api.Route{
		{Name: "/ws", Pool: "a"},
		{Name: "/old listener=web", Listener: []string{"web"}, Answer: "redirect 301"},
		{Name: "/no", Answer: "respond 403"},
		{Name: "/part", Split: map[string]int{"a": 9, "b": 1, "respond 503": 2}},
		{Name: "/in", Pool: "b", Auth: []string{"request"}},
		{Name: "raw", Pool: "a", Listener: []string{"raw"}},
	}
	if got := r.Balancer().Routes(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}
