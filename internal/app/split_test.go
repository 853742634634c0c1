package app_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// TestSplit: a route with several pools divides requests and handshakes by weight, keeps
// clients in their pool by its cookie, and changes header fields for one pool alone. So
// does a listener without requests.
func TestSplit(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		a, b := toldServer(t, "a"), toldServer(t, "b")
		file := fmt.Sprintf(`
listeners:
  - {address: "127.0.0.1:0", origins: any}
  - {name: opaque, address: "127.0.0.1:0", mode: tcp, split: [{pool: plain-a, weight: 1}, {pool: plain-b, weight: 3}]}
admin: {address: "127.0.0.1:0"}
engine: %s
http: {via: false}
forwarded: {x_forwarded: false}
timeouts: {shutdown: 5s}
shutdown: {delay: 0}
routes:
  - match: {path: /split}
    rewrite: {path_prefix: {from: /split, to: /s}}
    response_headers: {set: {X-Route: "1"}}
    split:
      - {pool: a, weight: WA}
      - {pool: b, weight: WB, request_headers: {set: {X-Asked: "${pool} ${route}"}}, response_headers: {set: {X-Pool: "${pool}"}}}
      - {weight: 1, respond: {status: 418, body: none}}
  - respond: 404
pools:
  a: {backends: [{address: "%[2]s"}], affinity: {cookie: {secret: "0123456789abcdef"}}}
  b: {backends: [{address: "%[3]s"}], affinity: {cookie: {secret: "0123456789abcdef"}}}
  plain-a: {backends: [{address: "%[2]s"}]}
  plain-b: {backends: [{address: "%[3]s"}]}
`, engine, a, b)
		weights := func(wa, wb int) string {
			return strings.NewReplacer("WA", fmt.Sprint(wa), "WB", fmt.Sprint(wb)).Replace(file)
		}
		r := start(t, weights(6, 3))
		address := r.Addresses()[0]
		var fromA, fromB string // cookies
		for _, fields := range [][]string{nil, upgrading} {
			counts := map[string]int{}
			for range 100 {
				resp, body := ask(t, address, "GET h/split/x?q", fields...)
				counts[body]++
				switch cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";"); resp.StatusCode {
				case 418:
					if cookie != "" || resp.Header.Get("X-Pool") != "" || resp.Header.Get("X-Route") != "1" {
						t.Errorf("the answer of the balancer's own has %v", resp.Header)
					}
				case 200:
					if resp.Header.Get("X-Route") != "1" {
						t.Errorf("no field of the route in %v", resp.Header)
					}
					switch pool := resp.Header.Get("X-Pool"); {
					case pool != "" && pool != "b":
						t.Errorf("a field of pool b, %q, for another", pool)
					case cookie == "": // of a handshake that is refused
					case pool == "b":
						fromB = cookie
					default:
						fromA = cookie
					}
				default:
					t.Fatal(resp.Status, body)
				}
			}
			want := map[string]int{"a GET h/s/x?q": 60, "b GET h/s/x?q X-Asked=b /split": 30, "none": 10}
			for body, n := range counts {
				if d := n - want[body]; want[body] == 0 || d < -5 || d > 5 {
					t.Errorf("%d of 100 answers are %q, want %d", n, body, want[body])
				}
			}
		}
		r.mustReload(weights(0, 0)) // all others get the answer
		for range 10 {
			for cookie, want := range map[string]string{fromA: "a GET h/s/", fromB: "b GET h/s/ X-Asked=b /split", "holdfast=x": "none"} {
				if _, body := ask(t, address, "GET h/split/", "Cookie: "+cookie); body != want {
					t.Errorf("%s: %q, want %q", cookie, body, want)
				}
			}
		}

		counts := map[byte]int{}
		for range 40 {
			conn, err := net.Dial("tcp", r.Addresses()[1])
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(testkit.Patience))
			fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
			data, err := io.ReadAll(conn)
			conn.Close()
			answer := string(data)
			if err != nil {
				t.Fatal(err)
			}
			_, body, _ := strings.Cut(answer, "\r\n\r\n")
			counts[body[0]]++
		}
		if counts['a'] < 6 || counts['a'] > 14 || counts['a']+counts['b'] != 40 {
			t.Errorf("the pools got %v of 40 connections, want a quarter and three", counts)
		}
		_, metrics := get("http://" + r.AdminAddr() + "/metrics")
		for _, want := range []string{`holdfast_http_requests_total{backend="` + b + `",code="2xx",pool="b"}`, `pool="plain-b"`} {
			if !strings.Contains(metrics, want) {
				t.Errorf("no %s in the metrics", want)
			}
		}
	})
}

// TestSplitStaysInItsPool: a session moves within its pool, and a handshake for which
// another backend is tried stays there, whatever the weights are.
func TestSplitStaysInItsPool(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		file := fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0"}
engine: %s
timeouts: {shutdown: 5s}
shutdown: {delay: 0}
routes:
  - split:
      - {pool: chat, weight: WC}
      - {pool: next, weight: WN}
pools:
  chat:
    reattach: {on: [drain, loss], timeout: 2s}
    drain: {timeout: 0s, spread: 0s}
    backends:
      - {name: a, address: "%s", weight: 256}
      - {name: b, address: "%s", weight: 1}
  next:
    backends:
      - {name: n, address: "%s"}
`, engine, backend(t, "one"), backend(t, "two"), backend(t, "three"))
		weights := func(chat, next int) string {
			return strings.NewReplacer("WC", fmt.Sprint(chat), "WN", fmt.Sprint(next)).Replace(file)
		}
		r := start(t, weights(1, 0))
		w := r.open("/")
		w.echo("1", "one: 1")
		r.mustReload(weights(0, 1))
		r.open("/").echo("1", "three: 1")
		r.drain("chat/a")
		testkit.Eventually(t, "the session is with b", func() bool {
			_, body := get("http://" + r.AdminAddr() + "/v1/sessions")
			return strings.Contains(body, `"backend": "b"`) && !strings.Contains(body, `"backend": "a"`)
		})
		w.echo("2", "two: 2")
	})
}
