package route

import (
	"errors"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// rule is a Rule with its patterns as text.
type rule struct {
	Host, Path, Pool, Label string
	WebSocket               *bool
	When                    *Conditions
}

func table(t testing.TB, rules ...rule) *Table {
	t.Helper()
	parsed := make([]Rule, len(rules))
	for i, r := range rules {
		parsed[i] = Rule{WebSocket: r.WebSocket, When: r.When, Pool: r.Pool, Label: r.Label}
		if r.Label == "" {
			parsed[i].Label = r.Host + r.Path
		}
		var hostErr, pathErr error
		if r.Host != "" {
			parsed[i].Host, hostErr = pattern.ParseHost(r.Host)
		}
		if r.Path != "" {
			parsed[i].Path, pathErr = pattern.ParsePath(r.Path)
		}
		if err := errors.Join(hostErr, pathErr); err != nil {
			t.Fatal(err)
		}
	}
	return New(parsed)
}

// outcome is the label of the rule, or the error.
func outcome(r *Rule, err error) string {
	if err != nil {
		return err.Error()
	}
	return r.Label
}

func TestMatchHost(t *testing.T) {
	tab := table(t,
		rule{Host: "ws.example.com"},
		rule{Host: "*.example.com"},
		rule{Host: "Other.Example.ORG."},
		rule{Host: "*.a.b", Label: "ab"},
		rule{Host: "[::1]"},
		rule{Host: "10.0.0.1"},
	)
	none := ErrNoRoute.Error()
	for host, want := range map[string]string{
		"ws.example.com":        "ws.example.com",
		"WS.Example.COM":        "ws.example.com",
		"ws.example.com:8080":   "ws.example.com",
		"ws.example.com.":       "ws.example.com",
		"ws.example.com.:8080":  "ws.example.com",
		"x.example.com":         "*.example.com",
		"y.x.EXAMPLE.com:1":     "*.example.com",
		"y.ws.example.com":      "*.example.com",
		"example.com":           none,
		".example.com":          none,
		"wsexample.com":         none,
		"notexample.com":        none,
		"ws.example.com.evil":   none,
		"ws.example.com:80:80":  none,
		"other.example.org":     "Other.Example.ORG.",
		"www.other.example.org": none,
		"x.a.b":                 "ab",
		"a.b":                   none,
		"[::1]":                 "[::1]",
		"[::1]:8080":            "[::1]",
		"[::2]:8080":            none,
		"10.0.0.1:80":           "10.0.0.1",
		"":                      none,
		":80":                   none,
		".":                     none,
	} {
		if got := outcome(tab.Match(host, "/", true, nil)); got != want {
			t.Errorf("host %q: %s, want %s", host, got, want)
		}
		if got := outcome(tab.MatchBytes([]byte(host), []byte("/"), true, nil)); got != want {
			t.Errorf("host %q as bytes: %s, want %s", host, got, want)
		}
	}
}

func TestMatchPath(t *testing.T) {
	tab := table(t,
		rule{Path: "/ws"},
		rule{Path: "/api/v1/"},
		rule{Path: "/api"},
		rule{Path: "/caf%C3%A9"},
		rule{Path: "/", Label: "rest"},
	)
	for path, want := range map[string]string{
		"/ws":           "/ws",
		"/ws/":          "/ws",
		"/ws/x":         "/ws",
		"/ws?x=/api":    "/ws",
		"/ws/?../x":     "/ws",
		"/wsx":          "rest",
		"/WS":           "rest",
		"/w":            "rest",
		"/x/ws":         "rest",
		"/api":          "/api",
		"/api/v1":       "/api/v1/",
		"/api/v1/x":     "/api/v1/",
		"/api/v10":      "/api",
		"/%77s":         "/ws",
		"/%77%73/x%20y": "/ws",
		"/caf%c3%a9":    "/caf%C3%A9",
		"/café/x":       "/caf%C3%A9",
		"/":             "rest",
		"":              "rest",
		"?x":            "rest",
		"*":             "rest",
		"/ws/..x/.y/..": "400",
		"/ws/...":       "/ws",
		"/ws/a.b/.well": "/ws",
	} {
		if want == "400" {
			want = ErrBadPath.Error()
		}
		if got := outcome(tab.Match("h", path, true, nil)); got != want {
			t.Errorf("path %q: %s, want %s", path, got, want)
		}
	}
}

// The trick paths: a request must not be routed by one reading and served by
// the backend by another.
func TestAmbiguousPaths(t *testing.T) {
	tab := table(t, rule{Path: "/public"}, rule{Path: "/admin"}, rule{Path: "/admin/deep"}, rule{Label: "rest"})
	bad := []string{
		"/public/../admin", "/public/..", "/public/.", "/./admin", "/..", "/.",
		"/public/%2e%2e/admin", "/public/%2E./admin", "/public/.%2e", "/%2e/admin",
		"/public/..%2fadmin", "/public%2f..%2fadmin", "/public/..%5cadmin", "/public/%2e%2e%5Cadmin",
		"/public/..;/admin", "/public/..;x=y/admin", "/public/.;/x", "/public/..%3b/admin", "/public/%2e%2e;a",
		"/public;x/../admin", "/public%3bx/../admin", "/public;x/y/..", "/public/..;",
		"//admin", "///admin/x", "/%2fadmin", "/%5cadmin", "/;/admin", "/;x/admin",
		"/admin%2fx", "/admin%2Fdeep", "/admin%5cx", "/admin;x", "/admin;x/deep", "/admin%3bx", "/admin%3B",
		"/public;%2f/x", "/public;x%5cy/z",
		`\admin`, `/public\..\admin`, `/\admin`,
		"/admin#x", "/admin x", "/admin\t", "/admin\x00", "/admin%00", "/x\x7f", "/public\r\n",
		"/%", "/%2", "/%zz", "/public/%2g", "/admin%",
		"admin", "http://h/admin", "**", "*x",
	}
	for _, path := range bad {
		if got := outcome(tab.Match("h", path, true, nil)); got != ErrBadPath.Error() {
			t.Errorf("path %q: %s, want it refused", path, got)
		}
	}
	for path, want := range map[string]string{
		"/public/a%2Fb":        "/public",
		"/public/a//b":         "/public",
		"/public/a;x=1/b;y":    "/public",
		"/public/a%5Cb%3B%2F":  "/public",
		"/public//":            "/public",
		"/projects/group%2Fx":  "rest",
		"/x//y":                "rest",
		"/x/http://y":          "rest",
		"/x;jsessionid=1":      "rest",
		"/x%3B":                "rest",
		"/admin/x%20y%3Fz%23q": "/admin",
		"/public/%252e%252e/x": "/public", // decoded once, as a server should
	} {
		if got := outcome(tab.Match("h", path, true, nil)); got != want {
			t.Errorf("path %q: %s, want %s", path, got, want)
		}
	}
}

// Where no rule has a path, none can be confused, and odd paths are the
// backend's business.
func TestPathsAreNotJudgedWithoutPathRules(t *testing.T) {
	tab := table(t, rule{Host: "a", Path: "/"}, rule{Label: "rest"})
	for _, path := range []string{"/a/../b", "//x", "/%zz", "nonsense"} {
		if got := outcome(tab.Match("h", path, true, nil)); got != "rest" {
			t.Errorf("path %q: %s, want rest", path, got)
		}
	}
}

func TestMatchWebSocket(t *testing.T) {
	yes, no := true, false
	tab := table(t, rule{Path: "/api", WebSocket: &no, Label: "plain"}, rule{WebSocket: &yes, Label: "ws"})
	for _, c := range []struct {
		path      string
		websocket bool
		want      string
	}{
		{"/api", false, "plain"},
		{"/api", true, "ws"},
		{"/x", true, "ws"},
		{"/x", false, ErrNoRoute.Error()},
	} {
		if got := outcome(tab.Match("h", c.path, c.websocket, nil)); got != c.want {
			t.Errorf("%s, websocket %v: %s, want %s", c.path, c.websocket, got, c.want)
		}
	}
}

func TestFirstMatchWins(t *testing.T) {
	tab := table(t, rule{Path: "/a", Label: "1"}, rule{Path: "/a/b", Label: "2"}, rule{Host: "h", Label: "3"})
	if got := outcome(tab.Match("h", "/a/b", true, nil)); got != "1" {
		t.Errorf("got rule %s, want the first that matches", got)
	}
}

func TestEmptyTable(t *testing.T) {
	if _, err := table(t).Match("h", "/", true, nil); !errors.Is(err, ErrNoRoute) {
		t.Errorf("error %v, want ErrNoRoute", err)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	tab := table(t, rule{Host: "ws.example.com", Path: "/ws"}, rule{Path: "/api"})
	host, path := []byte("WS.example.com:80"), []byte("/ws/a%2Fb?c")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := tab.MatchBytes(host, path, true, nil); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a Match", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	tab := table(b, rule{Host: "other.example.com", Path: "/ws"}, rule{Path: "/api"}, rule{Host: "ws.example.com", Path: "/ws"})
	for name, path := range map[string]string{"plain": "/ws/room/17?token=x", "peculiar": "/ws/a%2Fb//c;d"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tab.Match("ws.example.com:8080", path, true, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
