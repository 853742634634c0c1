//go:build unix

package endings

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// Node's ws on both sides of the balancer: each scenario of node/client.js,
// what its client must see, how its server must see the session end ("" where
// it never had one), and the cause that the balancer logs.
var nodeScenarios = []struct {
	name   string
	client string
	server string
	cause  string
}{
	{"text", `{"answers":["hello","","žluťoučký kůň 🐎","70000 true"],"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"binary", `{"same":true,"empty":true,"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"fragments", `{"mine":"abc","theirs":"one, two, three","pings":["between"],"pongs":["between"],"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"deflate", `{"extensions":"permessage-deflate","same":true,"compressed":true,"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"plain", `{"client":"","server":"","code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"subprotocol", `{"protocol":"v2.chat","code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"nosubprotocol", `{"protocol":"","code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"large", `{"same":true,"big":true,"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"headers", `{"headers":{"host":"chat.example.com","x-forwarded-for":"127.0.0.1","x-forwarded-proto":"http",
		"x-forwarded-host":"chat.example.com","x-custom":"kept","cookie":"session=1","origin":"https://example.com",
		"upgrade":"websocket","connection":"Upgrade","sec-websocket-version":"13"},"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"ping", `{"pings":["are you there?"],"pongs":["hello?"],"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"early", `{"messages":["first","second","third"],"code":1000,"reason":""}`,
		`1000 ""`, "client_closed"},
	{"eager", `{"status":"HTTP/1.1 101","frames":"81036f6e65810374776f880203e8"}`,
		`1000 ""`, "client_closed"},

	{"clientcloses", `{"code":1000,"reason":"done"}`, `1000 "done"`, "client_closed"},
	{"clientcloses4001", `{"code":4001,"reason":"bye"}`, `4001 "bye"`, "client_closed"},
	{"clientclosesbare", `{"code":1005,"reason":""}`, `1005 ""`, "client_closed"},
	{"servercloses", `{"code":1000,"reason":"done"}`, `1000 "done"`, "backend_closed"},
	{"servercloses4001", `{"code":4001,"reason":"bye"}`, `4001 "bye"`, "backend_closed"},
	{"serverclosesbare", `{"code":1005,"reason":""}`, `1005 ""`, "backend_closed"},
	{"serverclosesgoing", `{"code":1001,"reason":"žžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžž"}`,
		`1001 "žžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžžž"`, "backend_closed"},

	{"terminate", `{}`, `1006 ""`, "client_lost"},
	{"serverterminates", `{"code":1012,"reason":"server lost"}`, `1006 ""`, "backend_lost"},
	{"reject", `{"status":401,"text":"Unauthorized","headers":{"auth":"Bearer realm=\"chat\"","reason":"no token",
		"cookies":["a=1","b=2"],"type":"application/json"},"body":"{\"error\":\"no token\"}"}`,
		"", ""},
}

func TestNode(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		server := kit.StartNodeServer(t)
		play(t, server, kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{server.Address}}.YAML()))
	})
}

// TestNodeWithTLS is TestNode with TLS to the server, for those that need more than a
// few frames.
func TestNodeWithTLS(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		t.Parallel()
		ca := testca.New(t)
		server := kit.StartNodeServer(t, kit.WithTLS(ca.Issue("127.0.0.1"))...)
		play(t, server, kit.StartBalancer(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
pools: {main: {tls: {ca: %s}, backends: [{name: a, address: %q}]}}
`, engine, ca.File(), server.Address)), "deflate", "large", "early", "eager", "terminate", "serverterminates", "serverclosesbare", "reject")
	})
}

// play plays the scenarios of these names, or all, with a server behind a balancer.
func play(t *testing.T, server *kit.NodeServer, b *kit.Balancer, names ...string) {
	sessions := 0
	for _, tt := range nodeScenarios {
		if len(names) > 0 && !slices.Contains(names, tt.name) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			before := b.Stderr.Position()
			kit.SameJSON(t, "the client saw", kit.Scenario(t, b.Address, tt.name), tt.client)
			if tt.server == "" {
				b.FindLog(t, "handshake declined by the backend", before, "status=401")
				return
			}
			sessions++
			e := server.Event(t, "close", tt.name)
			if got := fmt.Sprintf("%v %q", e["code"], e["reason"]); got != tt.server {
				t.Errorf("the server saw %s, want %s", got, tt.server)
			}
			entry := b.FindLog(t, "session closed", before, "cause="+tt.cause)
			for attempt := 1; entry["duration"].(float64) >= 5; attempt++ { // or the machine is slow
				if attempt == 3 {
					t.Errorf("the session ended only when the balancer gave up waiting: %v", entry)
					break
				}
				before = b.Stderr.Position()
				kit.Scenario(t, b.Address, tt.name)
				sessions++
				entry = b.FindLog(t, "session closed", before, "cause="+tt.cause)
			}
		})
	}
	m := b.AwaitSessions(t, 0)
	if got := m["holdfast_sessions_total"]; got != float64(sessions) {
		t.Errorf("%v sessions counted, there were %d", got, sessions)
	}
	b.Stop(t)
}

// kill -9 of a server is told to its clients as 1012, on which they know that
// coming back makes sense, not as 1006.
func TestServerKilled(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		server, other := kit.StartNodeServer(t), kit.StartNodeServer(t)
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{server.Address}}.YAML())
		client := process.Start(t, "node client", kit.Node(t, "client.js", b.Address, "serverkilled"))
		client.Stdout.Find(t, "ready", 0, func(line string) bool { return line == `"ready"` })
		server.Kill(t)
		if status := client.Wait(t, testkit.Patience); status != 0 {
			t.Fatalf("the client ended with status %d", status)
		}
		kit.SameJSON(t, "the client saw", client.Stdout.Find(t, "result", 1, func(string) bool { return true }),
			`{"code":1012,"reason":"server lost"}`)
		b.FindLog(t, "session closed", 0, "cause=backend_lost", "close_code=1012")

		// Another server takes over with a reload.
		b.WriteConfig(t, kit.Settings{Engine: engine, Backends: []string{server.Address, other.Address}}.YAML())
		b.Reload(t, kit.Reloaded)
		kit.SameJSON(t, "the client saw", kit.Scenario(t, b.Address, "clientcloses4001"), `{"code":4001,"reason":"bye"}`)
	})
}

// Plain HTTP on the same port.
func TestPlainHTTPBesideWebSockets(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		server := kit.StartNodeServer(t)
		b := kit.StartBalancer(t, kit.Settings{Engine: engine, Backends: []string{server.Address}}.YAML())
		client := http.Client{Transport: &http.Transport{}, Timeout: testkit.Patience}
		defer client.CloseIdleConnections()
		for range 3 { // kept alive in between
			res, err := client.Get("http://" + b.Address + "/some/page?x=1")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || string(body) != "plain GET /some/page?x=1" || res.Header.Get("X-Server") != "node" {
				t.Errorf("got %q, %v, %v", body, res.Header, err)
			}
		}
		// A request is counted when its answer has been sent.
		m := b.AwaitMetrics(t, "three requests", func(m kit.Metrics) bool { return m[`holdfast_http_requests_total{code="2xx"}`] == 3 })
		if m["holdfast_sessions_total"] != 0 {
			t.Errorf("metrics: %v", m)
		}
	})
}
