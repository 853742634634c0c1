package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docsFile = "../../docs/config.md"

func readDocs(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDocsHaveEveryKey compares the rows of the tables, under the heading of
// their section, with the keys there are.
func TestDocsHaveEveryKey(t *testing.T) {
	sections := map[string][]string{
		"listeners": names(listenerKeys),
		"routes":    names(routeKeys),
		"match":     names(matchKeys),
		"pools":     names(poolKeys),
		"hash":      names(hashKeys),
		"affinity":  names(affinityKeys),
		"cookie":    names(cookieKeys),
		"token":     names(tokenKeys),
		"health":    names(healthKeys),
		"http":      names(httpKeys),
		"websocket": names(webSocketKeys),
		"agent":     names(agentKeys),
		"drain":     names(drainKeys),
		"admit":     names(admitKeys),
		"reattach":  names(reattachKeys),
		"rebalance": names(rebalanceKeys),
		"backends":  names(backendKeys),
		"dns":       names(dnsKeys),
		"timeouts":  names(timeoutKeys),
		"keepalive": names(keepaliveKeys),
		"forwarded": names(forwardedKeys),
		"limits":    names(limitKeys),
		"admin":     names(adminKeys),
		"log":       names(logKeys),
		"engine":    {"engine"},
	}
	for _, key := range names(fileKeys) {
		if sections[key] == nil {
			t.Errorf("the test doesn't know the section %q", key)
		}
	}

	heading := regexp.MustCompile("^##+ `(\\w+)`")
	row := regexp.MustCompile("^\\| `(\\w+)` \\|")
	documented := make(map[string][]string)
	section := ""
	for line := range strings.Lines(readDocs(t)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if m := row.FindStringSubmatch(line); m != nil {
			documented[section] = append(documented[section], m[1])
		}
	}
	for name, keys := range sections {
		if !slices.Equal(documented[name], keys) {
			t.Errorf("section %q of %s documents %v, want %v", name, docsFile, documented[name], keys)
		}
	}
	if len(documented) != len(sections) {
		t.Errorf("%s has %d sections with keys, want %d", docsFile, len(documented), len(sections))
	}
}

// TestDocsExamplesParse checks every example but the one of mistakes. The full
// one has every key there is.
func TestDocsExamplesParse(t *testing.T) {
	good, _, _ := strings.Cut(readDocs(t), "## Errors")
	_, full, _ := strings.Cut(good, "## Full example")
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for i, block := range example.FindAllStringSubmatch(good, -1) {
		c, err := Parse(fmt.Sprintf("example%d.yaml", i+1), []byte(block[1]))
		if err != nil {
			t.Errorf("%v", err)
		} else if len(c.Warnings) > 0 {
			t.Errorf("example %d has warnings: %v", i+1, c.Warnings)
		}
	}
	m := example.FindStringSubmatch(full)
	if m == nil {
		t.Fatal("no full example")
	}
	for _, keys := range [][]string{
		names(fileKeys), names(listenerKeys), names(routeKeys), names(matchKeys), names(poolKeys), names(backendKeys),
		names(hashKeys), names(affinityKeys), names(cookieKeys), names(tokenKeys), names(healthKeys), names(httpKeys),
		names(webSocketKeys), names(agentKeys), names(drainKeys), names(admitKeys), names(reattachKeys), names(rebalanceKeys), names(dnsKeys),
		names(timeoutKeys), names(keepaliveKeys), names(forwardedKeys), names(limitKeys), names(adminKeys), names(logKeys),
	} {
		for _, key := range keys {
			if !regexp.MustCompile(`\b` + key + `:`).MatchString(m[1]) {
				t.Errorf("the full example lacks %q", key)
			}
		}
	}
}

// TestDocsErrorsAreReal checks that the documented errors are what the
// documented file gives.
func TestDocsErrorsAreReal(t *testing.T) {
	m := regexp.MustCompile("(?s)## Errors.*?```yaml\n(.*?)```.*?```text\n(.*?)```").FindStringSubmatch(readDocs(t))
	if m == nil {
		t.Fatal("no example of errors")
	}
	_, err := Parse("holdfast.yaml", []byte(m[1]))
	if err == nil || err.Error()+"\n" != m[2] {
		t.Errorf("got\n%v\nwant\n%s", err, m[2])
	}
}

// TestDocsDefaults checks the default column against Defaults.
func TestDocsDefaults(t *testing.T) {
	d := Defaults()
	docs := readDocs(t)
	for key, want := range map[string]any{
		"connect": "5s", "handshake": "10s", "idle": "1h", "max_lifetime": "0", "shutdown": "30s",
		"interval": "25s", "balance": DefaultBalance, "weight": DefaultWeight,
		"format": d.Log.Format, "level": d.Log.Level, "engine": d.Engine,
		"key": "client_ip", "bound": 1.25, "fallback": "balance", "max_age": "1h", "same_site": "Lax", "secure": "auto",
		"fall": 3, "rise": 2, "max_fails": 3, "fail_timeout": "30s", "min_healthy": 0, "slow_start": 0,
		"expect": 200, "send": "ping", "type": "srv", "refresh": "10s",
		"timeout": "300s", "spread": "60s", "code": 1001, "reason": "going away", "sticky": "move",
		"queue": 5000, "queue_timeout": "30s", "ramp": "30s", "on": "all", "above": "10%", "min_age": "60s",
	} {
		if !regexp.MustCompile(fmt.Sprintf("(?m)^\\| `%s` \\|[^|]*\\| `?%v`?( |,)", key, want)).MatchString(docs) {
			t.Errorf("%s doesn't say that the default of %q is %v", docsFile, key, want)
		}
	}
	c, err := Parse("f", []byte(`
listeners: [{address: ":80"}]
pools: {a: {backends: [{address: "a:1"}]}}
timeouts: {connect: 5s, handshake: 10s, idle: 1h, max_lifetime: 0, shutdown: 30s}
keepalive: {interval: 25s, timeout: 10s}
`))
	if err != nil || c.Timeouts != d.Timeouts || c.Keepalive != d.Keepalive {
		t.Errorf("the documented defaults are not those of Defaults: %+v, %v", c, err)
	}
}

// TestDocsPoolDefaults compares a pool that leaves out what it can with one that
// has the documented defaults.
func TestDocsPoolDefaults(t *testing.T) {
	parse := func(keys string) Pool {
		c, err := Parse("f", []byte(`{listeners: [{address: ":80"}], pools: {a: {balance: hash, `+keys+`}}}`))
		if err != nil {
			t.Fatal(err)
		}
		p := c.Pools[0]
		p.Pos = Pos{}
		return p
	}
	left := parse(`dns: {name: x}, affinity: {cookie: {}}, health: {http: {path: /}, websocket: {path: /}, agent: {port: 1}},
		admit: {rate: 200/s}, reattach: {}, rebalance: {sticky: move}`)
	given := parse(`hash: {key: client_ip, bound: 1.25}, max_sessions: 0, dns: {name: x, type: srv, refresh: 10s}, backends: [],
		affinity: {cookie: {name: holdfast, max_age: 1h, same_site: Lax, secure: auto, path: /}, fallback: balance},
		health: {http: {path: /, expect: 200, headers: {}}, websocket: {path: /, send: ping, expect: pong}, tcp: false,
			agent: {port: 1, send: ""}, interval: 10s, timeout: 2s, fall: 3, rise: 2, max_fails: 3, fail_timeout: 30s,
			min_healthy: 0, slow_start: 0},
		drain: {timeout: 300s, spread: 60s, code: 1001, reason: going away, sticky: move},
		admit: {rate: 200/s, burst: 50, queue: 5000, queue_timeout: 30s, ramp: 30s},
		reattach: {on: [drain, loss, rebalance], timeout: 10s},
		rebalance: {above: 10%, rate: 2/s per backend, min_age: 60s, sticky: move}`)
	if !reflect.DeepEqual(left, given) {
		t.Errorf("got %+v, the documented defaults are %+v", left, given)
	}
}
