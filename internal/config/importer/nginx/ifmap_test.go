package nginx

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
)

// TestIfOfMap: a block that is run for the value that a map has by default isn't run for
// requests with other values.
func TestIfOfMap(t *testing.T) {
	text := `map $http_x $closed { default 1; open 0; ~^ops 0; }
		server { listen 80; location / { if ($closed) { return 403; } proxy_pass http://127.0.0.1:1; } }`
	res, err := convert([]syntax.Text{{Name: "f", Data: []byte(text)}}, "/", nil, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	first := res.Config.Routes[0]
	if first.Respond == nil || first.Respond.Status != 403 || len(first.Match.Not) != 2 {
		t.Fatalf("the first route is %+v", first)
	}
	for i, want := range []string{"~(?i)^open$", "~^ops"} {
		not := first.Match.Not[i]
		if len(not.Header) != 1 || not.Header[0][1] != want || not.PathBegins != "" {
			t.Errorf("it excludes %+v, want X: %s", not, want)
		}
	}
}

// TestMapOfPaths: the keys of a map ignore case, also if they are paths.
func TestMapOfPaths(t *testing.T) {
	text := `map $uri $closed { default 0; /admin 1; }
		server { listen 80; location / { if ($closed) { return 403; } proxy_pass http://127.0.0.1:1; } }`
	res, err := convert([]syntax.Text{{Name: "f", Data: []byte(text)}}, "/", nil, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if first := res.Config.Routes[0]; first.Respond == nil || first.Match.PathRegex.String() != "(?i)^/admin$" {
		t.Errorf("the first route is %+v", first)
	}
}
