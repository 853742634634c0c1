package app_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// TestIsolate: on a listener with isolate, a request for another host than the one of the
// TLS handshake gets 421, over HTTP/1.1, over HTTP/2 and as a WebSocket handshake. A reload
// changes which hosts these are, for connections that are open, too.
func TestIsolate(t *testing.T) {
	testkit.EachEngineParallel(t, func(t *testing.T, engine string) {
		ca := testca.New(t)
		cert, key := ca.Issue("a.example.com", "b.example.com", "*.c.example.com", "d.c.example.com").Files()
		server := backend(t, "one")
		file := func(isolate string) string {
			return fmt.Sprintf(`
listeners: [{address: "127.0.0.1:0", origins: any, tls: {certificates: [{cert: %q, key: %q}]%s}}]
admin: {address: "127.0.0.1:0"}
engine: %s
timeouts: {shutdown: 5s}
shutdown: {delay: 0}
pools: {chat: {backends: [{address: "%s"}]}}
`, cert, key, isolate, engine, server)
		}
		r := start(t, file(`, isolate: [a.example.com, "*.c.example.com", d.c.example.com]`))
		client := func(name string, http2 bool) *http.Client {
			tr := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: name}, ForceAttemptHTTP2: http2,
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, r.Addresses()[0])
				},
			}
			t.Cleanup(tr.CloseIdleConnections)
			return &http.Client{Transport: tr, Timeout: testkit.Patience}
		}
		status := func(c *http.Client, host string) (int, string) {
			resp, err := c.Get("https://" + host + "/health")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			return resp.StatusCode, resp.Proto
		}
		cases := []struct {
			name, host  string
			misdirected bool
		}{
			{"a.example.com", "a.example.com", false},
			{"a.example.com", "b.example.com", true},
			{"b.example.com", "a.example.com", true},
			{"b.example.com", "other.example.com", false},
			{"x.c.example.com", "y.c.example.com:8443", false},
			{"x.c.example.com", "d.c.example.com", true},
			{"d.c.example.com", "x.c.example.com", true},
		}
		for _, tt := range cases {
			for _, http2 := range []bool{false, true} {
				got, proto := status(client(tt.name, http2), tt.host)
				if (got == 421) != tt.misdirected || http2 != (proto == "HTTP/2.0") {
					t.Errorf("%s on a connection for %s: %d by %s", tt.host, tt.name, got, proto)
				}
			}
			c, resp, err := websocket.Dial(t.Context(), "wss://"+tt.host+"/", &websocket.DialOptions{HTTPClient: client(tt.name, false)})
			if err == nil {
				c.CloseNow()
			}
			if (err != nil) != tt.misdirected || err != nil && (resp == nil || resp.StatusCode != 421) {
				t.Errorf("a WebSocket to %s on a connection for %s: %v", tt.host, tt.name, err)
			}
		}
		kept := client("a.example.com", true)
		if got, _ := status(kept, "b.example.com"); got != 421 {
			t.Error(got)
		}
		r.mustReload(file(""))
		if got, _ := status(kept, "b.example.com"); got == 421 {
			t.Error("a request is still refused after isolate was removed")
		}
	})
}
