package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a balancer with what manifests become, and returns the address of the first
// listener. Each feed has a server that says its name and what it was asked.
func serve(t *testing.T, manifests ...string) string {
	t.Helper()
	result, _ := settle(t, parse(t, append(manifests, simpleGateway)...))
	feeds := discovery.NewFeeds()
	for _, p := range result.Pools {
		if strings.Contains(p.Feed, "empty") {
			feeds.Set(p.Feed, nil)
			continue
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s%s X-A=%s", p.Service.Name, r.Host, r.RequestURI, strings.Join(r.Header.Values("X-A"), "|"))
		}))
		t.Cleanup(s.Close)
		address := strings.TrimPrefix(s.URL, "http://")
		feeds.Set(p.Feed, []discovery.Member{{Name: address, Address: address, Weight: 1}})
	}
	a, err := app.Start(app.Options{Program: true, Feeds: feeds, LogTo: io.Discard, Version: "test", Load: func() (*config.Config, error) {
		c := merged(result)
		for i := range c.Listeners {
			c.Listeners[i].Address.Port = 0
		}
		c.Timeouts.Shutdown, c.Shutdown.Delay = time.Second, 0
		c.Forwarded.XForwarded = false
		return &c, c.Validate()
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	return a.Addresses()[0]
}

// ask sends a request, "HOST/PATH", and returns the status, the Location and the body.
func ask(t *testing.T, address, what string, header ...string) string {
	t.Helper()
	host, path, _ := strings.Cut(what, "/")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testkit.Patience))
	fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", path, host, strings.Join(append(header, ""), "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case resp.Header.Get("Location") != "":
		return fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
	case resp.StatusCode != 200:
		return fmt.Sprint(resp.StatusCode)
	}
	return string(body)
}

// TestServed: what requests get from the balancer.
func TestServed(t *testing.T) {
	address := serve(t, `
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec:
  parentRefs: [{name: web}]
  hostnames: [a.net]
  rules:
  - {matches: [{path: {value: /foo}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz/}}}], backendRefs: [{name: a, port: 80}]}
  - {matches: [{path: {value: /root/}}], filters: [{type: URLRewrite, urlRewrite: {hostname: in.net, path: {type: ReplacePrefixMatch, replacePrefixMatch: ""}}}], backendRefs: [{name: a, port: 80}]}
  - {matches: [{path: {value: /full}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: "/$1"}}}], backendRefs: [{name: a, port: 80}]}
  - {matches: [{path: {value: /to}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /xyz/}}}]}
  - {matches: [{path: {value: /up}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}
  - {matches: [{path: {value: /port}}], filters: [{type: RequestRedirect, requestRedirect: {port: 8080, hostname: b.net, path: {type: ReplaceFullPath, replaceFullPath: "/$1"}}}]}
  - {matches: [{path: {value: /dollar}}], filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: "${client_ip}$"}]}}], backendRefs: [{name: a, port: 80}]}
  - {matches: [{path: {value: /missing}}], backendRefs: [{name: missing, port: 80}]}
  - {matches: [{path: {value: /empty}}], backendRefs: [{name: empty, port: 80}]}
  - {matches: [{path: {value: /mirror}}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}}}], backendRefs: [{name: b, port: 80}]}
  - {matches: [{path: {value: /h}, headers: [{name: x-b, value: "a*"}]}], backendRefs: [{name: a, port: 80}]}
  - {matches: [{path: {type: RegularExpression, value: "/[0-9]+"}}], backendRefs: [{name: a, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wild, namespace: shop}
spec:
  parentRefs: [{name: web}]
  hostnames: ["*.net"]
  rules: [{backendRefs: [{name: b, port: 80}]}]
`)
	for _, c := range []struct{ ask, header, want string }{
		// The table at gwv1.HTTPPathModifier.
		{"a.net/foo/bar", "", "a a.net/xyz/bar X-A="},
		{"a.net/foo", "", "a a.net/xyz X-A="},
		{"a.net/foo/", "", "a a.net/xyz/ X-A="},
		{"a.net/root/bar?q=1", "", "a in.net/bar?q=1 X-A="},
		{"a.net/root", "", "a in.net/ X-A="},
		{"a.net/root/", "", "a in.net/ X-A="},
		{"a.net/full/more?q", "", "a a.net/$1?q X-A="},
		{"a.net/to/bar?q=1", "", "302 http://a.net/xyz/bar?q=1"},
		{"a.net:8080/to", "", "302 http://a.net/xyz"},
		{"a.net/to/", "", "302 http://a.net/xyz/"},
		{"a.net/up", "", "301 https://a.net/"},
		{"a.net/up/x", "", "301 https://a.net/x"},
		{"a.net/port", "", "302 http://b.net:8080/$1"},
		{"a.net/dollar", "X-A: from the client", "a a.net/dollar X-A=${client_ip}$"},
		{"a.net/missing/x", "", "500"},
		{"a.net/empty", "", "503"},
		{"a.net/mirror", "", "500"},
		{"a.net/h", "X-B: a*", "a a.net/h X-A="},
		{"a.net/h", "X-B: ab", "b a.net/h X-A="},
		{"a.net/123", "", "a a.net/123 X-A="},
		{"a.net/123/x", "", "b a.net/123/x X-A="},
		{"x.y.net/foo", "", "b x.y.net/foo X-A="},
		{"net/foo", "", "404"},
	} {
		var header []string
		if c.header != "" {
			header = []string{c.header}
		}
		if got := ask(t, address, c.ask, header...); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.ask, c.header, got, c.want)
		}
	}
}
