package config

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

func TestOverlap(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{":80", ":80", true},
		{":80", ":81", false},
		{":0", "127.0.0.1:0", false},
		{":80", "[::]:80", true},
		{":80", "0.0.0.0:80", true},
		{":80", "10.0.0.1:80", true},
		{":80", "localhost:80", true},
		{"[::]:80", "10.0.0.1:80", true},
		{"[::]:80", "[::1]:80", true},
		{"0.0.0.0:80", "10.0.0.1:80", true},
		{"0.0.0.0:80", "[::1]:80", false},
		{"10.0.0.1:80", "10.0.0.2:80", false},
		{"10.0.0.1:80", "[::ffff:10.0.0.1]:80", true},
		{"[::1]:80", "[0:0::1]:80", true},
		{"localhost:80", "LOCALHOST:080", true},
	}
	for _, tt := range tests {
		for _, pair := range [][]string{{tt.a, tt.b}, {tt.b, tt.a}} {
			_, err := Quick(Flags{Listen: pair, Backend: []string{"a:1"}})
			if (err != nil) != tt.want {
				t.Errorf("%v: got the error %v, want one: %v", pair, err, tt.want)
			}
		}
	}
}

// TestCoverage compares which routes are said never to match with trying all
// kinds of request there are for these hosts and paths.
func TestCoverage(t *testing.T) {
	yes, no := true, false
	requestHosts := []string{"other", "x", "a.x", "b.x", "a.b.x", "c.b.x", "10.0.0.1"}
	requestPaths := []string{"/", "/p", "/px", "/p/q", "/p/r", "/r"}
	matches := func(m Match, host, path string, websocket bool) bool {
		hostPattern, pathPattern := m.Host.String(), m.Path.String()
		hostOK := hostPattern == "" || hostPattern == host
		if suffix, ok := strings.CutPrefix(hostPattern, "*"); ok {
			hostOK = strings.HasSuffix(host, suffix)
		}
		pathOK := path == pathPattern || strings.HasPrefix(path, pathPattern+"/")
		return hostOK && pathOK && (m.WebSocket == nil || *m.WebSocket == websocket)
	}
	route := rapid.Custom(func(t *rapid.T) Match {
		host, _ := pattern.ParseHost(rapid.SampledFrom([]string{"", "x", "*.x", "a.x", "*.b.x", "a.b.x", "10.0.0.1"}).Draw(t, "host"))
		path, _ := pattern.ParsePath(rapid.SampledFrom([]string{"", "/p", "/px", "/p/q"}).Draw(t, "path"))
		return Match{
			Host:      host,
			Path:      path,
			WebSocket: rapid.SampledFrom([]*bool{nil, &yes, &no}).Draw(t, "websocket"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		routes := rapid.SliceOfN(route, 1, 8).Draw(t, "routes")
		reached := make([]bool, len(routes))
		for _, host := range requestHosts {
			for _, path := range requestPaths {
				for _, websocket := range []bool{yes, no} {
					for i, m := range routes {
						if matches(m, host, path, websocket) {
							reached[i] = true
							break
						}
					}
				}
			}
		}
		seen := make(coverage)
		for i, m := range routes {
			at := Path("routes").Index(i)
			earlier, covered := seen.add(&m, at)
			if covered == reached[i] {
				t.Fatalf("route %d: covered %v, reached %v", i, covered, reached[i])
			}
			before := false
			for j := range i {
				before = before || earlier == Path("routes").Index(j)
			}
			if covered && !before {
				t.Fatalf("route %d is said to be covered by %s", i, earlier)
			}
		}
	})
}
