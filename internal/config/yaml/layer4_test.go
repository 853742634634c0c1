package yaml

import (
	"strings"
	"testing"
)

// TestLayer4 has what goes together and what doesn't, beyond what the golden files can
// have at once. want is the beginning of the only error, without the file.
func TestLayer4(t *testing.T) {
	const (
		one = "pools: {a: {backends: [{address: \"a:1\"}]}}\n"
		two = "pools: {a: {backends: [{address: \"a:1\"}]}, b: {backends: [{address: \"b:1\"}]}}\n"
	)
	for _, tt := range []struct{ name, text, want string }{
		{"one pool", "listeners: [{address: \":1\", mode: tcp}]\n" + one, ""},
		{"one pool, passed through", "listeners: [{address: \":1\", mode: tls-passthrough}]\n" + one, ""},
		{"pools of listeners", "listeners: [{address: \":1\", mode: tcp, pool: a}, {address: \":2\", mode: tls-passthrough, pool: b}]\n" + two, ""},
		{"routes by name", "listeners: [{address: \":1\", mode: tls-passthrough}]\nroutes: [{match: {sni: x}, pool: a}, {match: {sni: y}, pool: b}]\n" + two, ""},
		{"HTTP beside it", "listeners: [{address: \":1\"}, {address: \":2\", mode: tls-passthrough}]\nroutes: [{match: {sni: x}, pool: a}]\n" + one, ""},
		{"websocket: false with others", "listeners: [{address: \":1\"}]\nroutes: [{match: {websocket: false}, upgrades: [tcp], pool: a}]\n" + one, ""},

		{"unknown mode", "listeners: [{address: \":1\", mode: udp}]\n" + one, `1:35: expected http, tcp or tls-passthrough, got "udp"`},
		{"several pools", "listeners: [{address: \":1\", mode: tcp}]\n" + two, "1:13: the listener has mode: tcp and no pool: write where its connections go, such as pool: a"},
		{"several pools, passed through", "listeners: [{address: \":1\", mode: tls-passthrough}]\n" + two, "1:13: no route goes by sni or alpn, and the listener has no pool"},
		{"unknown pool", "listeners: [{address: \":1\", mode: tcp, pool: c}]\n" + two, `1:46: unknown pool "c"`},
		{"pool for requests", "listeners: [{address: \":1\", pool: a}]\n" + one, "1:35: pool is for a listener with mode: tcp or tls-passthrough"},
		{"redirect", "listeners: [{address: \":1\"}, {address: \":2\", mode: tcp, redirect: https}]\n" + one, "1:67: redirect answers requests"},
		{"TLS twice", "listeners: [{address: \":1\", mode: tls-passthrough, tls: {certificates: [{cert: a}]}}]\n" + one, "1:57: with mode: tls-passthrough the backends make the TLS handshakes"},
		{"client_headers", "listeners: [{address: \":1\", mode: tcp, tls: {certificates: [{cert: a}], client_ca: b, client_headers: {X-A: subject}}}]\n" + one, "1:103: client_headers are added to requests"},
		{"sni for nobody", "listeners: [{address: \":1\"}]\nroutes: [{match: {sni: x}, pool: a}]\n" + one, "2:24: sni is for connections to a listener with mode: tls-passthrough, and there is none"},
		{"alpn for nobody", "listeners: [{address: \":1\", mode: tcp}]\nroutes: [{match: {alpn: h2}, pool: a}]\n" + one, "2:25: alpn is for connections"},
		{"sni and path", "listeners: [{address: \":1\", mode: tls-passthrough}]\nroutes: [{match: {sni: x, path: /}, pool: a}]\n" + one, "2:33: path is about requests, which the balancer doesn't see if it passes TLS through (sni)"},
		{"alpn and upgrades", "listeners: [{address: \":1\", mode: tls-passthrough}]\nroutes: [{match: {alpn: x}, pool: a, upgrades: [tcp]}]\n" + one, "2:48: upgrades is about requests"},
		{"sni and headers", "listeners: [{address: \":1\", mode: tls-passthrough}]\nroutes: [{match: {sni: x}, pool: a, request_headers: {set: {X-A: b}}}]\n" + one, "2:54: request_headers is about requests"},
		{"origins", "listeners: [{address: \":1\", mode: tcp, origins: any}]\n" + one, "1:49: origins are of requests"},
		{"auth", "listeners: [{address: \":1\", mode: tcp, auth: {none: true}}]\n" + one, "1:46: auth is of requests"},
		{"listener for requests", "listeners: [{address: \":1\", name: x, mode: tcp}, {address: \":2\"}]\nroutes: [{match: {listener: x}, pool: a}]\n" + one, `2:29: the listener "x" has mode: tcp and takes no requests`},
		{"listener for sni", "listeners: [{address: \":1\", name: x}, {address: \":2\", mode: tls-passthrough}]\nroutes: [{match: {listener: x, sni: a}, pool: a}]\n" + one, `2:29: the listener "x" doesn't have mode: tls-passthrough`},
		{"requests for nobody", "listeners: [{address: \":1\", mode: tls-passthrough}]\nroutes: [{match: {sni: x}, pool: a}, {pool: b}]\n" + two, "2:38: the route is for requests, and no listener takes any"},
		{"no route for requests", "listeners: [{address: \":1\"}, {address: \":2\", mode: tls-passthrough}]\nroutes: [{match: {sni: x}, pool: a}, {match: {sni: y}, pool: b}]\n" + two, "3:44: several pools but no routes"},
		{"empty alpn", "listeners: [{address: \":1\", mode: tls-passthrough}]\nroutes: [{match: {sni: x, alpn: \"a b\"}, pool: a}]\n" + one, `2:33: bad protocol "a b"`},
		{"cookie", "listeners: [{address: \":1\", mode: tcp}]\npools: {a: {affinity: {cookie: {secret: 0123456789abcdef}}, backends: [{address: \"a:1\"}]}}\n", "2:32: the listener on line 1 brings connections without cookies"},
		{"token", "listeners: [{address: \":1\", mode: tcp}]\npools: {a: {affinity: {token: {from: [client_ip, query:x]}}, backends: [{address: \"a:1\"}]}}\n", "2:50: the listener on line 1 brings connections without requests to this pool, so that only client_ip is known and not query:x"},
		{"hash", "listeners: [{address: \":1\", mode: tls-passthrough}]\nroutes: [{match: {sni: x}, pool: a}]\npools: {a: {balance: hash, hash: {key: path}, backends: [{address: \"a:1\"}]}}\n", "3:40: the route on line 2 brings connections without requests"},
		{"TLS in TLS", "listeners: [{address: \":1\", mode: tls-passthrough}]\npools: {a: {tls: {}, backends: [{address: \"a:1\"}]}}\n", "2:18: the listener on line 1 passes TLS of clients through to this pool, which would be TLS within TLS"},
		{"no upgrade", "listeners: [{address: \":1\"}]\nroutes: [{upgrades: [], pool: a}]\n" + one, "2:21: the list is empty"},
		{"bad upgrade", "listeners: [{address: \":1\"}]\nroutes: [{upgrades: [websocket, \"t cp\"], pool: a}]\n" + one, `2:33: bad upgrade "t cp"`},
		{"h2c", "listeners: [{address: \":1\"}]\nroutes: [{upgrades: [websocket, H2C], pool: a}]\n" + one, `2:33: the upgrade "H2C" would let clients send the backend further requests`},
		{"twice", "listeners: [{address: \":1\"}]\nroutes: [{upgrades: [websocket, tcp, TCP], pool: a}]\n" + one, `2:38: duplicate upgrade "tcp"`},
		{"WebSockets with others", "listeners: [{address: \":1\"}]\nroutes: [{match: {websocket: true}, upgrades: [websocket, tcp], pool: a}]\n" + one, "2:47: the route matches WebSockets only"},
		{"without websocket", "listeners: [{address: \":1\"}]\nroutes: [{upgrades: [tcp], pool: a}]\n" + one, "2:21: the route gets WebSockets too"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := parse("f", []byte(tt.text))
			if tt.want == "" {
				if err != nil || len(c.Warnings) > 0 {
					t.Fatalf("%v; warnings %v", err, c.Warnings)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "f:"+tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v\nwant f:%s", err, tt.want)
			}
		})
	}
}
