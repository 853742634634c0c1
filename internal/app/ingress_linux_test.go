package app_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/nameserver"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// pods are three servers with the same port, as those of a headless Service. Each says
// which it is in the header field Pod, and how it was asked in Asked.
func pods(t *testing.T) (records []string, port int) {
	t.Helper()
	var listeners []net.Listener
	testkit.Eventually(t, "three addresses with the same free port", func() bool { // it may be taken on another address
		listeners = nil
		for i := range 3 {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:%d", i+1, port))
			if err != nil {
				for _, l := range listeners {
					l.Close()
				}
				port = 0
				return false
			}
			port = l.Addr().(*net.TCPAddr).Port
			listeners = append(listeners, l)
		}
		return true
	})
	for i, l := range listeners {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Pod", fmt.Sprint(i+1))
			w.Header().Set("Asked", r.Host+r.RequestURI)
			if r.Header.Get("Upgrade") == "" {
				fmt.Fprint(w, "plain")
				return
			}
			c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
			if err != nil {
				return
			}
			defer c.CloseNow()
			for {
				kind, text, err := c.Read(r.Context())
				if err != nil || c.Write(r.Context(), kind, text) != nil {
					return
				}
			}
		}))
		s.Listener.Close()
		s.Listener = l
		s.Start()
		t.Cleanup(s.Close)
		records = append(records, fmt.Sprintf("websocket-service.default.svc.cluster.local. 5 IN A 127.0.0.%d", i+1))
	}
	return records, port
}

// TestIngress runs the file of a tutorial: an Ingress with affinity by a cookie, timeouts
// of a day and upstream-hash-by. Only ports and the DNS server are those of the test.
func TestIngress(t *testing.T) {
	records, port := pods(t)
	names := nameserver.Start(t, records...)
	text, err := os.ReadFile("../config/importer/ingress/testdata/tutorial.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ingress.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "8080", fmt.Sprint(port))), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(app.Options{
		Load: func() (*config.Config, error) {
			result, err := ingress.Import([]string{file}, importer.Options{})
			if err != nil {
				return nil, err
			}
			c := result.Config
			c.Listeners[0].Address = hostport.MustParse("127.0.0.1:0")
			c.Pools[0].DNS.Server = hostport.MustParse(names.Address)
			return c, nil
		},
		File: file, Version: "v1.2.3", LogTo: &testkit.Log{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Shutdown(context.Background()) })
	dial := func(cookie string) *http.Response {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		header := http.Header{"Origin": {"https://elsewhere.example"}}
		if cookie != "" {
			header.Set("Cookie", cookie)
		}
		c, resp, err := websocket.Dial(ctx, "ws://"+a.Addresses()[0]+"/chat?x=1", &websocket.DialOptions{Host: "ws.example.com", HTTPHeader: header})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, text, err := c.Read(ctx); err != nil || string(text) != "hello" {
			t.Fatalf("read %q, %v", text, err)
		}
		return resp
	}
	get := func(host string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Addresses()[0]+"/page", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	// The pods are found after the start.
	testkit.Eventually(t, "a pod answers", func() bool { code, _ := get("ws.example.com"); return code == 200 })

	reached := map[string]bool{}
	for i := 0; len(reached) < 3; i++ {
		if i == 100 {
			t.Fatalf("100 clients without a cookie reached only %v", reached)
		}
		first := dial("")
		if asked := first.Header.Get("Asked"); asked != "ws.example.com/chat?x=1" {
			t.Errorf("the pod was asked for %s", asked)
		}
		pod, cookie := first.Header.Get("Pod"), first.Header.Get("Set-Cookie")
		if !strings.HasPrefix(cookie, "route=") || !strings.Contains(cookie, "Max-Age=172800") {
			t.Fatalf("the cookie is %q", cookie)
		}
		cookie, _, _ = strings.Cut(cookie, ";")
		for range 3 {
			if again := dial(cookie).Header.Get("Pod"); again != pod {
				t.Errorf("the cookie of pod %s led to %s", pod, again)
			}
		}
		reached[pod] = true
	}
	if code, body := get("other.example.com"); code != 404 || body != "default backend - 404" {
		t.Errorf("another host got %d, %q", code, body)
	}
}
