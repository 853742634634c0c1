//go:build unix

package balance

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// jsession returns the session that an answer begins, and the server in its name.
func jsession(t testing.TB, res *http.Response) (cookie, server string) {
	t.Helper()
	for _, c := range res.Cookies() {
		if c.Name == "JSESSIONID" {
			server, _, _ = strings.Cut(c.Value, ".")
			return "Cookie: a=b; JSESSIONID=" + c.Value, server
		}
	}
	t.Fatalf("no session came with status %d: %q", res.StatusCode, res.Header)
	return "", ""
}

// Servers make the ids of sessions, on Node's ws: whatever a client opens next, plain HTTP or
// a WebSocket, comes to the server that knows its session, also after a reload. Ids that
// clients make up teach nothing.
func TestLearnFromAnswers(t *testing.T) {
	const clients = 12
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := kit.StartToggleable(t, 3)
		config := func(more string) string {
			return kit.ConfigWithPools("  main:\n    affinity: {learn: {from: [query:jsessionid, cookie:JSESSIONID], answer: cookie:JSESSIONID"+more+"}}\n    backends: "+kit.BackendList(servers...)) + "engine: " + engine + "\n"
		}
		b := kit.StartBalancer(t, config(""))
		var cookies, homes [clients]string
		spread := map[string]bool{}
		for i := range clients {
			ask := kit.AnsweredByHTTP
			if i%2 == 0 {
				ask = kit.ServedBy
			}
			_, res := ask(t, b.Address, "/app")
			cookies[i], homes[i] = jsession(t, res)
			spread[homes[i]] = true
			ask(t, b.Address, "/app", fmt.Sprintf("Cookie: JSESSIONID=made-up-%d", i))
		}
		if len(spread) != len(servers) {
			t.Errorf("the sessions are on %v, not spread over all servers", spread)
		}
		again := func(when string) {
			t.Helper()
			for i, home := range homes {
				if got, _ := kit.ServedBy(t, b.Address, "/app", cookies[i]); got != home {
					t.Errorf("%s: a WebSocket of session %d came to %s, not to %s", when, i, got, home)
				}
				_, id, _ := strings.Cut(cookies[i], "JSESSIONID=")
				if got, _ := kit.AnsweredByHTTP(t, b.Address, "/app?jsessionid="+id); got != home {
					t.Errorf("%s: a page of session %d came from %s, not from %s", when, i, got, home)
				}
			}
		}
		again("at once")
		b.WriteConfig(t, config(", expire: 2h, max: 500"))
		b.Reload(t, kit.Reloaded)
		again("after a reload")
		if m := b.Metrics(t); m[`holdfast_affinity_learned_keys{pool="main"}`] != clients || m[`holdfast_affinity_learned_keys_total{pool="main"}`] != clients {
			t.Errorf("%v keys are known, want those of %d sessions", m[`holdfast_affinity_learned_keys{pool="main"}`], clients)
		}
		wantCounts(t, affinities(t, b), map[string]int{"new": 2 * clients, "kept": 4 * clients})
		if shown := kit.Run(t, "status", "--admin", b.Admin).Stdout; !strings.Contains(shown, "12 keys have a backend") {
			t.Errorf("holdfast status shows\n%s", shown)
		}

		// Its server goes, and the client gets another one, which keeps it.
		gone := homes[0]
		for _, s := range servers {
			if s.Name == gone {
				s.Kill(t)
			}
		}
		moved, _ := kit.ServedBy(t, b.Address, "/app", cookies[0])
		for range 3 {
			if got, _ := kit.AnsweredByHTTP(t, b.Address, "/app", cookies[0]); got != moved || got == gone {
				t.Errorf("moved from %s to %s and then to %s", gone, moved, got)
			}
		}
	})
}

// Without answer, a client's first server is kept, and max bounds how many are remembered.
func TestLearnFirst(t *testing.T) {
	const clients, most = 30, 10
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		b := kit.StartBalancer(t, kit.PoolFile(engine, servers, fmt.Sprintf("affinity: {learn: {from: client_ip, max: %d}}\n", most), kit.TrustLocal))
		from := func(i int) string { return fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i) }
		for i := range clients {
			home, _ := kit.ServedBy(t, b.Address, "/", from(i))
			for range 3 {
				if got, _ := kit.AnsweredByHTTP(t, b.Address, "/", from(i)); got != home {
					t.Errorf("client %d was on %s, and then on %s", i, home, got)
				}
			}
		}
		m := b.Metrics(t)
		for series, want := range map[string]float64{
			`holdfast_affinity_learned_keys{pool="main"}`:                          most,
			`holdfast_affinity_forgotten_keys_total{pool="main",reason="full"}`:    clients - most,
			`holdfast_affinity_forgotten_keys_total{pool="main",reason="expired"}`: 0,
			`holdfast_affinity_total{pool="main",result="new"}`:                    clients,
			`holdfast_affinity_total{pool="main",result="kept"}`:                   3 * clients,
		} {
			if got, ok := m[series]; !ok || got != want {
				t.Errorf("%s is %v, want %v", series, got, want)
			}
		}
	})
}

// Connections without requests are kept by the address of their client.
func TestLearnOpaque(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		file := kit.PoolFile(engine, servers, "balance: round_robin\naffinity: {learn: {from: client_ip}}\n", "")
		b := kit.StartBalancer(t, strings.Replace(file, "{name: public,", "{name: public, mode: tcp, pool: main,", 1))
		home := ""
		for range 6 {
			w, res, err := wspeer.Dial(b.Address, "/")
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			if got := res.Header.Get("X-Backend"); home == "" {
				home = got
			} else if got != home {
				t.Errorf("on %s, before on %s", got, home)
			}
		}
	})
}

// With value: name, the cookie is the name of the server, which a client may also choose.
func TestCookieIsAName(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		b := kit.StartBalancer(t, kit.PoolFile(engine, servers, "affinity: {cookie: {name: stick, value: name}}\n", ""))
		for range servers {
			home, res := kit.ServedBy(t, b.Address, "/")
			if c := setCookie(t, res); c == nil || c.Value != home {
				t.Fatalf("%s has the cookie %v", home, c)
			}
		}
		for _, s := range servers {
			if got, _ := kit.AnsweredByHTTP(t, b.Address, "/", "Cookie: stick="+s.Name); got != s.Name {
				t.Errorf("the cookie %s led to %s", s.Name, got)
			}
		}
		_, res := kit.ServedBy(t, b.Address, "/", "Cookie: stick=europa")
		if c := setCookie(t, res); c == nil || c.Value == "europa" {
			t.Errorf("a name of nobody gave the cookie %v", c)
		}
		wantCounts(t, affinities(t, b), map[string]int{"new": 3, "kept": 3, "gone": 1})
	})
}

// Clients whose backend was chosen while they waited in a queue come back to it, too.
func TestLearnInQueue(t *testing.T) {
	const clients = 30
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		b := kit.StartBalancer(t, kit.PoolFile(engine, servers, "balance: round_robin\naffinity: {learn: {from: client_ip}}\nadmit: {rate: 20/s, burst: 1, ramp: 0}\n", kit.TrustLocal))
		visit := func() (homes [clients]string) {
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					w, res, err := wspeer.Dial(b.Address, "/", fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i))
					if err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
					homes[i] = res.Header.Get("X-Backend")
					w.SendClose(1000, "")
					w.Close()
				})
			}
			all.Wait()
			return homes
		}
		first := visit()
		if again := visit(); again != first {
			t.Errorf("the clients were on %v, and then on %v", first, again)
		}
		if m := b.Metrics(t); m[`holdfast_admission_queued_total{pool="main"}`] == 0 {
			t.Error("nobody had to wait")
		}
		wantCounts(t, affinities(t, b), map[string]int{"new": clients, "kept": clients})
	})
}
