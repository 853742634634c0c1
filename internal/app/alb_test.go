package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/alb"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// TestALB runs what was imported from an ALB. Requests get to the target groups of its
// rules, or are answered as these say. Only the addresses, and TLS, are those of the test.
func TestALB(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s%s", r.Header.Get("X-Pool"), r.Host, r.RequestURI)
	}))
	t.Cleanup(echo.Close)
	files, err := filepath.Glob("../config/importer/alb/testdata/chat/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	a, err := app.Start(app.Options{
		Load: func() (*config.Config, error) {
			result, err := alb.Import(files, importer.Options{})
			if err != nil {
				return nil, err
			}
			c := result.Config
			for i := range c.Listeners {
				c.Listeners[i].Address, c.Listeners[i].TLS = hostport.MustParse("127.0.0.1:0"), nil
			}
			for i := range c.Pools {
				c.Pools[i].Health.HTTP = nil
				c.Pools[i].Backends = []config.Backend{{Name: "echo", Address: hostport.MustParse(echo.Listener.Addr().String()), Weight: 1}}
			}
			for i := range c.Routes {
				c.Routes[i].Auth = nil // its keys are on the internet
				if c.Routes[i].Match.Client != nil {
					c.Routes[i].Match.Client = append(c.Routes[i].Match.Client, netip.MustParsePrefix("127.0.0.0/8"))
				}
			}
			c.RequestHeaders.Set = config.Headers{{"X-Pool", "${pool}"}}
			return c, c.Validate()
		},
		Version: "v1.2.3", LogTo: &testkit.Log{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	client := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(client.CloseIdleConnections)
	for _, c := range []struct {
		listener               int
		host, target, agent    string
		status                 int
		location, body, method string
	}{
		{listener: 0, host: "chat.example.com", target: "/ws?a=b", status: 301, location: "https://chat.example.com/ws?a=b"},
		{listener: 1, host: "chat.example.com", target: "/ws", status: 200, body: "chat-blue+chat-green chat.example.com/ws"},
		{listener: 1, host: "CHAT.example.com", target: "/ws/room?x=1", status: 200, body: "chat-blue+chat-green CHAT.example.com/ws/room?x=1"},
		{listener: 1, host: "chat.example.com", target: "/wsx", status: 200, body: "web chat.example.com/wsx"},
		{listener: 1, host: "other.example.com", target: "/ws", status: 200, body: "web other.example.com/ws"},
		{listener: 1, host: "old.example.com", target: "/x?y=1", status: 302, location: "http://chat.example.com/from/x?y=1"},
		{listener: 1, host: "a.b.old.example.com", target: "/", status: 302, location: "http://chat.example.com/from/"},
		{listener: 1, host: "chat.example.com", target: "/?version=V2", agent: "Mozilla chrome/1", status: 404, body: "not here"},
		{listener: 1, host: "chat.example.com", target: "/?beta=anything", agent: "Safari", status: 404, body: "not here"},
		{listener: 1, host: "chat.example.com", target: "/?version=v22", agent: "Safari", status: 200, body: "web chat.example.com/?version=v22"},
		{listener: 1, host: "chat.example.com", target: "/?version=v2", agent: "curl", status: 200, body: "web chat.example.com/?version=v2"},
		{listener: 1, host: "chat.example.com", target: "/?version=v2", agent: "Safari", method: "POST", status: 200, body: "web chat.example.com/?version=v2"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+a.Addresses()[c.listener]+c.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		req.Header.Set("User-Agent", c.agent)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || resp.Header.Get("Location") != c.location || c.body != "" && string(body) != c.body {
			t.Errorf("%s%s (%s): %d, %q, %q", c.host, c.target, c.agent, resp.StatusCode, resp.Header.Get("Location"), body)
		}
	}
}
