package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
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
		}
	})
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
		if !slices.Contains([]string{"round_robin", "least_conn"}, p.Balance) || len(p.Backends) == 0 {
			t.Errorf("pool %+v", p)
		}
		for _, b := range p.Backends {
			unique("backend of "+p.Name+" ", b.Name)
			unique("address of "+p.Name+" ", b.Address)
			checkAddress(t, b.Address, backendAddress)
			if b.Weight < 1 || b.Weight > 256 {
				t.Errorf("weight %d", b.Weight)
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

// checkAddress checks that an address stays what it is when read again.
func checkAddress(t *testing.T, s string, parse func(string) (address, error)) {
	if a, err := parse(s); err != nil || a.String() != s {
		t.Errorf("address %q is not in normal form: %q, %v", s, a.String(), err)
	}
}
