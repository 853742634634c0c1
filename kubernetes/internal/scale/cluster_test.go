package scale

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
)

func stringReader(s string) io.Reader { return strings.NewReader(s) }

var chatName = types.NamespacedName{Namespace: "shop", Name: "chat"}

// replica is another replica, with a server.
type replica struct {
	*Local
	*httptest.Server
	asked  atomic.Int32
	broken atomic.Bool
	path   atomic.Pointer[string]
}

// newReplica starts one that has that many sessions.
func newReplica(t *testing.T, name string, sessions int) *replica {
	r := &replica{Local: NewLocal(LocalOptions{Replica: name})}
	r.sample(time.Now(), []app.PoolLoad{chat(sessions, 0, 0)})
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		r.path.Store(&req.URL.Path)
		if r.broken.Load() {
			http.NotFound(w, req)
			return
		}
		r.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Server.Close)
	return r
}

func (r *replica) peer() Peer { return Peer{r.o.Replica, strings.TrimPrefix(r.URL, "http://")} }

// testCluster asks peers, and has a clock that stands still.
type testCluster struct {
	*Cluster
	peers []Peer
	now   time.Time
	log   testkit.Log
}

func newTestCluster(t *testing.T, sessions int, peers ...Peer) *testCluster {
	c := &testCluster{peers: peers, now: time.Now()}
	own := NewLocal(LocalOptions{Replica: "holdfast-0"})
	if sessions > 0 {
		own.sample(c.now, []app.PoolLoad{chat(sessions, 0, 0)})
	}
	c.Cluster = NewCluster(ClusterOptions{Local: own, Log: func() *slog.Logger { return slog.New(slog.NewTextHandler(&c.log, nil)) },
		Peers: func() []Peer { return c.peers }, Now: func() time.Time { return c.now }})
	t.Cleanup(c.Close)
	return c
}

// wantSessions asks again, and compares.
func (c *testCluster) wantSessions(t *testing.T, sessions int, missing ...string) {
	t.Helper()
	c.now = c.now.Add(reuse)
	got, err := c.Loads()
	if err != nil || got.Services[chatName].Sessions != sessions || !reflect.DeepEqual(got.Missing, missing) {
		t.Errorf("%d sessions, %v missing, %v; want %d, %v", got.Services[chatName].Sessions, got.Missing, err, sessions, missing)
	}
}

// states is what the metric says.
func (c *testCluster) states() string {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var words []string
	for line := range strings.Lines(w.Body.String()) {
		if _, rest, ok := strings.Cut(line, `state="`); ok {
			words = append(words, strings.NewReplacer(`"}`, "", "\n", "").Replace(rest))
		}
	}
	return strings.Join(words, ", ")
}

func TestReplicasAreAddedUp(t *testing.T) {
	one, two := newReplica(t, "holdfast-1", 20), newReplica(t, "holdfast-2", 300)
	c := newTestCluster(t, 4000, one.peer(), two.peer())
	c.wantSessions(t, 4320)
	if got := *one.path.Load(); got != "/loads" {
		t.Errorf("asked for %s", got)
	}
	loads, _ := c.Loads()
	want := Loads{
		Services: map[types.NamespacedName]Load{chatName: {Sessions: 4320, Queue: 9}},
		Pods:     map[types.NamespacedName]int{{Namespace: "shop", Name: "chat-a"}: 4317},
	}
	if !reflect.DeepEqual(loads, want) {
		t.Errorf("%+v", loads)
	}
	// Within a second nobody is asked again.
	if n := one.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	c.wantSessions(t, 4320)
	if n := one.asked.Load(); n != 2 {
		t.Errorf("asked %d times after a second", n)
	}
	// One that leaves is no longer counted, at once.
	c.peers = c.peers[1:]
	c.wantSessions(t, 4300)
	if c.log.String() != "" || c.states() != "answering 2, missing 0, silent 0" {
		t.Errorf("%s; log: %s", c.states(), c.log.String())
	}
}

// The last figures of a replica that doesn't answer count for a while.
func TestSilentReplica(t *testing.T) {
	one := newReplica(t, "holdfast-1", 20)
	c := newTestCluster(t, 4000, one.peer())
	c.wantSessions(t, 4020)
	one.broken.Store(true)
	c.wantSessions(t, 4020)
	if got := c.states(); got != "answering 1, missing 0, silent 1" {
		t.Error(got)
	}
	c.now = c.now.Add(Remember)
	c.wantSessions(t, 4000, "holdfast-1")
	c.wantSessions(t, 4000, "holdfast-1")
	if got := c.states(); got != "answering 1, missing 1, silent 0" {
		t.Error(got)
	}
	one.broken.Store(false)
	c.wantSessions(t, 4020)
	lines := strings.Split(strings.TrimSpace(c.log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "status 404") || !strings.Contains(lines[1], "answers again") {
		t.Errorf("log: %s", lines)
	}
}

func TestUnknown(t *testing.T) {
	one := newReplica(t, "holdfast-1", 20)
	if _, err := newTestCluster(t, 0, one.peer()).Loads(); err != ErrUnknown || one.asked.Load() > 0 {
		t.Errorf("%v, asked %d times", err, one.asked.Load())
	}
}

func TestBadAnswers(t *testing.T) {
	elsewhere := newReplica(t, "holdfast-1", 20)
	for text, want := range map[string]string{
		`{"replica":"holdfast-9","services":[]}`:                                                   "holdfast-9",
		`{"replica":"holdfast-1","services":[{"namespace":"shop","name":"chat","sessions":-5}]}`:   "impossible number",
		`{"replica":"holdfast-1","services":[{"namespace":"shop","name":"chat","pods":{"a":-5}}]}`: "impossible number",
		`{"replica":"holdfast-1","services":[{"messages_per_second":-1}]}`:                         "impossible number",
		`{"replica":"holdfast-1","services":`:                                                      "no report",
		`[]`:                                                                                       "no report",
		"redirect":                                                                                 "status 302",
		`{"replica":"holdfast-1","services":[],"more":"` + strings.Repeat("x", maxReport) + `"}`:               "no report",
		`{"replica":"holdfast-1","services":[{"namespace":"shop","name":"chat","messages_per_second":9e999}]}`: "no report",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if text == "redirect" {
				http.Redirect(w, r, elsewhere.URL+"/loads", http.StatusFound)
				return
			}
			io.WriteString(w, text)
		}))
		c := newTestCluster(t, 4000, Peer{"holdfast-1", strings.TrimPrefix(s.URL, "http://")})
		c.wantSessions(t, 4000, "holdfast-1")
		if !strings.Contains(c.log.String(), want) {
			t.Errorf("%.80s: the log is %s", text, c.log.String())
		}
		s.Close()
	}
	if n := elsewhere.asked.Load(); n > 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// Many are asked at the same time, but not all at once.
func TestManyReplicas(t *testing.T) {
	var peers []Peer
	for i := range 2*maxAsked + 1 {
		peers = append(peers, newReplica(t, fmt.Sprint("holdfast-", i+1), 10).peer())
	}
	newTestCluster(t, 10, peers...).wantSessions(t, 10*(len(peers)+1))
}

func TestPeers(t *testing.T) {
	s, err := cluster.FromYAML(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: one, namespace: gw, labels: {kubernetes.io/service-name: peers}}
addressType: IPv4
ports: [{name: peers, port: 9901}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: holdfast-0}}
- {addresses: [10.0.0.3], targetRef: {kind: Pod, name: holdfast-2}, conditions: {ready: false, terminating: true}}
- {addresses: [10.0.0.2], targetRef: {kind: Pod, name: holdfast-1}}
- {addresses: [10.0.0.7]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: two, namespace: gw, labels: {kubernetes.io/service-name: peers}}
addressType: IPv6
ports: [{name: peers, port: 9902}]
endpoints:
- {addresses: ["fd00::2"], targetRef: {kind: Pod, name: holdfast-1}}
- {addresses: ["fd00::4"], targetRef: {kind: Pod, name: holdfast-3}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: three, namespace: shop, labels: {kubernetes.io/service-name: peers}}
addressType: IPv4
ports: [{name: peers, port: 9901}]
endpoints: [{addresses: [10.0.0.66], targetRef: {kind: Pod, name: evil}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: four, namespace: gw, labels: {kubernetes.io/service-name: peers}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.67], targetRef: {kind: Pod, name: portless}}]
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Peer{{"holdfast-1", "10.0.0.2:9901"}, {"holdfast-2", "10.0.0.3:9901"}, {"holdfast-3", "[fd00::4]:9902"}}
	if got := Peers(s, "gw", "peers", "holdfast-0"); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}
