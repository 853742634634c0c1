package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// chat is a pool of a Service with two pods and an endpoint that is none.
func chat(sessions int, messages, opened uint64) app.PoolLoad {
	return app.PoolLoad{Pool: "shop/chat:80", Feed: translate.Feed("shop", "chat", 80), Sessions: sessions, Waiting: 3, Messages: messages, Opened: opened,
		Backends: []app.BackendLoad{{Name: "chat-a", Sessions: sessions - 1}, {Name: "10.0.0.9:80", Sessions: 1}, {Name: "chat-b"}}}
}

func TestPoolsOfAServiceAreAddedUp(t *testing.T) {
	l := NewLocal(LocalOptions{Replica: "holdfast-0"})
	if _, known := l.Report(); known {
		t.Error("something is known before there is anything")
	}
	l.sample(time.Now(), nil)
	if _, known := l.Report(); known {
		t.Error("something is known without a configuration")
	}
	other := chat(10, 0, 0)
	other.Pool, other.Feed = "shop/chat:81", translate.Feed("shop", "chat", 81)
	api := app.PoolLoad{Pool: "x", Feed: translate.Feed("shop", "api", 80)}
	l.sample(time.Now(), []app.PoolLoad{chat(5, 0, 0), other, {Pool: "fixed", Sessions: 7}, api})
	want := Report{Replica: "holdfast-0", Services: []ServiceReport{
		{Namespace: "shop", Name: "api", Pods: map[string]int{}},
		{Namespace: "shop", Name: "chat", Load: Load{Sessions: 15, Queue: 6}, Pods: map[string]int{"chat-a": 13}},
	}}
	if got, known := l.Report(); !known || !reflect.DeepEqual(got, want) {
		t.Errorf("known: %v\n%+v, want\n%+v", known, got, want)
	}
	// What another replica reads is the same.
	w := httptest.NewRecorder()
	l.ServeHTTP(w, httptest.NewRequest("GET", "/loads", nil))
	got, err := parseReport(w.Body, "holdfast-0")
	want.Services[0].Pods = nil
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v, %v", got, want, err)
	}
}

func TestRates(t *testing.T) {
	l := NewLocal(LocalOptions{})
	at := time.Now()
	sample := func(after time.Duration, loads ...app.PoolLoad) Load {
		at = at.Add(after)
		l.sample(at, append([]app.PoolLoad{}, loads...))
		report, _ := l.Report()
		if len(report.Services) == 0 {
			return Load{}
		}
		return report.Services[0].Load
	}
	want := func(what string, l Load, messages, opened float64) {
		t.Helper()
		if l.MessagesPerSecond != messages || l.NewPerSecond != opened {
			t.Errorf("%s: %v messages and %v new sessions per second, want %v and %v", what, l.MessagesPerSecond, l.NewPerSecond, messages, opened)
		}
	}
	// The first look at a counter says nothing about a rate.
	want("first", sample(0, chat(5, 1000, 100)), 0, 0)
	want("after 2 s", sample(2*time.Second, chat(5, 1100, 104)), 50, 2)
	want("after 4 s", sample(2*time.Second, chat(5, 1100, 104)), 25, 1)
	// A pool that was removed and is back counts from 0.
	want("reset", sample(6*time.Second, chat(5, 100, 10)), 20, 1.4)
	// The rate is that of the last 30 s.
	want("after 30 s", sample(20*time.Second, chat(5, 1000, 10)), 1100.0/30, 14.0/30)
	want("after a minute", sample(30*time.Second, chat(5, 1000, 10)), 0, 0)
	// One that is gone is forgotten.
	if got := sample(time.Second); got != (Load{}) {
		t.Errorf("%+v without pools", got)
	}
	want("back", sample(time.Second, chat(5, 5000, 50)), 0, 0)
}

// Whatever pools do, what was counted never falls, and no rate is below 0.
func TestCountersNeverFall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLocal(LocalOptions{})
		at := time.Now()
		counts := map[string]app.PoolLoad{}
		var before uint64
		present := false
		for range rapid.IntRange(1, 30).Draw(t, "samples") {
			for _, port := range []int32{80, 81, 82} {
				name := fmt.Sprint(port)
				p, known := counts[name]
				switch rapid.IntRange(0, 3).Draw(t, "change") {
				case 0:
					delete(counts, name)
					continue
				case 1:
					known = false
				}
				if !known {
					p = app.PoolLoad{Pool: name, Feed: translate.Feed("shop", "chat", port)}
				}
				p.Messages += uint64(rapid.IntRange(0, 100).Draw(t, "messages"))
				counts[name] = p
			}
			loads := []app.PoolLoad{}
			for _, p := range counts {
				loads = append(loads, p)
			}
			at = at.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "after")) * time.Second)
			l.sample(at, loads)
			report, _ := l.Report()
			if len(report.Services) == 0 {
				present = false
				continue
			}
			s := report.Services[0]
			if present && s.messages < before || s.MessagesPerSecond < 0 {
				t.Fatalf("%d messages after %d, %v per second", s.messages, before, s.MessagesPerSecond)
			}
			before, present = s.messages, true
			if h := l.services[s.key()]; len(h.samples) > 1 && at.Sub(h.samples[1].at) >= Window {
				t.Fatalf("%d samples are kept, the second %v old", len(h.samples), at.Sub(h.samples[1].at))
			}
		}
	})
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := uint64(0)
		l := NewLocal(LocalOptions{Loads: func() []app.PoolLoad {
			n += 20
			return []app.PoolLoad{chat(5, n, 0)}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		go l.Run(ctx)
		time.Sleep(61 * time.Second)
		report, _ := l.Report()
		if got := report.Services[0].MessagesPerSecond; got != 10 {
			t.Errorf("%v messages per second, want 10", got)
		}
		cancel()
	})
}

const wantMetrics = `# HELP holdfast_pod_sessions Open sessions of a pod in this replica.
# TYPE holdfast_pod_sessions gauge
holdfast_pod_sessions{namespace="shop",pod="chat-a"} 8
# HELP holdfast_service_handshake_queue Handshakes in this replica that wait for a pod of a Service.
# TYPE holdfast_service_handshake_queue gauge
holdfast_service_handshake_queue{namespace="shop",service="chat"} 3
holdfast_service_handshake_queue{namespace="shop",service="chat2"} 3
# HELP holdfast_service_messages_total Messages of the sessions of a Service in this replica, from both sides.
# TYPE holdfast_service_messages_total counter
holdfast_service_messages_total{namespace="shop",service="chat"} 100
holdfast_service_messages_total{namespace="shop",service="chat2"} 0
# HELP holdfast_service_sessions Open sessions of a Service in this replica.
# TYPE holdfast_service_sessions gauge
holdfast_service_sessions{namespace="shop",service="chat"} 5
holdfast_service_sessions{namespace="shop",service="chat2"} 5
# HELP holdfast_service_sessions_total Sessions that clients of a Service have opened in this replica.
# TYPE holdfast_service_sessions_total counter
holdfast_service_sessions_total{namespace="shop",service="chat"} 10
holdfast_service_sessions_total{namespace="shop",service="chat2"} 0
`

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	l := NewLocal(LocalOptions{})
	registry.MustRegister(l)
	two := chat(5, 0, 0) // a pod of two Services
	two.Pool, two.Feed = "two", translate.Feed("shop", "chat2", 80)
	l.sample(time.Now(), []app.PoolLoad{chat(5, 100, 10), two})
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if got := w.Body.String(); got != wantMetrics {
		t.Errorf("got\n%s", got)
	}
}

func FuzzReport(f *testing.F) {
	one, _ := json.Marshal(Report{Replica: "a", Services: []ServiceReport{{Namespace: "shop", Name: "chat", Load: Load{Sessions: 2}, Pods: map[string]int{"chat-a": 2}}}})
	f.Add(string(one))
	f.Add(`{"replica":"a","services":[{"sessions":-1}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseReport(stringReader(text), "a")
		if err != nil {
			return
		}
		sums := newLoads()
		sums.add(&r)
		for name, l := range sums.Services {
			if l.Sessions < 0 || l.Queue < 0 || l.MessagesPerSecond < 0 || l.NewPerSecond < 0 {
				t.Fatalf("%v: %+v", name, l)
			}
		}
	})
}
