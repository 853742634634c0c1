package app_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// Each endpoint refuses a caller without the right to it, and does nothing.
func TestEveryEndpointRefuses(t *testing.T) {
	ca, other := testca.New(t), testca.New(t)
	cert, key := ca.Issue("127.0.0.1").Files()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte(tokenA), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(clientCA string) string {
		return fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nengine: portable\npools: {a: {backends: [{name: one, address: %q}]}}\n"+
			"admin: {socket: off, address: \"127.0.0.1:0\", token_file: %s, tls: {cert: %s, key: %s%s}}\n", backend(t, "one"), tokens, cert, key, clientCA)
	}
	withToken := start(t, file(""))
	withBoth := start(t, file(", client_ca: "+ca.File()))
	callers := []struct {
		name  string
		r     *running
		cert  *testca.Pair
		alter func(*http.Request)
		want  int // 0: no connection
	}{
		{"no token", withToken, nil, func(q *http.Request) { q.Header.Del("Authorization") }, 401},
		{"a wrong token", withToken, nil, func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+tokenB) }, 401},
		{"the token as a password", withToken, nil, func(q *http.Request) { q.SetBasicAuth("admin", tokenA) }, 401},
		{"the token in the query", withToken, nil, func(q *http.Request) {
			q.Header.Del("Authorization")
			q.URL.RawQuery = "access_token=" + tokenA
		}, 401},
		{"another origin", withToken, nil, func(q *http.Request) { q.Header.Set("Origin", "https://evil.example") }, 403},
		{"another site", withToken, nil, func(q *http.Request) { q.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		{"another host", withToken, nil, func(q *http.Request) { q.Host = "evil.example" }, 403},
		{"no certificate", withBoth, nil, func(*http.Request) {}, 0},
		{"a certificate of another authority", withBoth, other.Issue("operator"), func(*http.Request) {}, 0},
		{"a certificate without a token", withBoth, ca.Issue("operator"), func(q *http.Request) { q.Header.Del("Authorization") }, 401},
	}
	ops := operations(description(t))
	for _, caller := range callers {
		c := http.Client{Timeout: testkit.Patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
		if caller.cert != nil {
			c.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{caller.cert.TLS}
		}
		for _, op := range ops {
			path := strings.NewReplacer("{pool}", "a", "{backend}", "one", "{id}", "x").Replace(op.Path)
			q, err := http.NewRequest(op.Method, "https://"+caller.r.AdminAddr()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if op.Operation.RequestBody != nil {
				q.Header.Set("Content-Type", "application/json")
				q.Body = io.NopCloser(strings.NewReader(`{"all": true, "level": "debug", "address": "127.0.0.1:9", "weight": 7}`))
			}
			q.Header.Set("Authorization", "Bearer "+tokenA)
			caller.alter(q)
			want := caller.want
			switch {
			case op.Path == "/health" && want != 0:
				want = 200 // it has nothing secret
			case op.Path == "/metrics" && want == 403:
				want = 200 // monitoring may use any name, and a page can't read the answer
			}
			res, err := c.Do(q)
			if err != nil {
				if want != 0 {
					t.Errorf("%s, %s %s: %v", caller.name, op.Method, op.Path, err)
				}
				continue
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != want || err != nil {
				t.Errorf("%s, %s %s: %d %s %v, want %d", caller.name, op.Method, op.Path, res.StatusCode, body, err, want)
			}
			if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (want == 401) {
				t.Errorf("%s, %s %s: the challenge is %q", caller.name, op.Method, op.Path, challenge)
			}
		}
		c.CloseIdleConnections()
	}
	for _, r := range []*running{withToken, withBoth} {
		s := r.Status()
		b := s.Pools[0].Backends
		if s.Generation != 1 || s.LogLevel != "info" || s.Changes != 0 || len(b) != 1 || b[0].State != "up" || b[0].Weight != 1 {
			t.Errorf("something has changed: %+v", s)
		}
	}
}
