//go:build unix

// Package frameworks tests the configurations of docs/frameworks.md with the clients that
// they are for, and with their servers or stubs of these.
package frameworks

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// The tests wait most of the time, so all run at once, however few processors there are.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "16")
	kit.Main(m)
}

var names = []string{"a", "b", "c"}

// framework is a section of docs/frameworks.md, and what it says of the client.
type framework struct {
	heading, kind string
	pool          string
	tcp           string // pool of the same servers by TCP, or ""
	// first is the least and the greatest time between the Close and the first retry.
	least, most time.Duration
	// lost says whether a client that came back has missed events, for frameworks where
	// that is the same each time: "some" or "none".
	lost string
	// anywhere is set if it isn't least_conn that chooses the servers of clients: one server
	// may have them all.
	anywhere bool
}

var all = []framework{
	{heading: "## Socket.IO", kind: "socketio", pool: "chat", least: 500 * time.Millisecond, most: 1500 * time.Millisecond, lost: "some"},
	{heading: "## SignalR", kind: "signalr", pool: "hubs", least: 0, most: 0},
	{heading: "## Phoenix", kind: "phoenix", pool: "phoenix", least: 10 * time.Millisecond, most: 10 * time.Millisecond},
	{heading: "## GraphQL subscriptions", kind: "graphql", pool: "api", least: 1300 * time.Millisecond, most: 4 * time.Second, lost: "some"},
	{heading: "### The older protocol", kind: "graphql-old", pool: "api", least: 50 * time.Millisecond, most: 150 * time.Millisecond},
	{heading: "## Action Cable", kind: "actioncable", pool: "cable", least: 500 * time.Millisecond, most: 2 * time.Second, lost: "some"},
	// It counts from the last message before the Close.
	{heading: "## Action Cable", kind: "actioncable-alone", pool: "cable", least: 5 * time.Second, most: 18 * time.Second, lost: "some"},
	{heading: "## STOMP", kind: "stomp", pool: "broker", least: 5 * time.Second, most: 5 * time.Second, lost: "some"},
	{heading: "## MQTT", kind: "mqtt", pool: "brokers", tcp: "brokers-tcp", least: time.Second, most: time.Second, lost: "none"},
	{heading: "## NATS", kind: "nats", pool: "nats", least: 0, most: 2 * time.Second},
	{heading: "### y-websocket", kind: "yjs", pool: "documents", least: 200 * time.Millisecond, most: 200 * time.Millisecond, lost: "none", anywhere: true},
	{heading: "### Hocuspocus", kind: "hocuspocus", pool: "documents", least: time.Second, most: time.Second, lost: "none", anywhere: true},
	{heading: "## Colyseus", kind: "colyseus", pool: "game", least: 500 * time.Millisecond, most: 1500 * time.Millisecond, anywhere: true},
	{heading: "## Your own protocol", kind: "plain", pool: "chat", least: time.Second, most: 5 * time.Second, lost: "some"},
}

// TestFrameworks: clients of each library use its section's configuration while one server
// is drained and another one is killed. They come back by themselves, at the third server,
// after the delay that the document says.
func TestFrameworks(t *testing.T) {
	for _, f := range all {
		t.Run(f.kind, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, f)
			const n = 9
			s.start(t, f.pool, "http://"+s.b.Address, n)
			if f.tcp != "" {
				_, port, _ := strings.Cut(s.b.LogEntries("started")[0]["listeners"].([]any)[1].(string), ":")
				s.start(t, f.tcp, "mqtt://127.0.0.1:"+port, n)
			}
			s.run(t)
		})
	}
}

// stage is a balancer with servers and one or two groups of clients.
type stage struct {
	framework
	b       *kit.Balancer
	servers *servers
	file    map[string]any
	groups  []*group
}

// newStage starts servers, and the balancer with the document's configuration.
func newStage(t *testing.T, f framework) *stage {
	t.Helper()
	servers := startServers(t, f.kind)
	file := documented(t, f.heading)
	setBackends(file, f.pool, servers.addresses)
	if f.tcp != "" {
		setBackends(file, f.tcp, servers.tcp)
	}
	for _, l := range file["listeners"].([]any) {
		l.(map[string]any)["address"] = "127.0.0.1:0"
	}
	file["admin"] = map[string]any{"address": "127.0.0.1:0"}
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return &stage{framework: f, b: kit.StartBalancer(t, string(text)), servers: servers, file: file}
}

func (s *stage) start(t *testing.T, pool, url string, n int) {
	cmd := kit.Node(t, "frameworks.js", "clients", s.kind, url, strconv.Itoa(n))
	cmd.Env = s.servers.env(cmd.Environ())
	s.groups = append(s.groups, &group{pool: pool, n: n, Process: process.Start(t, pool+" clients", cmd)})
}

func (s *stage) run(t *testing.T) {
	for _, g := range s.groups {
		testkit.Eventually(t, "events for all clients of "+g.pool, func() bool { return len(g.places(t)) == g.n })
	}
	const timeout = 2 * time.Second
	drained, killed := "a", "b"
	if s.anywhere {
		drained = s.groups[0].places(t)[0]
	}
	for _, g := range s.groups {
		args := []string{"drain", g.pool + "/" + drained}
		if s.drain(g.pool)["timeout"] == "0s" {
			s.b.Command(t, 0, args...)
			continue
		}
		s.b.Command(t, 0, append(args, "--timeout", timeout.String())...)
		s.checkSpread(t, g.pool, timeout)
	}
	if s.anywhere {
		testkit.Eventually(t, "all clients at other servers than the drained one", func() bool { return !s.groups[0].has(t, drained) })
		killed = s.groups[0].places(t)[0]
	}
	s.servers.kill(t, killed)
	n := 0
	for _, g := range s.groups {
		testkit.Eventually(t, "all clients of "+g.pool+" at the third server", func() bool { return !g.has(t, drained) && !g.has(t, killed) })
		if s.lost == "none" {
			testkit.Eventually(t, "all events that clients of "+g.pool+" have missed", func() bool { return g.lost(t) == 0 })
		}
		s.check(t, g)
		n += g.n
	}
	s.b.AwaitSessions(t, n) // all are still connected through the balancer
}

// drain is what the document sets for the drains of a pool.
func (s *stage) drain(pool string) map[string]any {
	return s.file["pools"].(map[string]any)[pool].(map[string]any)["drain"].(map[string]any)
}

// check compares what the clients have seen with what the document says.
func (s *stage) check(t *testing.T, g *group) {
	t.Helper()
	code, reason := cmp.Or(s.drain(g.pool)["code"], any(1001)), cmp.Or(s.drain(g.pool)["reason"], any("going away"))
	want := fmt.Sprintf("%v %v", code, reason)
	overTCP := g.pool == s.tcp
	var delays []time.Duration
	doubled, lostOf := 0, map[float64]bool{}
	closed := map[float64]time.Duration{} // when, of clients that haven't tried again
	drains := map[float64]int{}
	ever := map[float64]bool{}
	for _, e := range g.events(t) {
		client, at := e["client"].(float64), time.Duration(e["at"].(float64))*time.Millisecond
		switch e["event"] {
		case "closed":
			closed[client], ever[client] = at, true
			said := fmt.Sprintf("%v %v", e["code"], e["reason"])
			switch {
			case overTCP:
			case said == want:
				if drains[client]++; drains[client] > 1 {
					t.Errorf("client %v of %s came back to the server that drains", client, g.pool)
				}
			case s.kind == "socketio" && e["code"] == 0.0: // it polls
			case said != "1012 server lost":
				t.Errorf("client %v of %s was closed with %s, want %s or 1012 server lost", client, g.pool, said, want)
			}
		case "opening":
			if since, ok := closed[client]; ok {
				delays = append(delays, at-since)
				delete(closed, client)
			}
		case "gap":
			again, _ := e["doubled"].(float64)
			doubled += int(again)
			lostOf[client] = true
			if !ever[client] && !s.anywhere {
				t.Errorf("client %v of %s was not closed, and has a gap: %v", client, g.pool, e)
			}
		}
	}
	lost := g.lost(t)
	slices.Sort(delays)
	if len(delays) == 0 {
		t.Fatalf("no client of %s came back", g.pool)
	}
	t.Logf("%s: first retry after %v … %v … %v (%d); events, one each 50 ms: %d lost, %d twice, by %d clients", s.heading, delays[0], delays[len(delays)/2], delays[len(delays)-1], len(delays), lost, doubled, len(lostOf))
	const tick = 2 * time.Millisecond // of the clock, and of timers that end early
	if !overTCP && delays[0] < s.least-tick {
		t.Errorf("the first retry of %s came after %v, earlier than %v", g.pool, delays[0], s.least)
	}
	if last := delays[len(delays)-1]; last > s.most+20*time.Second {
		t.Errorf("the first retry of %s came after %v, much later than %v", g.pool, last, s.most)
	}
	if s.lost == "some" && lost == 0 {
		t.Errorf("no client of %s has lost an event: the document says otherwise", g.pool)
	}
}

// checkSpread checks by the balancer's log that it spreads the closes of a drain, in which
// timeout is less than the document's spread. When clients get them also depends on how
// busy the machine is; test/e2e/drain measures that.
func (s *stage) checkSpread(t *testing.T, pool string, timeout time.Duration) {
	t.Helper()
	entry := s.b.FindLog(t, "a backend is being emptied", 0, "pool="+pool)
	spread, err := time.ParseDuration(fmt.Sprint(entry["spread"]))
	if err != nil || spread > timeout || spread < timeout/2 {
		t.Errorf("the sessions of %s are closed over %v, want about %v", pool, entry["spread"], timeout)
	}
}
