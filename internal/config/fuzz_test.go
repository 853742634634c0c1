package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/affinity"
	"github.com/holdfast-ws/holdfast/internal/requestkey"
)

// FuzzParse checks that any input gives either a usable configuration or
// errors that can be shown.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds in testdata", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f.yaml", data)
		if again, errAgain := Parse("f.yaml", data); !reflect.DeepEqual(c, again) || !reflect.DeepEqual(err, errAgain) {
			t.Error("the same file gave two results")
		}
		if err != nil {
			if c != nil {
				t.Error("both a configuration and an error")
			}
			checkMessages(t, err.(Errors))
			return
		}
		checkMessages(t, c.Warnings)
		checkInvariants(t, c)
	})
}

// FuzzValues checks the parsers of single values: what one accepts comes back
// in a form that it accepts and leaves as it is, and what it refuses gives a
// message of one line.
func FuzzValues(f *testing.F) {
	for _, s := range []string{
		"", ":8080", "10.0.0.1:3000", "[::1]:80", "[fe80::1%eth0]:80", "ws.internal:03000", "http://a:1/x", "a:", "[a]:1", "0.0.0.0:0",
		"*.example.com", "WS.Example.com.", "[2001:db8::0:1]", "xn--w-uga.example", "*", "a..b",
		"/", "/ws/", "/a%20b", "/a/../b", "//", "/%2e",
		"10.0.0.0/8", "10.1.2.3/8", "::ffff:10.0.0.1", "2001:db8::/32",
		"client_ip", "header:X-User", "query:user", "cookie:sid", "subprotocol:session.", "jwt:sub", "client_ip:", "query:a b",
		"50%", "0", "101%", "200-299", "2xx", "503", "/health?deep=1", "/#", "a.example:443", "_ws._tcp.Chat.internal.", "10.0.0.2:53",
		"200/s", "0.5/m", "1/h", "1e3/s", "200", "/s", "1000001/s", "going away", "\xff", "going\naway",
		"holdfast", "0123456789abcdef", "../backends.json", "/etc/", "Sec-WebSocket-Key", "Host",
	} {
		f.Add(s)
	}
	parsers := map[string]func(string) (string, error){
		"listen":  func(s string) (string, error) { return text(listenAddress(s)) },
		"admin":   func(s string) (string, error) { return text(adminAddress(s)) },
		"backend": func(s string) (string, error) { return text(backendAddress(s)) },
		"trust":   func(s string) (string, error) { return text(parseTrust(s)) },
		"host":    parseHost,
		"path":    parsePath,

		"key":           hashParts.parse,
		"source":        tokenParts.parse,
		"host header":   parseHostHeader,
		"target":        parseTarget,
		"subprotocol":   parseSubprotocol,
		"text":          parseText,
		"cookie name":   parseCookieName,
		"cookie path":   parseCookiePath,
		"cookie domain": parseCookieDomain,
		"secret":        parseSecret,
		"DNS name":      parseDNSName,
		"DNS server":    parseDNSServer,
		"file":          func(s string) (string, error) { return parseFilePath(s, "dir") },
		"status":        func(s string) (string, error) { return text(parseStatus(s)) },
		"reason":        parseReason,
		"rate": func(s string) (string, error) {
			v, err := parseRate(s)
			return strconv.FormatFloat(v, 'f', -1, 64) + "/s", err
		},
		"percentage": func(s string) (string, error) {
			v, err := parsePercentage(s, maxAbove)
			return fmt.Sprintf("%d%%", v), err
		},
		"healthy":      func(s string) (string, error) { return text(parseHealthy(s)) },
		"header":       func(s string) (string, error) { return s, checkWebSocketHeaderName(s) },
		"header value": func(s string) (string, error) { return s, checkHeaderValue(s) },
	}
	// What is accepted here must be accepted by those that it is for.
	cookie := affinity.Cookie{Name: "x"}
	users := map[string]func(string) error{
		"key":           func(s string) error { _, err := requestkey.Parse(s); return err },
		"source":        func(s string) error { _, err := requestkey.ParseToken(s); return err },
		"cookie name":   func(s string) error { c := cookie; c.Name = s; return c.Validate() },
		"cookie path":   func(s string) error { c := cookie; c.Path = s; return c.Validate() },
		"cookie domain": func(s string) error { c := cookie; c.Domain = s; return c.Validate() },
		"secret":        func(s string) error { c := cookie; c.Secret = s; return c.Validate() },
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, parse := range parsers {
			got, err := parse(s)
			if err != nil {
				checkMessages(t, []Error{{Msg: err.Error()}})
				continue
			}
			if name == "path" && got == "" {
				continue // every path: the key left out
			}
			if again, err := parse(got); err != nil || again != got {
				t.Errorf("%s %q became %q, and that %q, %v", name, s, got, again, err)
			}
			if user := users[name]; user != nil {
				if err := user(got); err != nil {
					t.Errorf("%s %q is accepted here and refused where it is used: %v", name, got, err)
				}
			}
		}
	})
}

func (r StatusRange) String() string { return fmt.Sprintf("%d-%d", r.From, r.To) }

func (h healthy) String() string {
	if h.percent > 0 {
		return fmt.Sprintf("%d%%", h.percent)
	}
	return strconv.Itoa(h.count)
}

func text[T fmt.Stringer](v T, err error) (string, error) { return v.String(), err }

func checkMessages(t *testing.T, errs []Error) {
	last := Pos{}
	for _, e := range errs {
		if at := (Pos{e.Line, e.Col}); at.Line < last.Line || at.Line == last.Line && at.Col < last.Col {
			t.Errorf("not in file order: %v", e)
		} else {
			last = at
		}
		if (e.Line == 0) != (e.Col == 0) || e.Line < 0 || e.Col < 0 {
			t.Errorf("half a position: %+v", e)
		}
		if e.Msg == "" || len(e.Msg) > 2000 || strings.ContainsFunc(e.Msg, unicode.IsControl) {
			t.Errorf("not a message for one line: %q", e.Msg)
		}
	}
}

func checkInvariants(t *testing.T, c *Config) {
	if len(c.Listeners) == 0 || len(c.Pools) == 0 || len(c.Pools) > 1 && len(c.Routes) == 0 {
		t.Errorf("%d listeners, %d pools, %d routes", len(c.Listeners), len(c.Pools), len(c.Routes))
	}
	names := make(map[string]bool)
	unique := func(kind, name string) {
		if name == "" || names[kind+name] {
			t.Errorf("%s name %q", kind, name)
		}
		names[kind+name] = true
	}
	for _, l := range c.Listeners {
		unique("listener ", l.Name)
		checkAddress(t, l.Address, listenAddress)
	}
	for _, p := range c.Pools {
		unique("pool ", p.Name)
		checkPoolInvariants(t, p)
		for _, b := range p.Backends {
			unique("backend of "+p.Name+" ", b.Name)
			unique("address of "+p.Name+" ", b.Address)
			checkAddress(t, b.Address, backendAddress)
			if b.Weight < 1 || b.Weight > 256 || b.MaxSessions < 0 {
				t.Errorf("weight %d, max_sessions %d", b.Weight, b.MaxSessions)
			}
		}
	}
	for _, r := range c.Routes {
		if !names["pool "+r.Pool] {
			t.Errorf("a route to the pool %q, which is none", r.Pool)
		}
		if host, err := parseHost(r.Match.Host); r.Match.Host != "" && (err != nil || host != r.Match.Host) {
			t.Errorf("host %q is not in normal form: %q, %v", r.Match.Host, host, err)
		}
		if path, err := parsePath(r.Match.Path); r.Match.Path != "" && (err != nil || path != r.Match.Path) {
			t.Errorf("path %q is not in normal form: %q, %v", r.Match.Path, path, err)
		}
	}
	for _, d := range []time.Duration{c.Timeouts.Connect, c.Timeouts.Handshake, c.Timeouts.Shutdown, c.Keepalive.Timeout} {
		if d < minDuration || d > maxDuration {
			t.Errorf("duration %v", d)
		}
	}
	for _, d := range []time.Duration{c.Timeouts.Idle, c.Timeouts.MaxLifetime, c.Keepalive.Interval} {
		if d != 0 && d < minDuration || d > maxDuration {
			t.Errorf("duration %v", d)
		}
	}
	for _, p := range c.Forwarded.Trust {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			t.Errorf("trust %v", p)
		}
	}
	if c.Limits.MaxSessions < 0 || c.Limits.MaxHandshakes < 0 {
		t.Errorf("limits %+v", c.Limits)
	}
	if c.Admin.Address != "" {
		checkAddress(t, c.Admin.Address, adminAddress)
	}
}

func checkPoolInvariants(t *testing.T, p Pool) {
	within := func(what string, v, lowest, highest int) {
		if v < lowest || v > highest {
			t.Errorf("%s %d", what, v)
		}
	}
	accepted := func(what, s string, parse func(string) (string, error)) {
		if got, err := parse(s); err != nil || got != s {
			t.Errorf("%s %q is not in normal form: %q, %v", what, s, got, err)
		}
	}
	if !slices.Contains([]string{"round_robin", "least_conn", "p2c", "random", "hash"}, p.Balance) ||
		len(p.Backends) == 0 && p.DNS == nil && p.File == "" || p.File != "" && !filepath.IsAbs(p.File) {
		t.Errorf("pool %+v", p)
	}
	if hashed := p.Balance == "hash"; hashed != (len(p.Hash.Key) > 0) ||
		p.Hash.Bound != 0 && (!hashed || p.Hash.Bound < minBound || p.Hash.Bound > maxBound) {
		t.Errorf("balance %s with the hash %+v", p.Balance, p.Hash)
	}
	for _, k := range p.Hash.Key {
		accepted("key", k, hashParts.parse)
		if _, err := requestkey.Parse(k); err != nil {
			t.Error(err)
		}
	}
	within("max_sessions", p.MaxSessions, 0, maxLimit)

	if a := p.Affinity; a.Cookie != nil && a.Token != nil || a.Fallback != "balance" && a.Fallback != "refuse" ||
		a.Fallback == "refuse" && a.Cookie == nil && a.Token == nil {
		t.Errorf("affinity %+v", a)
	}
	if c := p.Affinity.Cookie; c != nil {
		accepted("cookie name", c.Name, parseCookieName)
		accepted("cookie path", c.Path, parseCookiePath)
		if c.Domain != "" {
			accepted("cookie domain", c.Domain, parseCookieDomain)
		}
		if c.Secret != "" {
			accepted("secret", c.Secret, parseSecret)
		}
		if c.MaxAge < 0 || c.MaxAge > maxDuration || c.MaxAge%time.Second != 0 || c.SameSite == "None" && c.Secure == "never" {
			t.Errorf("cookie %+v", c)
		}
		cookie := affinity.Cookie{Name: c.Name, Path: c.Path, SameSite: c.SameSite, Domain: c.Domain, MaxAge: c.MaxAge, Secret: c.Secret}
		if c.Secure == "never" {
			cookie.Secure = affinity.Never
		}
		if err := cookie.Validate(); err != nil {
			t.Error(err)
		}
	}
	if token := p.Affinity.Token; token != nil {
		if len(token.From) == 0 {
			t.Error("a token from nowhere")
		}
		for _, f := range token.From {
			accepted("source", f, tokenParts.parse)
			if _, err := requestkey.ParseToken(f); err != nil {
				t.Error(err)
			}
		}
	}

	h := p.Health
	within("fall", h.Fall, 1, maxRow)
	within("rise", h.Rise, 1, maxRow)
	within("max_fails", h.MaxFails, 0, maxFails)
	within("min_healthy", h.MinHealthy, 0, maxHealthy)
	within("min_healthy in percent", h.MinHealthyPercent, 0, 100)
	if h.Timeout < minDuration || h.Interval <= h.Timeout || h.FailTimeout < minDuration || h.SlowStart < 0 || h.SlowStart > maxSlowStart ||
		h.MinHealthy > 0 && h.MinHealthyPercent > 0 {
		t.Errorf("health %+v", h)
	}
	if q := p.Drain; q.Spread < 0 || q.Spread > q.Timeout || q.Timeout > maxDrain || !mayClose(q.Code) {
		t.Errorf("drain %+v", q)
	}
	accepted("reason", p.Drain.Reason, parseReason)
	if a := p.Admit; a != nil {
		rateWithin(t, a.Rate)
		within("burst", a.Burst, 1, maxBurst)
		within("queue", a.Queue, 0, maxQueue)
		if a.QueueTimeout < minDuration || a.QueueTimeout > maxQueueTimeout || a.Ramp < 0 || a.Ramp > maxRamp {
			t.Errorf("admit %+v", a)
		}
	}
	if a := p.Reattach; a != nil && (!a.Drain && !a.Loss && !a.Rebalance || a.Timeout < minDuration || a.Timeout > maxReattach) {
		t.Errorf("reattach %+v", a)
	}
	if b := p.Rebalance; b != nil {
		within("above in percent", b.Above, 1, maxAbove)
		if b.Rate < minRate || b.Rate > maxRate || b.MinAge < 0 || b.MinAge > maxMinAge {
			t.Errorf("rebalance %+v", b)
		}
		sticky := p.Balance == "hash" || p.Affinity.Cookie != nil || p.Affinity.Token != nil
		if sticky && (!b.StickyMove || p.Reattach == nil || !p.Reattach.Rebalance) {
			t.Errorf("sticky sessions with rebalance %+v and reattach %+v", b, p.Reattach)
		}
	}
	if c := h.HTTP; c != nil {
		accepted("path", c.Path, parseTarget)
		if c.Host != "" {
			accepted("host", c.Host, parseHostHeader)
		}
		checkHeaders(t, c.Headers, checkHeaderName)
		if len(c.Expect) == 0 {
			t.Error("nothing is expected")
		}
		for _, s := range c.Expect {
			if again, err := parseStatus(s.String()); err != nil || again != s {
				t.Errorf("status %v: %v", s, err)
			}
		}
	}
	if c := h.WebSocket; c != nil {
		accepted("path", c.Path, parseTarget)
		if c.Host != "" {
			accepted("host", c.Host, parseHostHeader)
		}
		if c.Subprotocol != "" {
			accepted("subprotocol", c.Subprotocol, parseSubprotocol)
		}
		checkHeaders(t, c.Headers, checkWebSocketHeaderName)
		if c.Expect == "" || (c.Send == "ping") != (c.Expect == "pong") {
			t.Errorf("send %q, expect %q", c.Send, c.Expect)
		}
	}
	if h.Agent != nil {
		within("agent port", h.Agent.Port, 1, 65535)
	}
	if q := p.DNS; q != nil {
		accepted("name", q.Name, parseDNSName)
		if q.Server != "" {
			accepted("server", q.Server, parseDNSServer)
		}
		if q.Type == "a" {
			within("port", q.Port, 1, 65535)
		} else if q.Type != "srv" || q.Port != 0 {
			t.Errorf("dns %+v", q)
		}
		if q.Refresh < minRefresh || q.Refresh > maxRefresh {
			t.Errorf("refresh %v", q.Refresh)
		}
	}
}

func rateWithin(t *testing.T, v float64) {
	if !(minRate <= v && v <= maxRate) {
		t.Errorf("rate %v", v)
	}
}

func checkHeaders(t *testing.T, headers [][2]string, check func(string) error) {
	seen := make(map[string]bool)
	for _, h := range headers {
		name := strings.ToLower(h[0])
		if check(h[0]) != nil || checkHeaderValue(h[1]) != nil || seen[name] {
			t.Errorf("header %q", h)
		}
		seen[name] = true
	}
}

// checkAddress checks that an address stays what it is when read again.
func checkAddress(t *testing.T, s string, parse func(string) (address, error)) {
	if a, err := parse(s); err != nil || a.String() != s {
		t.Errorf("address %q is not in normal form: %q, %v", s, a.String(), err)
	}
}
