//go:build unix

package balance

import (
	"bufio"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// newcomer is the weight of the backend that joins three others with the
// weights 1:2:3.
const newcomer = 2

// weightsFile is a configuration with the first of the backends a:b:c:d with
// the weights 1:2:3:2.
func weightsFile(engine, kind string, addresses []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listeners: [{name: public, address: \"127.0.0.1:0\"}]\n")
	fmt.Fprintf(&b, "admin: {address: \"127.0.0.1:0\"}\nengine: %s\nkeepalive: {interval: 0}\n", engine)
	fmt.Fprintf(&b, "pools:\n  main:\n    balance: %s\n    backends:\n", kind)
	for i, address := range addresses {
		fmt.Fprintf(&b, "      - {name: %s, address: %q, weight: %d}\n", kit.BackendName(i), address, []int{1, 2, 3, newcomer}[i])
	}
	return b.String()
}

// Three servers with the weights 1:2:3 get sessions, then a fourth joins. Open
// sessions stay, and the newcomer gets the share of new sessions that the
// balancing algorithm gives it.
func TestWeights(t *testing.T) {
	for _, c := range []struct {
		kind         string
		engines      []string
		first, after int
		// near is how far counts by weight may be off: least_conn and
		// round_robin leave nothing to chance.
		near func(n int, part float64) float64
		// atMost is the newcomer's share of the later sessions at the most,
		// its part by weight being a quarter.
		atMost float64
		// evens says that the newcomer should get more than its weight, since
		// it has less.
		evens bool
	}{
		{"least_conn", testkit.Engines()[:1], 6000, 2000, within(1), 0.5, true},
		{"least_conn", testkit.Engines()[1:], 600, 200, within(1), 0.5, true},
		{"round_robin", testkit.Engines(), 600, 200, within(1), 0.25, false},
		// Of two that are drawn, the newcomer is one by 0.25·(1+1/7+2/6+3/5).
		{"p2c", testkit.Engines(), 600, 200, fiveSigma, 0.52, true},
		{"random", testkit.Engines(), 600, 200, fiveSigma, 0.25, false},
	} {
		for _, engine := range c.engines {
			t.Run(fmt.Sprintf("%s/%s/%d", c.kind, engine, c.first), func(t *testing.T) {
				backends := kit.StartBackends(t, 4)
				all := kit.Addresses(backends)
				b := kit.StartBalancer(t, weightsFile(engine, c.kind, all[:3]))
				residents := kit.OpenMany(t, b.Address, "/echo", c.first)
				before := b.SessionsByBackend(t)
				for i, name := range []string{"a", "b", "c"} {
					part := float64(i+1) / 6
					wantNear(t, name, before[name], part*float64(c.first), c.near(c.first, part))
				}

				b.WriteConfig(t, weightsFile(engine, c.kind, all))
				b.Reload(t, kit.Reloaded)
				if err := kit.InParallel(c.first, func(i int) error { return residents[i].RoundTrip("still here") }); err != nil {
					t.Errorf("a session was touched by the reload: %v", err)
				}
				if now := b.SessionsByBackend(t); now["a"] != before["a"] || now["b"] != before["b"] || now["c"] != before["c"] || now["d"] != 0 {
					t.Errorf("%v after the reload, %v before", now, before)
				}

				kit.OpenMany(t, b.Address, "/echo", c.after)
				now := b.SessionsByBackend(t)
				got, n := float64(now["d"]), float64(c.after)
				most, least := c.atMost*n, 0.25*n
				// Chance adds to it or takes from it, and least_conn lets one
				// have a burst of 16 at once.
				slack := max(c.near(c.after, c.atMost), 16)
				if got > most+slack {
					t.Errorf("the newcomer got %v of %v, want at most %v and %v more", got, n, most, slack)
				}
				if c.evens && got <= least || !c.evens && got < least-slack {
					t.Errorf("the newcomer got %v of %v, too few for its share of %v", got, n, least)
				}
				t.Logf("%s, %d sessions and %d more with a newcomer of weight 2:", c.kind, c.first, c.after)
				for i, name := range []string{"a", "b", "c", "d"} {
					t.Logf("  %s, weight %d: %4d, then %4d more", name, []int{1, 2, 3, newcomer}[i], before[name], now[name]-before[name])
				}
				// The others keep their proportion.
				rest := float64(now["a"] + now["b"] + now["c"])
				for i, name := range []string{"a", "b", "c"} {
					part := float64(i+1) / 6
					wantNear(t, name+" at the end", now[name], part*rest, 1+c.near(int(rest), part))
				}
				for series, value := range b.Metrics(t) {
					if strings.HasPrefix(series, "holdfast_session_closes_total") && value != 0 {
						t.Errorf("%s is %v, but no session was closed", series, value)
					}
				}
				for _, backend := range backends {
					if r := backend.Report(t); r.Open != now[r.Name] {
						t.Errorf("backend %s has %d sessions, the balancer counts %d", r.Name, r.Open, now[r.Name])
					}
				}
			})
		}
	}
}

func within(d float64) func(int, float64) float64 { return func(int, float64) float64 { return d } }

// fiveSigma is five standard deviations of a binomial distribution. Chance
// exceeds it in one run of a million.
func fiveSigma(n int, p float64) float64 { return 5 * math.Sqrt(float64(n)*p*(1-p)) }

func wantNear(t testing.TB, what string, got int, want, near float64) {
	t.Helper()
	if math.Abs(float64(got)-want) > near {
		t.Errorf("%s has %d sessions, want %.1f ± %.1f", what, got, want, near)
	}
}

// All clients behind a NAT have one address, and so one key. At no time does a
// server have more of them than the bound allows.
func TestHashBound(t *testing.T) {
	const clients, batch, bound = 5000, 250, 1.25
	backends := kit.StartBackends(t, 4)
	var servers []*kit.NamedBackend
	for i, backend := range backends {
		servers = append(servers, &kit.NamedBackend{Name: kit.BackendName(i), Address: backend.Address})
	}
	b := kit.StartBalancer(t, kit.PoolFile(testkit.Engines()[0], servers, "balance: hash\nhash: {key: client_ip, bound: 1.25}", "keepalive: {interval: 0}"))

	allowed := func(n int) int { return int(math.Ceil(bound * float64(n) / float64(len(backends)))) }
	sum := func(loads map[string]int) (n int) {
		for _, load := range loads {
			n += load
		}
		return n
	}
	// While sessions open, one look at all servers takes longer than an
	// opening. But no count goes down, so what a server had at one look is
	// held to what all have at the next.
	samples := 0
	last := b.SessionsByBackend(t)
	for opened := 0; opened < clients; {
		var all []*wspeer.Conn
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			all, err = kit.DialMany(b.Address, "/quiet", batch)
		}()
		for over := false; !over; samples++ {
			select {
			case <-done:
				over = true
			default:
			}
			now := b.SessionsByBackend(t)
			for name, load := range last {
				if most := allowed(sum(now)); load > most {
					t.Errorf("%s had %d of at most %d sessions, more than %d", name, load, sum(now), most)
				}
			}
			last = now
		}
		t.Cleanup(func() { kit.CutAll(all) })
		if err != nil {
			t.Fatal(err)
		}
		// Nothing is opening: this look is exact.
		if opened += batch; sum(last) != opened {
			t.Fatalf("%d sessions are open: %v", opened, last)
		}
		for name, load := range last {
			if load > allowed(opened) {
				t.Errorf("%s has %d of %d sessions, more than %d", name, load, opened, allowed(opened))
			}
		}
	}
	loads := b.SessionsByBackend(t)
	t.Logf("%d sessions of one address: %v, none may have more than %d; %d samples meanwhile", clients, loads, allowed(clients), samples)
	full := 0
	for _, load := range loads {
		if load >= allowed(clients)-1 { // the bound is 1562.5, and three times that and the rest is 5000
			full++
		}
	}
	if full != 3 { // of the key's order, the first three are at the bound
		t.Errorf("%d servers are at the bound, want 3: the key stays with its first as long as it may", full)
	}
}

// With the addresses that a trusted proxy reports, clients are spread, each
// always to the same server. Addresses that others report are ignored.
func TestHashByForwardedAddress(t *testing.T) {
	const clients, visits = 200, 3
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := kit.StartAllNamed(t, "a", "b", "c", "d")
		const keys = "balance: hash\nhash: {key: client_ip, bound: 0}"
		trusting := kit.StartBalancer(t, kit.PoolFile(engine, servers, keys, "forwarded: {trust: [127.0.0.1]}"))
		doubting := kit.StartBalancer(t, kit.PoolFile(engine, servers, keys, ""))
		header := func(client int) string {
			return fmt.Sprintf("X-Forwarded-For: 203.0.113.9, 10.1.%d.%d", client/10, client)
		}

		count := map[string]int{}
		for client := range clients {
			first, _ := kit.ServedBy(t, trusting.Address, "/", header(client))
			count[first]++
			for range visits - 1 {
				if again, _ := kit.ServedBy(t, trusting.Address, "/", header(client)); again != first {
					t.Errorf("client %d was on %s, then on %s", client, first, again)
				}
			}
			if plain, _ := kit.AnsweredByHTTP(t, trusting.Address, "/", header(client)); plain != first {
				t.Errorf("client %d is on %s by WebSocket and on %s by plain HTTP", client, first, plain)
			}
		}
		// The same addresses and names give the same counts in each run.
		for _, s := range servers {
			wantNear(t, s.Name, count[s.Name], clients/4, fiveSigma(clients, 0.25))
		}
		t.Logf("%d clients: %v", clients, count)

		only, _ := kit.ServedBy(t, doubting.Address, "/")
		for client := range 20 {
			if got, _ := kit.ServedBy(t, doubting.Address, "/", header(client)); got != only {
				t.Errorf("an untrusted client got from %s to %s by a header", only, got)
			}
		}
	})
}

// No server and no pool ever has more connections than its limit, even if many
// come at the same moment. The servers count their connections themselves.
func TestMaxSessions(t *testing.T) {
	const crowd = 200
	for _, c := range []struct {
		kind  string
		pool  int
		most  []int // of each server; 0 is no bound
		total int
	}{
		{"least_conn", 20, []int{5, 7, 0}, 20},
		{"round_robin", 0, []int{5, 7, 9}, 21},
		{"p2c", 20, []int{5, 0, 0}, 20},
		{"random", 0, []int{1, 2, 30}, 33},
		{"hash", 40, []int{20, 10, 15}, 40},
	} {
		t.Run(c.kind, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				servers := kit.StartAllNamed(t, "a", "b", "c")
				var file strings.Builder
				fmt.Fprintf(&file, "listeners: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\nengine: %s\n", engine)
				fmt.Fprintf(&file, "pools:\n  main:\n    balance: %s\n    max_sessions: %d\n    backends:\n", c.kind, c.pool)
				for i, s := range servers {
					fmt.Fprintf(&file, "      - {name: %s, address: %q, max_sessions: %d}\n", s.Name, s.Address, c.most[i])
				}
				b := kit.StartBalancer(t, file.String())
				check := func(when string) {
					t.Helper()
					sum := 0
					for i, s := range servers {
						open, peak := s.Connections()
						if c.most[i] > 0 && peak > c.most[i] {
							t.Errorf("%s: %s had %d connections at once, may have %d", when, s.Name, peak, c.most[i])
						}
						sum += open
					}
					if sum != c.total {
						t.Errorf("%s: the servers have %d connections, want %d", when, sum, c.total)
					}
				}

				opened := rush(t, b.Address, crowd)
				if len(opened) != c.total {
					t.Fatalf("%d of %d sessions were opened, want %d", len(opened), crowd, c.total)
				}
				check("after the first rush")
				m := b.Metrics(t)
				if got := m[`holdfast_handshakes_total{result="pool_full"}`]; got != float64(crowd-c.total) {
					t.Errorf("%v handshakes are counted as pool_full, want %d", got, crowd-c.total)
				}

				// Places are given again, and no more than became free.
				half := len(opened) / 2
				kit.CutAll(opened[:half])
				b.AwaitSessions(t, c.total-half)
				testkit.Eventually(t, "closed at the servers", func() bool {
					sum := 0
					for _, s := range servers {
						open, _ := s.Connections()
						sum += open
					}
					return sum == c.total-half
				})
				if again := rush(t, b.Address, crowd); len(again) != half {
					t.Errorf("%d sessions were opened where %d had ended", len(again), half)
				}
				check("after the second rush")
			})
		})
	}
}

// rush sends n handshakes at the same moment, and returns the sessions that
// opened. All others must be refused with a request to come back later.
func rush(t testing.TB, address string, n int) (opened []*wspeer.Conn) {
	t.Helper()
	var ready, running sync.WaitGroup
	var mu sync.Mutex
	faults := &kit.Faults{T: t}
	begin := make(chan struct{})
	ready.Add(n)
	for range n {
		running.Go(func() {
			conn, err := net.DialTimeout("tcp", address, testkit.Patience)
			ready.Done()
			var res *http.Response
			var w *wspeer.Conn
			if err == nil {
				w = &wspeer.Conn{Conn: conn, In: bufio.NewReader(conn), Masks: true}
				<-begin
				res, err = w.Handshake(address, "/", nil)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				opened = append(opened, w)
				return
			case res == nil:
				faults.Add("no answer: %v", err)
			case res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "":
				faults.Add("refused with %v, Retry-After %q", err, res.Header.Get("Retry-After"))
			}
			if conn != nil {
				conn.Close()
			}
		})
	}
	ready.Wait()
	close(begin)
	running.Wait()
	t.Cleanup(func() { kit.CutAll(opened) })
	faults.Sum("handshakes")
	return opened
}
