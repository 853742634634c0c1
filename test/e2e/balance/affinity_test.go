//go:build unix

package balance

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

const (
	cookieKeys = "affinity: {cookie: {name: stick, secret: \"sixteen characters or more\"}}\n"
	// Checks that find a server that is gone, and one that is back, soon. The
	// server's last handshakes say nothing then.
	checkKeys = "health: {tcp: true, interval: 100ms, timeout: 90ms, fall: 1, rise: 1, max_fails: 0}\n"
)

// servers with names that can't be part of a cookie's value by chance.
func affine(t testing.TB) []*kit.NamedBackend {
	return kit.StartAllNamed(t, "ganymede", "callisto", "amalthea")
}

func named(servers []*kit.NamedBackend, name string) *kit.NamedBackend {
	return servers[slices.IndexFunc(servers, func(s *kit.NamedBackend) bool { return s.Name == name })]
}

// setCookie returns the affinity cookie in res, or nil.
func setCookie(t testing.TB, res *http.Response) *http.Cookie {
	t.Helper()
	var found *http.Cookie
	for _, c := range res.Cookies() {
		if c.Name == "stick" {
			if found != nil {
				t.Errorf("two cookies came: %q", res.Header["Set-Cookie"])
			}
			found = c
		}
	}
	return found
}

// mark returns a header line with the cookie of res among others, as browsers
// send it.
func mark(t testing.TB, res *http.Response) string {
	t.Helper()
	c := setCookie(t, res)
	if c == nil {
		t.Fatalf("no cookie came with status %d: %q", res.StatusCode, res.Header)
	}
	return "Cookie: theme=dark; stick=" + c.Value + "; lang=en"
}

// startTwin starts another balancer with the same file.
func startTwin(t testing.TB, b *kit.Balancer) *kit.Balancer {
	t.Helper()
	twin := &kit.Balancer{File: b.File}
	twin.Process = kit.StartHoldfast(t, "run", "-c", twin.File)
	twin.AwaitReady(t)
	return twin
}

// affinities returns the counts of holdfast_affinity_total, by result.
func affinities(t testing.TB, b *kit.Balancer) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for series, value := range b.Metrics(t) {
		if result, ok := strings.CutPrefix(series, `holdfast_affinity_total{pool="main",result="`); ok && value > 0 {
			counts[strings.TrimSuffix(result, `"}`)] = int(value)
		}
	}
	return counts
}

func wantCounts(t testing.TB, got, want map[string]int) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the choices are counted as %v, want %v", got, want)
	}
}

// A client with a cookie returns to its server: by WebSocket and by plain HTTP,
// after the balancer was killed and started again, and through another balancer
// with the same file.
func TestCookieComesBack(t *testing.T) {
	const clients, visits = 20, 3
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		b := kit.StartBalancer(t, kit.PoolFile(engine, servers, cookieKeys, ""))
		homes, marks, spread := make([]string, clients), make([]string, clients), map[string]int{}
		for i := range clients {
			// Every fourth gets its cookie with a page, as user agents may
			// ignore one on a 101.
			var res *http.Response
			if i%4 == 0 {
				homes[i], res = kit.AnsweredByHTTP(t, b.Address, "/")
			} else {
				homes[i], res = kit.ServedBy(t, b.Address, "/")
			}
			marks[i] = mark(t, res)
			spread[homes[i]]++
		}
		if len(spread) != len(servers) {
			t.Errorf("the clients are on %v: not spread over all servers", spread)
		}
		again := func(how string, b *kit.Balancer) {
			t.Helper()
			for i, home := range homes {
				got, res := kit.ServedBy(t, b.Address, "/", marks[i])
				if got != home {
					t.Errorf("%s: client %d is on %s, was on %s", how, i, got, home)
				}
				if c := setCookie(t, res); c == nil || !strings.Contains(marks[i], c.Value) {
					t.Errorf("%s: the 101 to client %d has the cookie %v, want it renewed", how, i, c)
				}
			}
		}
		for n := range visits {
			again(fmt.Sprintf("reconnect %d", n), b)
		}
		for i, home := range homes {
			if got, res := kit.AnsweredByHTTP(t, b.Address, "/", marks[i]); got != home || setCookie(t, res) != nil {
				t.Errorf("client %d: a page came from %s with the cookie %v; its server is %s", i, got, setCookie(t, res), home)
			}
		}
		wantCounts(t, affinities(t, b), map[string]int{"new": clients, "kept": clients * (visits + 1)})

		twin := startTwin(t, b)
		again("another balancer", twin)
		b.Kill(t)
		b = startTwin(t, b)
		again("after a restart", b)
		wantCounts(t, affinities(t, b), map[string]int{"kept": clients})
	})
}

// The cookie has the attributes in the file and reveals nothing about the
// server. A cookie that was changed is ignored, counted, and replaced.
func TestCookieTellsNothing(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		b := kit.StartBalancer(t, kit.PoolFile(engine, servers, strings.Replace(cookieKeys, "name: stick", "name: stick, max_age: 2h, path: /chat, same_site: Strict", 1), ""))
		values := map[string]string{}
		for _, ask := range []func(testing.TB, string, string, ...string) (string, *http.Response){kit.ServedBy, kit.AnsweredByHTTP} {
			for range servers {
				name, res := ask(t, b.Address, "/chat")
				c := setCookie(t, res)
				if c == nil {
					t.Fatalf("no cookie from %s", name)
				}
				if c.MaxAge != 7200 || c.Path != "/chat" || c.SameSite != http.SameSiteStrictMode || !c.HttpOnly || c.Secure || c.Domain != "" {
					t.Errorf("the attributes are %q", c.Raw)
				}
				if before := values[name]; before != "" && before != c.Value {
					t.Errorf("%s has the cookies %q and %q", name, before, c.Value)
				}
				values[name] = c.Value
				decoded, err := base64.RawURLEncoding.DecodeString(c.Value)
				if err != nil {
					t.Errorf("%q: %v", c.Value, err)
				}
				s := named(servers, name)
				host, port, _ := strings.Cut(s.Address, ":")
				for _, secret := range []string{name, s.Address, host, port, "main", base64.RawURLEncoding.EncodeToString([]byte(name))} {
					if strings.Contains(c.Raw, secret) || strings.Contains(string(decoded), secret) {
						t.Errorf("%q gives %q away", c.Raw, secret)
					}
				}
			}
		}

		before := affinities(t, b)["tampered"]
		value := values["ganymede"]
		tampered := []string{value + "A", value[1:], "ganymede", servers[0].Address, strings.Repeat("A", len(value))}
		for i := 0; i < len(value); i += 5 {
			other := byte('A')
			if value[i] == other {
				other = 'B'
			}
			tampered = append(tampered, value[:i]+string(other)+value[i+1:])
		}
		for _, wrong := range tampered {
			name, res := kit.ServedBy(t, b.Address, "/chat", "Cookie: stick="+wrong)
			if c := setCookie(t, res); c == nil || c.Value != values[name] && values[name] != "" {
				t.Errorf("for %q came %v, want that of %s", wrong, c, name)
			}
		}
		if got := affinities(t, b)["tampered"] - before; got != len(tampered) {
			t.Errorf("%d counted as tampered, %d were", got, len(tampered))
		}
	})
}

// While its server is down, a client is on another one, and stays there.
func TestCookieMoves(t *testing.T) {
	for _, found := range []struct{ by, keys string }{{"handshakes", ""}, {"checks", checkKeys}} {
		t.Run(found.by, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				servers := affine(t)
				b := kit.StartBalancer(t, kit.PoolFile(engine, servers, cookieKeys+found.keys, ""))
				home, res := kit.ServedBy(t, b.Address, "/")
				old := mark(t, res)

				named(servers, home).Down()
				if found.keys != "" {
					b.AwaitBackend(t, home, "down")
				}
				moved, res := kit.ServedBy(t, b.Address, "/", old)
				if moved == home {
					t.Fatalf("a session came to %s, which is down", home)
				}
				if page, res := kit.AnsweredByHTTP(t, b.Address, "/", old); page == home || page == "" || setCookie(t, res) == nil {
					t.Errorf("a page came from %q with the cookie %v", page, setCookie(t, res))
				}
				now := mark(t, res)
				if page, res := kit.AnsweredByHTTP(t, b.Address, "/", now); page != moved || setCookie(t, res) != nil {
					t.Errorf("with the new cookie a page came from %s, not from %s", page, moved)
				}

				named(servers, home).Up(t)
				if found.keys != "" {
					b.AwaitBackend(t, home, "up")
				}
				// That the old cookie leads home again shows that nothing but
				// the new cookie keeps the client away.
				if got, _ := kit.ServedBy(t, b.Address, "/", old); got != home {
					t.Errorf("the old cookie leads to %s, now that %s is back", got, home)
				}
				for range 3 {
					if got, _ := kit.ServedBy(t, b.Address, "/", now); got != moved {
						t.Errorf("moved from %s to %s and then to %s", home, moved, got)
					}
				}
				wantCounts(t, affinities(t, b), map[string]int{"new": 1, "moved": 2, "kept": 5})
			})
		})
	}
}

// With fallback: refuse, a client is refused rather than moved.
func TestCookieRefuses(t *testing.T) {
	for _, found := range []struct{ by, keys string }{{"handshakes", ""}, {"checks", checkKeys}} {
		t.Run(found.by, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) { cookieRefuses(t, engine, found.keys) })
		})
	}
}

func cookieRefuses(t *testing.T, engine, keys string) {
	servers := affine(t)
	b := kit.StartBalancer(t, kit.PoolFile(engine, servers, strings.Replace(cookieKeys, "}}", "}, fallback: refuse}", 1)+keys, ""))
	home, res := kit.ServedBy(t, b.Address, "/")
	old := mark(t, res)
	named(servers, home).Down()
	if keys != "" {
		b.AwaitBackend(t, home, "down")
	}

	w, res, err := wspeer.Dial(b.Address, "/", old)
	switch {
	case err == nil:
		w.Close()
		t.Errorf("a session was opened on %s, want none", res.Header.Get("X-Backend"))
	case res == nil:
		t.Errorf("no answer: %v", err)
	case res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || setCookie(t, res) != nil:
		t.Errorf("refused with %v, header %q", err, res.Header)
	}
	if _, res := kit.AnsweredByHTTP(t, b.Address, "/", old); res.StatusCode/100 != 5 || setCookie(t, res) != nil {
		t.Errorf("a page came with status %d", res.StatusCode)
	}
	if other, _ := kit.ServedBy(t, b.Address, "/"); other == home {
		t.Errorf("a new client is on %s, which is down", other)
	}
	named(servers, home).Up(t)
	if keys != "" {
		b.AwaitBackend(t, home, "up")
	}
	if got, _ := kit.ServedBy(t, b.Address, "/", old); got != home {
		t.Errorf("the client is on %s, now that its %s is back", got, home)
	}
	wantCounts(t, affinities(t, b), map[string]int{"new": 2, "refused": 2, "kept": 1})
	if got := b.Metrics(t)[`holdfast_handshakes_total{result="affinity_refused"}`]; got != 1 {
		t.Errorf("%v handshakes are counted as affinity_refused, want 1", got)
	}
}

// The cookie is Secure only if a trusted proxy says that the client uses TLS.
func TestCookieSecure(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		trusting := kit.StartBalancer(t, kit.PoolFile(engine, servers, cookieKeys, "forwarded: {trust: [127.0.0.1]}"))
		doubting := kit.StartBalancer(t, kit.PoolFile(engine, servers, cookieKeys, ""))
		for _, c := range []struct {
			b      *kit.Balancer
			header []string
			secure bool
		}{
			{trusting, []string{"X-Forwarded-Proto: https"}, true},
			{trusting, []string{"X-Forwarded-Proto: http"}, false},
			{trusting, nil, false},
			{doubting, []string{"X-Forwarded-Proto: https"}, false},
		} {
			_, switched := kit.ServedBy(t, c.b.Address, "/", c.header...)
			_, page := kit.AnsweredByHTTP(t, c.b.Address, "/", c.header...)
			for _, res := range []*http.Response{switched, page} {
				if got := setCookie(t, res); got == nil || got.Secure != c.secure {
					t.Errorf("status %d, %q: cookie %v, want Secure: %v", res.StatusCode, c.header, got, c.secure)
				}
			}
		}
	})
}

const tokenKeys = "affinity: {token: {from: [query:session, header:X-Session, cookie:sid, \"subprotocol:token.\"]}}\n"

// bearing makes a request with a token in one of the places where a token may
// be.
type bearing func(token string) (path string, header []string)

var bearings = map[string]bearing{
	"query":  func(token string) (string, []string) { return "/ws?v=1&session=" + token, nil },
	"header": func(token string) (string, []string) { return "/ws", []string{"X-Session: " + token} },
	"cookie": func(token string) (string, []string) { return "/ws", []string{"Cookie: a=b; sid=" + token} },
	"subprotocol": func(token string) (string, []string) {
		return "/ws", []string{"Sec-WebSocket-Protocol: chat, token." + token}
	},
}

// homesOf opens a session for each of n tokens, and returns their servers.
func homesOf(t testing.TB, b *kit.Balancer, n int, bear bearing) (homes []string) {
	t.Helper()
	for i := range n {
		path, header := bear(fmt.Sprintf("token-%d", i))
		home, _ := kit.ServedBy(t, b.Address, path, header...)
		homes = append(homes, home)
	}
	return homes
}

// The same token leads to the same server, wherever it is in the request, after
// a restart, and through another balancer with the same file.
func TestTokenComesBack(t *testing.T) {
	const tokens, visits = 20, 3
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		servers := affine(t)
		b := kit.StartBalancer(t, kit.PoolFile(engine, servers, tokenKeys, ""))
		homes := homesOf(t, b, tokens, bearings["query"])
		for _, s := range servers {
			if !slices.Contains(homes, s.Name) {
				t.Errorf("no token belongs to %s", s.Name)
			}
		}
		same := func(how string, got []string) {
			t.Helper()
			if !slices.Equal(got, homes) {
				t.Errorf("%s: the tokens came to %v, before to %v", how, got, homes)
			}
		}
		for where, bear := range bearings {
			for range visits {
				same(where, homesOf(t, b, tokens, bear))
			}
		}
		wantCounts(t, affinities(t, b), map[string]int{"kept": tokens * (1 + visits*len(bearings))})

		twin := startTwin(t, b)
		same("another balancer", homesOf(t, twin, tokens, bearings["header"]))
		b.Kill(t)
		b = startTwin(t, b)
		same("after a restart", homesOf(t, b, tokens, bearings["cookie"]))
		for i, home := range homes {
			if got, res := kit.AnsweredByHTTP(t, b.Address, fmt.Sprintf("/?session=token-%d", i)); got != home || len(res.Cookies()) > 0 {
				t.Errorf("a page for token %d came from %s, not from %s, with the cookies %v", i, got, home, res.Cookies())
			}
		}
	})
}

// When a server goes down, its tokens move to the others, and they return when
// it does. Tokens of the others never move.
func TestTokenMoves(t *testing.T) {
	const tokens = 60
	for _, found := range []struct{ by, keys string }{
		{"handshakes", "health: {max_fails: 2, fail_timeout: 100ms}\n"},
		{"checks", checkKeys},
	} {
		t.Run(found.by, func(t *testing.T) {
			testkit.EachEngine(t, func(t *testing.T, engine string) {
				servers := affine(t)
				b := kit.StartBalancer(t, kit.PoolFile(engine, servers, tokenKeys+found.keys, ""))
				homes := homesOf(t, b, tokens, bearings["query"])
				gone := servers[1].Name
				servers[1].Down()
				if found.by == "checks" {
					b.AwaitBackend(t, gone, "down")
				}
				away := homesOf(t, b, tokens, bearings["query"])
				took := map[string]int{}
				for i, home := range homes {
					switch {
					case home == gone:
						took[away[i]]++
					case away[i] != home:
						t.Errorf("token %d moved from %s to %s, though only %s has gone", i, home, away[i], gone)
					}
				}
				if len(took) != 2 || took[gone] > 0 {
					t.Errorf("the tokens of %s came to %v, want both others", gone, took)
				}
				if again := homesOf(t, startTwin(t, b), tokens, bearings["header"]); !slices.Equal(again, away) {
					t.Errorf("through another balancer the tokens are on %v, not on %v", again, away)
				}
				servers[1].Up(t)
				awaitHome(t, b, found.by, gone, homes)
				if again := homesOf(t, b, tokens, bearings["query"]); !slices.Equal(again, homes) {
					t.Errorf("at home again: %v, before: %v", again, homes)
				}
			})
		})
	}
}

// awaitHome waits until a token of a server that was down leads to it again.
func awaitHome(t testing.TB, b *kit.Balancer, by, backend string, homes []string) {
	t.Helper()
	if by == "checks" {
		b.AwaitBackend(t, backend, "up")
		return
	}
	token := slices.Index(homes, backend)
	testkit.Eventually(t, "home again", func() bool {
		got, _ := kit.ServedBy(t, b.Address, fmt.Sprintf("/ws?session=token-%d", token))
		return got == backend
	})
}
