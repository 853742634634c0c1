package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// toldServer answers what it was asked for, and with which fields. It takes WebSocket
// handshakes, too: its answer to them is the same, as a refusal.
func toldServer(t *testing.T, name string) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s%s", name, r.Method, r.Host, r.RequestURI)
		for _, field := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "X-Asked"} {
			if value := r.Header.Values(field); value != nil {
				fmt.Fprintf(w, " %s=%s", field, strings.Join(value, "|"))
			}
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// ask sends a request of its own connection, with the head's lines, and returns the answer
// with its body.
func ask(t *testing.T, address, line string, fields ...string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	method, rest, _ := strings.Cut(line, " ")
	host, target := rest, ""
	if i := strings.IndexAny(rest, "/*"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, target, host, strings.Join(append(fields, ""), "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return resp, string(body)
}

// upgrading are the fields of a WebSocket handshake.
var upgrading = []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

// TestRouting: what routes ask, answer and change, for plain HTTP and for WebSocket
// handshakes alike.
func TestRouting(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, b := toldServer(t, "a"), toldServer(t, "b")
		r := start(t, fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0", origins: any}]
admin: {address: "127.0.0.1:0"}
engine: %s
http: {via: false}
forwarded: {x_forwarded: false}
timeouts: {shutdown: 5s}
shutdown: {delay: 0}
response_headers: {set: {X-All: "1"}}
routes:
  - match: {host_regex: '^(?:www\.)?old\.example$', path_regex: '^/a/(.*)$'}
    redirect: {to: "https://new.example/b/$1?${query}", status: 301}
  - match: {host_regex: '^(?:www\.)?old\.example$'}
    redirect: "https://${host}:8443${uri}"
  - match: {host: moved.example, path: /foo}
    redirect: {to: "/bar${path_rest}", status: 302}
  - match: {host: moved.example, path: /away}
    redirect: {to: "https://${host}:8443${path_rest}${search}", status: 302}
  - match: {host: rel.example}
    redirect: {to: "${uri}", status: 302}
  - match: {host: rel2.example}
    redirect: {to: "/login?next=${path}&h=${header.X-Next}", status: 303}
  - match: {host: closed.example, not: [{path_begins: /open}, {header: {X-Key: "~^k[0-9]+$"}}]}
    respond: {status: 503, body: "<p>Back soon.", content_type: text/html}
    response_headers: {set: {Retry-After: "7", Content-Type: x/y}}
  - match: {host: empty.example}
    respond: 204
  - match: {host: denied.example}
    deny: [127.0.0.0/8]
    respond: 404
  - match: {path_exact: /exact/}
    pool: a
  - match: {client: [10.0.0.0/8]}
    respond: 418
  - match: {path_regex: "^/v([0-9])/([^/]*)(/.*)?$"}
    pool: a
    rewrite: {path: "/$2/v$1$3"}
    request_headers:
      set: {X-Forwarded-For: "${forwarded_for}", X-Forwarded-Proto: "${scheme}", X-Real-IP: "${client_ip}", X-Asked: "${uri} ${path} ${query}"}
  - match: {path_begins: /exact}
    pool: b
  - respond: {status: 404, body: "No such page.\n"}
pools:
  a: {backends: [{address: "%s"}]}
  b: {backends: [{address: "%s"}]}
`, engine, a, b))
		address := r.Addresses()[0]
		for _, tt := range []struct {
			ask    string
			fields []string
			status int
			body   string // "*" is any
			header string // "Name: value", which must be there
		}{
			{"GET WWW.old.example:80/a/x%20y?q=1", nil, 301, "*", "Location: https://new.example/b/x%20y?q=1"},
			{"GET old.example/a//x", nil, 400, "*", ""}, // $1 is /x or x
			{"GET old.example/a/x//y", nil, 301, "*", "Location: https://new.example/b/x//y?"},
			{"POST old.example/c?d", nil, 308, "*", "Location: https://old.example:8443/c?d"},
			{"GET old.example/", nil, 308, "*", "X-All: 1"},
			{"GET nold.example/", nil, 404, "No such page.\n", ""},
			{"GET moved.example/foo", nil, 302, "*", "Location: /bar"},
			{"GET moved.example/foo/", nil, 302, "*", "Location: /bar/"},
			{"GET moved.example/f%6fo/x%2fy/?z", nil, 302, "*", "Location: /bar/x%2fy/"},
			{"GET moved.example/foox", nil, 404, "No such page.\n", ""},
			{"GET moved.example/away", nil, 302, "*", "Location: https://moved.example:8443/"},
			{"GET moved.example/away/?z", nil, 302, "*", "Location: https://moved.example:8443/?z"},
			{"GET moved.example/away//x", nil, 302, "*", "Location: https://moved.example:8443//x"},
			{"GET rel.example/x/y?z", nil, 302, "*", "Location: /x/y?z"},
			{"GET rel.example//evil.example/", nil, 400, "*", ""},
			{"GET rel.example/%2fevil.example/", nil, 302, "*", "Location: /%2fevil.example/"},
			{"GET rel2.example/x", []string{"X-Next: a&b\tc\"d"}, 303, "*", "Location: /login?next=/x&h=a%26b%09c%22d"},
			{"GET closed.example/x", nil, 503, "<p>Back soon.", "Content-Type: text/html"},
			{"GET closed.example/x", nil, 503, "*", "Retry-After: 7"},
			{"HEAD closed.example/x", nil, 503, "", "Content-Length: 13"},
			{"GET closed.example/opened", nil, 404, "No such page.\n", ""},
			{"GET closed.example/x", []string{"X-Key: k12"}, 404, "No such page.\n", ""},
			{"GET closed.example/x", []string{"X-Key: k12x"}, 503, "*", ""},
			{"GET closed.example/x", []string{"X-Key: k12", "X-Key: 1"}, 400, "*", ""},
			{"GET empty.example/", nil, 204, "", "X-All: 1"},
			{"GET denied.example/", nil, 403, "*", ""},
			{"GET h/exact/", nil, 200, "a GET h/exact/", ""},
			{"GET h/exact", nil, 200, "b GET h/exact", ""},
			{"GET h/ex%61ctly?q", nil, 200, "b GET h/ex%61ctly?q", ""},
			{"GET h/exact%2f", nil, 400, "*", ""},
			{"GET h/v1/a%2Bb/c?d=%20", nil, 200, "a GET h/a%2Bb/v1/c?d=%20 X-Forwarded-For=127.0.0.1 X-Forwarded-Proto=http X-Real-IP=127.0.0.1 X-Asked=/v1/a%2Bb/c?d=%20 /v1/a%2Bb/c d=%20", ""},
			{"GET h/v1/a", []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: x", "X-Real-IP: 9.9.9.9"}, 200,
				"a GET h/a/v1 X-Forwarded-For=1.2.3.4, x, 127.0.0.1 X-Forwarded-Proto=http X-Real-IP=127.0.0.1 X-Asked=/v1/a /v1/a", ""},
			{"GET h/v1//x", nil, 400, "*", ""}, // another rule, if slashes are merged
			{"GET h/v1/a//x", nil, 200, "a GET h/a/v1//x X-Forwarded-For=127.0.0.1 X-Forwarded-Proto=http X-Real-IP=127.0.0.1 X-Asked=/v1/a//x /v1/a//x", ""},
			{"GET h/v1/a;b/x", nil, 200, "a GET h/a;b/v1/x X-Forwarded-For=127.0.0.1 X-Forwarded-Proto=http X-Real-IP=127.0.0.1 X-Asked=/v1/a;b/x /v1/a;b/x", ""},
			{"GET h/v1/;b/x", nil, 400, "*", ""}, // begins with two slashes, if ;b is cut off
			{"GET h/nothing", nil, 404, "No such page.\n", "Content-Type: text/plain; charset=utf-8"},
		} {
			for what, more := range map[string][]string{"plain": nil, "handshake": upgrading} {
				if what == "handshake" && !strings.HasPrefix(tt.ask, "GET ") {
					continue
				}
				resp, body := ask(t, address, tt.ask, append(tt.fields, more...)...)
				name, value, _ := strings.Cut(tt.header, ": ")
				if resp.StatusCode != tt.status || tt.body != "*" && body != tt.body || tt.header != "" && resp.Header.Get(name) != value {
					t.Errorf("%s, %s %q: %s %q %q; want %d %q %q", what, tt.ask, tt.fields, resp.Status, resp.Header, body, tt.status, tt.body, tt.header)
				}
			}
		}
		_, metrics := get("http://" + r.AdminAddr() + "/metrics")
		for _, want := range []string{`holdfast_handshakes_total{backend="",pool="",result="redirected"} `, `holdfast_handshakes_total{backend="",pool="",result="responded"} `, `holdfast_http_requests_total{backend="",code="3xx",pool=""} `} {
			if !strings.Contains(metrics, want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
		for _, want := range []string{`"result":"redirected"`, `"result":"responded"`} {
			testkit.Eventually(t, "the log has "+want, func() bool { return strings.Contains(r.log.String(), want) })
		}
		if strings.Contains(r.log.String(), `"status":404,"client"`) {
			t.Error("an answer of a route is logged as a failure")
		}
	})
}
