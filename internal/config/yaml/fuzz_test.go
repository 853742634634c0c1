package yaml

import (
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// FuzzParse checks that any input gives either a usable configuration or
// errors that can be shown.
const (
	minDuration = time.Millisecond
	maxDuration = 365 * 24 * time.Hour
)

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
			checkMessages(t, err.(config.Errors))
			return
		}
		checkNormal(t, c)
		checkMessages(t, c.Warnings)
		checkInvariants(t, c)
	})
}

func checkMessages(t *testing.T, errs []config.Error) {
	last := config.Place{}
	for _, e := range errs {
		if at := e.Place; at.Line < last.Line || at.Line == last.Line && at.Col < last.Col {
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

// checkNormal checks that a program that builds the same Config finds it good
// and in its normal form.
func checkNormal(t *testing.T, c *config.Config) {
	again := *c
	again.Pools = slices.Clone(c.Pools)
	for i := range again.Pools {
		p := &again.Pools[i]
		p.Backends = slices.Clone(p.Backends)
	}
	if err := again.Validate(); err != nil {
		t.Errorf("a good file is wrong as a model: %v", err)
	}
	again.Warnings = c.Warnings
	if !reflect.DeepEqual(&again, c) {
		t.Errorf("not in normal form: %+v\nbecame %+v", c, again)
	}
}

func checkInvariants(t *testing.T, c *config.Config) {
	if len(c.Listeners) == 0 || len(c.Pools) == 0 && len(c.Routes) == 0 || len(c.Pools) > 1 && len(c.Routes) == 0 {
		t.Errorf("%d listeners, %d pools, %d routes", len(c.Listeners), len(c.Pools), len(c.Routes))
	}
	checkTLS(t, c)
	names := make(map[string]bool)
	unique := func(kind, name string) {
		if name == "" || names[kind+name] {
			t.Errorf("%s name %q", kind, name)
		}
		names[kind+name] = true
	}
	for _, l := range c.Listeners {
		unique("listener ", l.Name)
		checkAddress(t, l.Address)
	}
	for _, p := range c.Pools {
		unique("pool ", p.Name)
		checkPoolInvariants(t, p)
		for _, b := range p.Backends {
			unique("backend of "+p.Name+" ", b.Name)
			unique("address of "+p.Name+" ", b.Address.String())
			checkAddress(t, b.Address)
			if b.Weight < 1 || b.Weight > 256 || b.MaxSessions < 0 {
				t.Errorf("weight %d, max_sessions %d", b.Weight, b.MaxSessions)
			}
		}
	}
	for _, r := range c.Routes {
		does := 0
		for _, is := range []bool{r.Pool != "", len(r.Split) > 0, r.Redirect != nil, r.Respond != nil} {
			if is {
				does++
			}
		}
		if does != 1 {
			t.Errorf("a route to the pool %q, with the split %v and the answers %v and %v", r.Pool, r.Split, r.Redirect, r.Respond)
		}
		for pool := range r.Pools() {
			if !names["pool "+pool] {
				t.Errorf("a route to the pool %q, which isn't there", pool)
			}
		}
		if host, err := pattern.ParseHost(r.Match.Host.String()); r.Match.Host != (pattern.Host{}) && (err != nil || host != r.Match.Host) {
			t.Errorf("host %q is not in normal form: %q, %v", r.Match.Host, host, err)
		}
		if path, err := pattern.ParsePath(r.Match.Path.String()); r.Match.Path != (pattern.Path{}) && (err != nil || path != r.Match.Path) {
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
		if p := p.Network; p != (netip.Prefix{}) && (!p.IsValid() || p != p.Masked() || p.Addr().Is4In6()) {
			t.Errorf("trust %v", p)
		}
	}
	if c.Limits.MaxSessions < 0 || c.Limits.MaxHandshakes < 0 {
		t.Errorf("limits %+v", c.Limits)
	}
	if !c.Admin.Address.IsZero() {
		checkAddress(t, c.Admin.Address)
	}
}

func checkTLS(t *testing.T, c *config.Config) {
	path := func(p string) {
		if p != "" && !filepath.IsAbs(p) {
			t.Errorf("path %q", p)
		}
	}
	serves := false
	for _, l := range c.Listeners {
		serves = serves || l.Redirect == ""
		s := l.TLS
		if s == nil {
			continue
		}
		if l.Redirect != "" || len(s.Certificates) == 0 && s.ACME == nil || s.SelfSigned || s.MinVersion != "1.2" && s.MinVersion != "1.3" ||
			s.ClientCA == "" && (s.ClientAuth != "required" || len(s.ClientHeaders) > 0) || s.TicketSecret != "" && len(s.TicketSecret) < 16 {
			t.Errorf("listener %+v with tls %+v", l, s)
		}
		for _, c := range s.Certificates {
			if path(c.Cert); c.Cert == "" {
				t.Error("a certificate without a file")
			}
			path(c.Key)
		}
		checkHeaders(t, s.ClientHeaders)
		for _, h := range s.ClientHeaders {
			if _, ok := clientcert.ParseFact(h[1]); !ok || clientcert.CheckName(h[0]) != nil {
				t.Errorf("header %q", h)
			}
		}
		if a := s.ACME; a != nil {
			path(a.CA)
			path(a.Storage)
			u, err := url.Parse(a.Directory)
			if err != nil || u.Scheme != "https" || u.Host == "" || a.Storage == "" || len(a.Domains) == 0 {
				t.Errorf("acme %+v", a)
			}
			for i, d := range a.Domains {
				if hostport.CheckName(d) != nil || strings.ToLower(d) != d || slices.Contains(a.Domains[:i], d) {
					t.Errorf("domains %q", a.Domains)
				}
			}
		}
	}
	if !serves {
		t.Error("no listener serves")
	}
	for _, p := range c.Pools {
		if s := p.TLS; s != nil {
			path(s.CA)
			path(s.Cert)
			if path(s.Key); s.Key != "" && s.Cert == "" {
				t.Errorf("a key without its certificate: %+v", s)
			}
		}
	}
}

func checkPoolInvariants(t *testing.T, p config.Pool) {
	within := func(what string, v, lowest, highest int) {
		if v < lowest || v > highest {
			t.Errorf("%s %d", what, v)
		}
	}
	if !slices.Contains([]string{"round_robin", "least_conn", "p2c", "random", "hash", "first"}, p.Balance) ||
		len(p.Backends) == 0 && !p.Discovers() || p.File != "" && !filepath.IsAbs(p.File) {
		t.Errorf("pool %+v", p)
	}
	if hashed := p.Balance == "hash"; hashed != (len(p.Hash.Key) > 0) ||
		p.Hash.Bound != 0 && (!hashed || p.Hash.Bound < 1.05 || p.Hash.Bound > 10) {
		t.Errorf("balance %s with the hash %+v", p.Balance, p.Hash)
	}
	for _, k := range p.Hash.Key {
		if again, err := requestkey.Parse(k.String()); err != nil || again != k {
			t.Errorf("key %v: %v, %v", k, again, err)
		}
	}
	within("max_sessions", p.MaxSessions, 0, 100_000_000)

	a, kinds := p.Affinity, 0
	for _, is := range []bool{a.Cookie != nil, a.Token != nil, a.Learn != nil} {
		if is {
			kinds++
		}
	}
	if kinds > 1 || a.Fallback != "balance" && a.Fallback != "refuse" || a.Fallback == "refuse" && kinds == 0 {
		t.Errorf("affinity %+v", a)
	}
	if l := a.Learn; l != nil {
		within("learn.max", l.Max, 1, 10_000_000)
		if len(l.From) == 0 || l.Expire < time.Second || l.Expire > maxDuration {
			t.Errorf("learn %+v", l)
		}
		for _, f := range l.From {
			if again, err := requestkey.ParseToken(f.String()); err != nil || again != f {
				t.Errorf("source %v: %v, %v", f, again, err)
			}
		}
		for _, f := range l.Answer {
			if again, err := requestkey.ParseAnswer(f.String()); err != nil || again != f {
				t.Errorf("source %v: %v, %v", f, again, err)
			}
		}
	}
	if c := p.Affinity.Cookie; c != nil {
		if c.MaxAge < 0 || c.MaxAge > maxDuration || c.MaxAge%time.Second != 0 || c.SameSite == "None" && c.Secure == "never" || c.Value == "name" && c.Secret != "" {
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
			if again, err := requestkey.ParseToken(f.String()); err != nil || again != f {
				t.Errorf("source %v: %v, %v", f, again, err)
			}
		}
	}

	h := p.Health
	within("fall", h.Fall, 1, 100)
	within("rise", h.Rise, 1, 100)
	within("max_fails", h.MaxFails, 0, 1000)
	within("min_healthy", h.MinHealthy.Count, 0, 10_000)
	within("min_healthy in percent", h.MinHealthy.Percent, 0, 100)
	if h.Timeout < minDuration || h.Interval <= h.Timeout || h.FailTimeout < minDuration || h.SlowStart < 0 || h.SlowStart > time.Hour ||
		h.MinHealthy.Count > 0 && h.MinHealthy.Percent > 0 {
		t.Errorf("health %+v", h)
	}
	if q := p.Drain; q.Spread < 0 || q.Spread > q.Timeout || q.Timeout > 24*time.Hour || q.Code < 1000 || q.Code > 4999 {
		t.Errorf("drain %+v", q)
	}
	if a := p.Admit; a != nil {
		rateWithin(t, a.Rate)
		within("burst", a.Burst, 1, 1_000_000)
		within("queue", a.Queue, 0, 1_000_000)
		if a.QueueTimeout < minDuration || a.QueueTimeout > time.Hour || a.Ramp < 0 || a.Ramp > time.Hour {
			t.Errorf("admit %+v", a)
		}
	}
	if a := p.Reattach; a != nil && (!a.Drain && !a.Loss && !a.Rebalance || a.Timeout < minDuration || a.Timeout > time.Hour) {
		t.Errorf("reattach %+v", a)
	}
	if b := p.Rebalance; b != nil {
		within("above in percent", b.Above, 1, 100)
		if b.Rate < 1.0/3600 || b.Rate > 1_000_000 || b.MinAge < 0 || b.MinAge > 24*time.Hour {
			t.Errorf("rebalance %+v", b)
		}
		sticky := p.Balance == "hash" || p.Affinity.Cookie != nil || p.Affinity.Token != nil
		if sticky && (b.Sticky != "move" || p.Reattach == nil || !p.Reattach.Rebalance) {
			t.Errorf("sticky sessions with rebalance %+v and reattach %+v", b, p.Reattach)
		}
	}
	if within("health port", h.Port, 0, 65535); h.OnDown != "keep" && h.OnDown != "close" {
		t.Errorf("health %+v", h)
	}
	if c := h.HTTP; c != nil {
		if !requestkey.IsToken(c.Method) || c.Method == "CONNECT" || c.Method == "HEAD" && c.Body != "" {
			t.Errorf("http %+v", c)
		}
		checkHeaders(t, c.Headers)
		if len(c.Expect) == 0 {
			t.Error("nothing is expected")
		}
		for _, s := range c.Expect {
			if again, err := config.ParseStatus(s.String()); err != nil || again != s {
				t.Errorf("status %v: %v", s, err)
			}
		}
	}
	if c := h.WebSocket; c != nil {
		checkHeaders(t, c.Headers)
		if c.Expect == "" || (c.Send == "ping") != (c.Expect == "pong") {
			t.Errorf("send %q, expect %q", c.Send, c.Expect)
		}
	}
	if h.Agent != nil {
		within("agent port", h.Agent.Port, 1, 65535)
	}
	if a := p.AWS; a != nil {
		within("port of aws", a.Port, 1, 65535)
		sources := 0
		for _, is := range []bool{a.EC2Tag != nil && a.EC2Tag.Name != "" && a.EC2Tag.Value != "", a.AutoScalingGroup != "", a.ECSService != ""} {
			if is {
				sources++
			}
		}
		if sources != 1 || (a.ECSCluster != "") != (a.ECSService != "") || a.Refresh < time.Second || a.Refresh > time.Hour {
			t.Errorf("aws %+v", a)
		}
	}
	if q := p.DNS; q != nil {
		if q.Type == "a" {
			within("port", q.Port, 1, 65535)
		} else if q.Type != "srv" || q.Port != 0 {
			t.Errorf("dns %+v", q)
		}
		if q.Refresh < time.Second || q.Refresh > time.Hour {
			t.Errorf("refresh %v", q.Refresh)
		}
	}
}

func rateWithin(t *testing.T, v float64) {
	if !(1.0/3600 <= v && v <= 1_000_000) {
		t.Errorf("rate %v", v)
	}
}

func checkHeaders(t *testing.T, headers config.Headers) {
	seen := make(map[string]bool)
	for _, h := range headers {
		name := strings.ToLower(h[0])
		if name == "" || seen[name] {
			t.Errorf("header %q", h)
		}
		seen[name] = true
	}
}

// checkAddress checks that an address stays what it is when read again.
func checkAddress(t *testing.T, a hostport.Address) {
	if again, err := hostport.Parse(a.String()); err != nil || again != a {
		t.Errorf("address %q is not in normal form: %q, %v", a, again, err)
	}
}
