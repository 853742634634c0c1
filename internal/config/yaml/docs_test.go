package yaml

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/session"
)

const docsFile = "../../../docs/config.md"

// names lists the keys of a section.
func names[T any]() []string { return config.Names(config.KeysOf(reflect.TypeFor[T]())) }

func readDocs(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDocsHaveEveryKey compares the rows of the tables, under the heading of
// their section, with the keys of the model.
func TestDocsHaveEveryKey(t *testing.T) {
	sections := map[string][]string{
		"listeners":   names[config.Listener](),
		"routes":      names[config.Route](),
		"match":       names[config.Match](),
		"client_cert": names[config.ClientCert](),
		"origins":     names[config.Origins](),
		"redirect":    names[config.Redirect](),
		"respond":     names[config.Respond](),
		"split":       names[config.SplitPart](),

		"request_headers":  names[config.HeaderEdits](),
		"response_headers": names[config.HeaderEdits](),
		"rewrite":          names[config.Rewrite](),
		"path_prefix":      names[config.PathPrefix](),
		"routes timeouts":  names[config.RouteTimeouts](),

		"pools":   names[config.Pool](),
		"hash":    names[config.Hash](),
		"auth":    names[config.Auth](),
		"jwt":     names[config.JWT](),
		"request": names[config.AuthRequest](),

		"listeners tls": names[config.ListenerTLS](),
		"certificates":  names[config.Certificate](),
		"acme":          names[config.ACME](),
		"pools tls":     names[config.PoolTLS](),

		"proxy_protocol": names[config.ProxyProtocol](),

		"affinity": names[config.Affinity](),
		"cookie":   names[config.Cookie](),
		"token":    names[config.Token](),
		"learn":    names[config.Learn](),
		"health":   names[config.Health](),
		"http":     names[config.HTTP](),

		"health http":      names[config.HTTPCheck](),
		"health websocket": names[config.WebSocketCheck](),
		"health agent":     names[config.AgentCheck](),

		"drain":     names[config.Drain](),
		"admit":     names[config.Admit](),
		"reattach":  names[session.Reattach](),
		"rebalance": names[config.Rebalance](),
		"backends":  names[config.Backend](),
		"dns":       names[config.DNS](),
		"aws":       names[config.AWS](),
		"ec2_tag":   names[config.EC2Tag](),
		"timeouts":  names[config.Timeouts](),
		"shutdown":  names[config.Shutdown](),
		"keepalive": names[config.Keepalive](),
		"forwarded": names[config.Forwarded](),
		"limits":    names[config.Limits](),
		"admin":     names[config.Admin](),
		"admin tls": names[config.AdminTLS](),
		"log":       names[config.Log](),
		"tracing":   names[config.Tracing](),
		"engine":    {"engine"},
	}
	for _, key := range names[config.Config]() {
		if sections[key] == nil {
			t.Errorf("the test doesn't know the section %q", key)
		}
	}

	heading := regexp.MustCompile("^(##+) `(\\w+)`")
	row := regexp.MustCompile("^\\| `(\\w+)` \\|")
	documented := make(map[string][]string)
	section, parent, top := "", "", ""
	for line := range strings.Lines(readDocs(t)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[2]
			switch m[1] {
			case "##":
				top = section
			case "###":
				parent = section
				if section == "tls" || section == "timeouts" { // there are two
					section = top + " " + section
				}
			case "####":
				if parent == "health" { // there is another http
					section = parent + " " + section
				}
			}
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

// TestDocsExamplesParse checks every example except that of errors. The full
// example has every key.
func TestDocsExamplesParse(t *testing.T) {
	good, _, _ := strings.Cut(readDocs(t), "## Errors")
	_, full, _ := strings.Cut(good, "## Full example")
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for i, block := range example.FindAllStringSubmatch(good, -1) {
		c, err := Parse(fmt.Sprintf("example%d.yaml", i+1), []byte(block[1]))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		for _, w := range c.Warnings {
			if !strings.Contains(w.Msg, "placeholder") { // as a secret on a page must be
				t.Errorf("example %d has a warning: %v", i+1, w)
			}
		}
	}
	m := example.FindStringSubmatch(full)
	if m == nil {
		t.Fatal("no full example")
	}
	for _, keys := range [][]string{
		names[config.Config](), names[config.Listener](), names[config.Route](), names[config.Match](), names[config.ClientCert](), names[config.Origins](), names[config.Redirect](), names[config.Respond](), names[config.SplitPart](), names[config.Pool](), names[config.Backend](),
		names[config.Hash](), names[config.Affinity](), names[config.Cookie](), names[config.Token](), names[config.Learn](), names[config.Health](), names[config.HTTPCheck](),
		names[config.WebSocketCheck](), names[config.AgentCheck](), names[config.Drain](), names[config.Admit](), names[session.Reattach](), names[config.Rebalance](), names[config.DNS](), names[config.AWS](), names[config.EC2Tag](),
		names[config.Timeouts](), names[config.Shutdown](), names[config.Keepalive](), names[config.Forwarded](), names[config.HTTP](), names[config.Limits](), names[config.Admin](), names[config.Log](),
		names[config.HeaderEdits](), names[config.Rewrite](), names[config.PathPrefix](), names[config.RouteTimeouts](),
		names[config.ListenerTLS](), names[config.Certificate](), names[config.ACME](), names[config.PoolTLS](),
		names[config.RouteLimits](), names[config.AddressRate](), names[config.ClaimLimit](),
		names[config.Auth](), names[config.JWT](), names[config.AuthRequest](),
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
	d := config.Defaults()
	docs := readDocs(t)
	for key, want := range map[string]any{
		"connect": "5s", "handshake": "10s", "idle": "1h", "idle_counts": "all", "max_lifetime": "0", "close": "30s", "send_buffer": "256KiB", "backlog_memory": "256MiB", "max_body": 0, "max_message": 0, "messages_per_second": 0, "bytes_per_second": 0, "exceed": "throttle", "slow_consumer_timeout": "60s", "frames": "strict", "shutdown": "30s", "delay": "5s",
		"interval": "25s", "balance": "least_conn", "weight": 1,
		"format": d.Log.Format, "level": d.Log.Level, "engine": d.Engine,
		"key": "client_ip", "bound": 0, "family": "auto", "fallback": "balance", "max_age": "1h", "same_site": "Lax", "secure": "auto",
		"fall": 3, "rise": 2, "max_fails": 3, "fail_timeout": "30s", "min_healthy": 0, "slow_start": 0, "on_down": "keep", "method": "GET",
		"expect": 200, "send": "ping", "type": "srv", "refresh": "10s",
		"timeout": "300s", "spread": "60s", "code": 1001, "reason": "going away", "sticky": "move", "value": "signed", "expire": "30m", "max": 100000, "backup": false,
		"response_timeout": "60s", "body_timeout": "60s", "send_timeout": "60s", "idle_timeout": "75s", "backend_idle_timeout": "60s",
		"max_header_bytes": 16384, "max_connections_per_address": 0, "abort_on_close": false, "via": true,
		"request_id": false, "trace_context": false,
		"min_version": "1.2", "client_auth": "required", "strict_sni": false, "http2": true, "insecure_skip_verify": false,
		"queue": 5000, "queue_timeout": "30s", "ramp": "30s", "on": "all", "above": "10%", "min_age": "60s",
	} {
		if !regexp.MustCompile(fmt.Sprintf("(?m)^\\| `%s` \\|[^|]*\\| `?%v`?( |,)", key, want)).MatchString(docs) {
			t.Errorf("%s doesn't say that the default of %q is %v", docsFile, key, want)
		}
	}
	c, err := Parse("f", []byte(`
listeners: [{address: ":80"}]
pools: {a: {backends: [{address: "a:1"}]}}
timeouts: {connect: 5s, handshake: 10s, idle: 1h, idle_counts: all, max_lifetime: 0, close: 30s, shutdown: 30s}
limits: {send_buffer: 256KiB, max_message: 0, messages_per_second: 0, bytes_per_second: 0, exceed: throttle, slow_consumer_timeout: 60s, frames: strict, backlog_memory: 256MiB}
shutdown: {delay: 5s}
keepalive: {interval: 25s, timeout: 10s}
http: {response_timeout: 60s, body_timeout: 60s, send_timeout: 60s, idle_timeout: 75s, backend_idle_timeout: 60s, max_header_bytes: 16384, max_connections_per_address: 0, abort_on_close: false, via: true}
`))
	if err != nil || !reflect.DeepEqual(c.Limits, d.Limits) || c.Shutdown != d.Shutdown || c.Timeouts != d.Timeouts || c.Keepalive != d.Keepalive || c.HTTP != d.HTTP {
		t.Errorf("the documented defaults are not those of Defaults: %+v, %v", c, err)
	}
}

// TestDocsPoolDefaults compares a pool that leaves out what it can with one that
// has the documented defaults.
func TestDocsPoolDefaults(t *testing.T) {
	parsePool := func(keys string) config.Pool {
		c, err := Parse("f", []byte(`{listeners: [{address: ":80"}], pools: {a: {balance: hash, `+keys+`}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return c.Pools[0]
	}
	left := parsePool(`dns: {name: x}, affinity: {cookie: {}}, health: {http: {path: /}, websocket: {path: /}, agent: {port: 1}},
		admit: {rate: 200/s}, reattach: {}, rebalance: {sticky: move}`)
	given := parsePool(`hash: {key: client_ip, bound: 0}, max_sessions: 0, dns: {name: x, type: srv, family: auto, refresh: 10s}, backends: [],
		affinity: {cookie: {name: holdfast, max_age: 1h, same_site: Lax, secure: auto, path: /}, fallback: balance},
		health: {http: {path: /, method: GET, expect: 200, headers: {}}, websocket: {path: /, send: ping, expect: pong}, tcp: false,
			agent: {port: 1, send: ""}, interval: 10s, timeout: 2s, fall: 3, rise: 2, max_fails: 3, fail_timeout: 30s,
			min_healthy: 0, slow_start: 0, on_down: keep},
		drain: {timeout: 300s, spread: 60s, code: 1001, reason: going away, sticky: move},
		admit: {rate: 200/s, burst: 50, queue: 5000, queue_timeout: 30s, ramp: 30s},
		reattach: {on: [drain, loss, rebalance], timeout: 10s},
		rebalance: {above: 10%, rate: 2/s per backend, min_age: 60s, sticky: move}`)
	if !reflect.DeepEqual(left, given) {
		t.Errorf("got %+v, the documented defaults are %+v", left, given)
	}
}
