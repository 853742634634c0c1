package admin

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/ops/admin/openapi"
)

// The description has every endpoint, and no others.
func TestRoutes(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(openapi.JSON(), &doc); err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /health", "GET /metrics"}
	for _, e := range new(balancer).server().endpoints() {
		want = append(want, e.method+" "+e.path)
	}
	var got []string
	for path, methods := range doc.Paths {
		for method := range methods {
			if method != "parameters" {
				got = append(got, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	for _, e := range want {
		if !slices.Contains(got, e) {
			t.Errorf("openapi.yaml doesn't have %s", e)
		}
	}
	for _, e := range got {
		if !slices.Contains(want, e) {
			t.Errorf("openapi.yaml has %s, which doesn't exist", e)
		}
	}
}

// No request gets more than a refusal: no panic, no status of a failure.
func FuzzRequests(f *testing.F) {
	for _, e := range new(balancer).server().endpoints() {
		f.Add(e.method, e.path, "", "")
		f.Add(e.method, strings.NewReplacer("{pool}", "chat", "{backend}", "a%2Fb", "{id}", "x").Replace(e.path), "", `{"address":"a:1","admin":"drain","timeout":"1s","level":"info","all":true}`)
	}
	f.Add("GET", "/v1/sessions", "limit=10&pool=%zz;", "")
	f.Add("GET", "/v1/events", "follow=false&after=18446744073709551615", "")
	f.Add("POST", "/v1/sessions/close", "", `{"rate":1e400,"code":1.5,"all":null}`)
	b := &balancer{quick: true}
	handler := b.server().http.Handler
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		status, typ := request(handler, method, path, query, body)
		if status >= 500 {
			t.Errorf("%q %q?%q %q: %d", method, path, query, body, status)
		}
		if status >= 400 && typ != "application/problem+json" {
			t.Errorf("%q %q?%q %q: %d with the type %q", method, path, query, body, status, typ)
		}
	})
}

func FuzzParseTokens(f *testing.F) {
	f.Add(goodToken)
	f.Add("# x\n\n" + goodToken + "\r\n" + goodToken)
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := ParseTokens([]byte(text))
		if (err == nil) == (tokens == nil) || err == nil && len(tokens.hashes) == 0 {
			t.Errorf("%q: %v, %v", text, tokens, err)
		}
	})
}
