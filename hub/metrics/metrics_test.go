package metrics_test

import (
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/holdfast-ws/holdfast/hub"
	"github.com/holdfast-ws/holdfast/hub/metrics"
)

func TestCollectorExportsStats(t *testing.T) {
	h := hub.Memory(hub.Options{Queue: 2})
	defer h.Close()
	ctx := t.Context()
	var members []*hub.Membership
	for _, room := range []string{"lobby", "lobby", "attic"} {
		m, err := h.Join(ctx, room, hub.Member{ID: fmt.Sprint(len(members))}, hub.JoinOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Leave()
		members = append(members, m)
	}
	// The two in the lobby read; the one in the attic is too slow.
	for range 3 {
		for _, room := range []string{"lobby", "attic"} {
			if _, err := h.Publish(ctx, room, []byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range members[:2] {
			if _, err := m.Next(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		defer hub.NewSession(h, hub.Member{ID: "ann"}, hub.SessionOptions{}).Close()
	}
	lost, err := h.Join(ctx, "lobby", hub.Member{ID: "lost"}, hub.JoinOptions{Since: "1-0"})
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Leave()
	if e, err := lost.Next(ctx); err != nil || e.Kind != hub.Gap {
		t.Fatalf("%v, %v, want a gap", e, err)
	}
	want := `
# HELP hub_catch_ups_total Times that a room has read from Redis what it may have missed on its channel.
# TYPE hub_catch_ups_total counter
hub_catch_ups_total 0
# HELP hub_connected 1 if the hub is connected to Redis, otherwise 0. Always 1 without Redis.
# TYPE hub_connected gauge
hub_connected 1
# HELP hub_events_delivered_total Events of all kinds returned by Next.
# TYPE hub_events_delivered_total counter
hub_events_delivered_total 7
# HELP hub_events_dropped_total Events discarded because the queue of a member was full.
# TYPE hub_events_dropped_total counter
hub_events_dropped_total 3
# HELP hub_gaps_total Delivered gaps: places where messages may be missing.
# TYPE hub_gaps_total counter
hub_gaps_total 1
# HELP hub_memberships Memberships on this server. A member in two rooms counts twice.
# TYPE hub_memberships gauge
hub_memberships 4
# HELP hub_reconnects_total Connections to Redis made after one was lost or couldn't be made at first.
# TYPE hub_reconnects_total counter
hub_reconnects_total 0
# HELP hub_rooms Rooms that have members on this server.
# TYPE hub_rooms gauge
hub_rooms 2
# HELP hub_sessions Sessions on this server that aren't closed.
# TYPE hub_sessions gauge
hub_sessions 2
# HELP hub_slow_members_total Memberships ended because the member was too slow.
# TYPE hub_slow_members_total counter
hub_slow_members_total 1
`
	c := metrics.NewCollector(h)
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A metric shows that a hub isn't connected, and metrics of a closed hub remain.
func TestCollectorOfHubWithoutRedis(t *testing.T) {
	h, err := hub.Redis(hub.RedisOptions{URL: "unix:///nonexistent/redis.sock"})
	if err != nil {
		t.Fatal(err)
	}
	c := metrics.NewCollector(h)
	want := `
# HELP hub_connected 1 if the hub is connected to Redis, otherwise 0. Always 1 without Redis.
# TYPE hub_connected gauge
hub_connected 0
`
	for _, state := range []string{"open", "closed"} {
		if err := testutil.CollectAndCompare(c, strings.NewReader(want), "hub_connected"); err != nil {
			t.Errorf("%s: %v", state, err)
		}
		_ = h.Close() // it reports that Redis can't be reached
	}
}

// Several hubs of a process need a label.
func TestSeveralHubs(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for _, name := range []string{"chat", "game"} {
		h := hub.Memory(hub.Options{})
		defer h.Close()
		prometheus.WrapRegistererWith(prometheus.Labels{"hub": name}, registry).MustRegister(metrics.NewCollector(h))
	}
	if n, err := testutil.GatherAndCount(registry, "hub_rooms"); err != nil || n != 2 {
		t.Errorf("%d series of hub_rooms, %v; want 2", n, err)
	}
}

// Every field of Stats is exported, and the documentation names every metric.
func TestNothingIsMissing(t *testing.T) {
	h := hub.Memory(hub.Options{})
	defer h.Close()
	c := metrics.NewCollector(h)
	n := testutil.CollectAndCount(c)
	if fields := reflect.TypeFor[hub.Stats]().NumField(); n != fields {
		t.Errorf("%d metrics, but Stats has %d fields", n, fields)
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "metrics.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if doc.Synopsis(file.Doc.Text()) == "" {
		t.Fatal("no package documentation")
	}
	documented := regexp.MustCompile(`(?m)^\thub_\w+`).FindAllString(file.Doc.Text(), -1)
	exported := map[string]bool{}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		exported[f.GetName()] = true
	}
	for _, name := range documented {
		if !exported[strings.TrimSpace(name)] {
			t.Errorf("%s is documented but not exported", name)
		}
	}
	if len(documented) != len(exported) {
		t.Errorf("%d metrics are documented, %d exported", len(documented), len(exported))
	}
}
