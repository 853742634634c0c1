package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files of testdata instead of comparing")

// TestGolden compares what each file of testdata gives with the golden file
// beside it: the configuration and its warnings, or the errors.
func TestGolden(t *testing.T) {
	for _, kind := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in testdata/%s: %v", kind, err)
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".yaml")
			t.Run(kind+"/"+name, func(t *testing.T) {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				c, err := Parse(filepath.Base(file), data)
				if (err == nil) != (kind == "good") {
					t.Fatalf("a file in %s gave the error %v", kind, err)
				}
				got := ""
				if err != nil {
					got = err.Error() + "\n"
				} else {
					got = dump(c)
				}
				compareGolden(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
			})
		}
	}
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (rewrite it with go test -update)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// dump writes out all of c, in an order that doesn't change.
func dump(c *Config) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, l := range c.Listeners {
		line("listener %s at %s (%d:%d)", l.Name, l.Address, l.Line, l.Col)
	}
	for _, r := range c.Routes {
		websocket := "any"
		if r.Match.WebSocket != nil {
			websocket = fmt.Sprint(*r.Match.WebSocket)
		}
		line("route host=%q path=%q websocket=%s to %s (%d:%d)", r.Match.Host, r.Match.Path, websocket, r.Pool, r.Line, r.Col)
	}
	for _, p := range c.Pools {
		line("pool %s by %s (%d:%d)", p.Name, p.Balance, p.Line, p.Col)
		dumpPool(line, p)
	}
	line("timeouts %+v", c.Timeouts)
	line("keepalive %+v", c.Keepalive)
	line("forwarded %+v", c.Forwarded)
	line("limits %+v", c.Limits)
	line("admin %+v", c.Admin)
	line("log %+v", c.Log)
	line("engine %s", c.Engine)
	for _, w := range c.Warnings {
		line("warning %v", w)
	}
	return b.String()
}

// dumpPool leaves out what a pool doesn't have.
func dumpPool(line func(string, ...any), p Pool) {
	if len(p.Hash.Key) > 0 || p.Hash.Bound != 0 {
		line("  hash %q bound %v", p.Hash.Key, p.Hash.Bound)
	}
	if p.MaxSessions != 0 {
		line("  max_sessions %d", p.MaxSessions)
	}
	if c := p.Affinity.Cookie; c != nil {
		line("  cookie %+v", *c)
	}
	if t := p.Affinity.Token; t != nil {
		line("  token %q", t.From)
	}
	if p.Affinity.Fallback != "balance" {
		line("  fallback %s", p.Affinity.Fallback)
	}
	h := p.Health
	if h.HTTP != nil {
		line("  http %q expect %v host %q headers %q", h.HTTP.Path, h.HTTP.Expect, h.HTTP.Host, h.HTTP.Headers)
	}
	if h.WebSocket != nil {
		c := h.WebSocket
		line("  websocket %q send %q expect %q host %q headers %q subprotocol %q", c.Path, c.Send, c.Expect, c.Host, c.Headers, c.Subprotocol)
	}
	if h.TCP {
		line("  tcp")
	}
	if h.Agent != nil {
		line("  agent %d %q", h.Agent.Port, h.Agent.Send)
	}
	line("  health every %v in %v fall %d rise %d, max_fails %d in %v, min_healthy %d %d%%, slow_start %v",
		h.Interval, h.Timeout, h.Fall, h.Rise, h.MaxFails, h.FailTimeout, h.MinHealthy, h.MinHealthyPercent, h.SlowStart)
	if p.Drain != (Drain{300 * time.Second, 60 * time.Second, 1001, "going away", false}) {
		line("  drain in %v, over %v, with %d %q, keep %v", p.Drain.Timeout, p.Drain.Spread, p.Drain.Code, p.Drain.Reason, p.Drain.StickyKeep)
	}
	if p.Admit != nil {
		line("  admit %+v", *p.Admit)
	}
	if p.Reattach != nil {
		line("  reattach %+v", *p.Reattach)
	}
	if p.Rebalance != nil {
		line("  rebalance %+v", *p.Rebalance)
	}
	for _, s := range p.Backends {
		most := ""
		if s.MaxSessions != 0 {
			most = fmt.Sprintf(" max_sessions %d", s.MaxSessions)
		}
		line("  backend %s at %s weight %d%s", s.Name, s.Address, s.Weight, most)
	}
	if p.DNS != nil {
		line("  dns %+v", *p.DNS)
	}
	if p.File != "" {
		// It is absolute, and the tests run anywhere.
		if working, err := os.Getwd(); err == nil && filepath.IsAbs(p.File) {
			if relative, err := filepath.Rel(working, p.File); err == nil && !strings.HasPrefix(relative, "..") {
				line("  file ./%s", relative)
				return
			}
		}
		line("  file %s", p.File)
	}
}
