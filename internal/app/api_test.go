package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/ops/admin/openapi"
	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// description is openapi.yaml.
func description(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openapi.JSON())
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// operations lists those of the description, in a fixed order.
func operations(doc *openapi3.T) (all []*routers.Route) {
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(path)
		for _, method := range slices.Sorted(maps.Keys(item.Operations())) {
			all = append(all, &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)})
		}
	}
	return all
}

// generator makes requests by the description, right and wrong ones.
type generator struct {
	t  *rapid.T
	op *routers.Route
}

// texts are values that mean something somewhere.
var texts = []string{"a", "b/c", "one", "two/2", "nobody", "", ".", "5s", "0", "-1s", "90", "8761h", "127.0.0.1", "10.0.0.0/8", "sub=x", "17", "now",
	"false", "127.0.0.1:1", "drain", "ready", "maint", "info", "é", "a b", "%2F", "<script>", "\x00"}

func (g *generator) text(what string) string {
	if rapid.IntRange(0, 9).Draw(g.t, what+" is odd") == 0 {
		return rapid.StringN(0, 20, 300).Draw(g.t, what)
	}
	return rapid.SampledFrom(texts).Draw(g.t, what)
}

func (g *generator) some(what string, of int) bool { return rapid.IntRange(1, of).Draw(g.t, what) == 1 }

// value makes a value for a schema, now and then one of another type.
func (g *generator) value(name string, s *openapi3.Schema) any {
	wrong := g.some(name+" is wrong", 12)
	switch {
	case wrong:
		return rapid.SampledFrom([]any{nil, true, -1, 1.5, 1e300, "text", []any{}, map[string]any{}}).Draw(g.t, name)
	case len(s.Enum) > 0:
		return rapid.SampledFrom(s.Enum).Draw(g.t, name)
	case s.Type.Is("integer"):
		return rapid.SampledFrom([]int{0, 1, 2, 256, 257, 1000, 1008, 4000, -1, 1 << 40}).Draw(g.t, name)
	case s.Type.Is("number"):
		return rapid.SampledFrom([]float64{0, 0.5, 10, 1e6, -1}).Draw(g.t, name)
	case s.Type.Is("boolean"):
		return rapid.Bool().Draw(g.t, name)
	}
	return g.text(name)
}

// request makes a request, with its path parameters.
func (g *generator) request(base string) (*http.Request, map[string]string) {
	path, query, header, in := g.op.Path, url.Values{}, http.Header{}, map[string]string{}
	for _, ref := range append(slices.Clone(g.op.PathItem.Parameters), g.op.Operation.Parameters...) {
		p := ref.Value
		switch {
		case p.In == "path":
			in[p.Name] = g.text(p.Name)
			if in[p.Name] == "" || in[p.Name] == "." {
				in[p.Name] = "x"
			}
			path = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(in[p.Name]), 1)
		case g.some("with "+p.Name, 3) && p.In == "query":
			query.Set(p.Name, fmt.Sprint(g.value(p.Name, p.Schema.Value)))
		case p.In == "header" && g.some("with "+p.Name, 3):
			header.Set(p.Name, rapid.SampledFrom([]string{"0", "3", "x"}).Draw(g.t, p.Name))
		}
	}
	if g.op.Path == "/v1/events" {
		query.Set("follow", "false")
	}
	if strings.HasPrefix(path, "/v1/") && g.some("with another parameter", 15) {
		query.Set("other", "1")
	}
	var body []byte
	if b := g.op.Operation.RequestBody; b != nil && !g.some("without a body", 10) {
		content := b.Value.Content["application/json"].Schema.Value
		values := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(content.Properties)) {
			if slices.Contains(content.Required, name) && !g.some("without "+name, 10) || g.some("with "+name, 3) {
				values[name] = g.value(name, content.Properties[name].Value)
			}
		}
		if g.some("with another key", 15) {
			values["other"] = 1
		}
		body, _ = json.Marshal(values)
		header.Set("Content-Type", "application/json")
		if g.some("broken", 20) {
			body = body[:len(body)-1]
		}
		if g.some("with another type", 20) {
			header.Set("Content-Type", "text/plain")
		}
	}
	r, err := http.NewRequest(g.op.Method, base+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header = header
	return r, in
}

// What openapi.yaml says and what a balancer does are the same: a request that it doesn't
// allow is refused, none fails, and each answer has a status and a body that it describes.
func TestAPI(t *testing.T) {
	r := startWith(t, fmt.Sprintf("listeners: [{address: \"127.0.0.1:0\"}]\nengine: portable\nlog: {level: error}\nadmin: {socket: off, address: \"127.0.0.1:0\"}\n"+
		"pools:\n  a: {backends: [{name: one, address: %q}, {name: two/2, address: %q}]}\n  b/c: {backends: [{name: one, address: %q}]}\n"+
		"routes: [{match: {path: /x}, pool: b/c}, {pool: a}]\n", backend(t, "one"), backend(t, "two"), backend(t, "three")), app.Options{})
	r.open("/")
	r.open("/x")
	doc := description(t)
	ops := operations(doc)
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
	defer openapi3filter.UnregisterBodyDecoder("text/event-stream")
	c := http.Client{Transport: &http.Transport{}, Timeout: testkit.Patience}
	defer c.CloseIdleConnections()
	byName := map[string]*routers.Route{}
	for _, op := range ops {
		byName[op.Method+" "+op.Path] = op
	}
	names := slices.Sorted(maps.Keys(byName))
	answered := map[string]map[int]bool{}
	rapid.Check(t, func(rt *rapid.T) {
		for range 10 {
			g := &generator{rt, byName[rapid.SampledFrom(names).Draw(rt, "operation")]}
			status := exchange(rt, &c, g, "http://"+r.AdminAddr())
			name := g.op.Method + " " + g.op.Path
			if answered[name] == nil {
				answered[name] = map[int]bool{}
			}
			answered[name][status] = true
		}
	})
	for _, op := range ops {
		if name := op.Method + " " + op.Path; len(answered[name]) == 0 {
			t.Errorf("%s was never asked for", name)
		}
	}
	for _, status := range []int{200, 400, 404, 415, 422} {
		if !slices.ContainsFunc(slices.Collect(maps.Values(answered)), func(m map[int]bool) bool { return m[status] }) {
			t.Errorf("no answer had the status %d: %v", status, answered)
		}
	}
}

// exchange sends a request and checks its answer.
func exchange(rt *rapid.T, c *http.Client, g *generator, base string) (status int) {
	req, in := g.request(base)
	options := &openapi3filter.Options{IncludeResponseStatus: true, SkipSettingDefaults: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	input := &openapi3filter.RequestValidationInput{Request: req, PathParams: in, Route: g.op, Options: options}
	body, _ := io.ReadAll(req.Body)
	again := func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }
	req.Body = again()
	allowed := openapi3filter.ValidateRequest(context.Background(), input)
	if req.URL.Query().Has("other") {
		allowed = fmt.Errorf("other is no parameter")
	}
	req.Body = again()
	res, err := c.Do(req)
	if err != nil {
		rt.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		rt.Fatal(err)
	}
	what := fmt.Sprintf("%s %s %q (%s) answers %d %s", req.Method, req.URL, body, req.Header.Get("Content-Type"), res.StatusCode, answer[:min(len(answer), 600)])
	switch {
	case res.StatusCode >= 500:
		rt.Errorf("%s", what)
	case allowed != nil && res.StatusCode < 400:
		rt.Errorf("%s, though the description doesn't allow it: %v", what, allowed)
	case allowed == nil && (res.StatusCode == 400 || res.StatusCode == 413 || res.StatusCode == 415):
		rt.Errorf("%s, though the description allows it", what)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: res.StatusCode, Header: res.Header, Options: options}
	if err := openapi3filter.ValidateResponse(context.Background(), out.SetBodyBytes(answer)); err != nil {
		rt.Errorf("%s: %v", what, err)
	}
	if res.Header.Get("Content-Type") == "text/event-stream" {
		checkEvents(rt, g.op.Spec, string(answer))
	}
	return res.StatusCode
}

// checkEvents checks each event of a stream.
func checkEvents(rt *rapid.T, doc *openapi3.T, stream string) {
	for line := range strings.Lines(stream) {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var e any
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			rt.Errorf("%q: %v", line, err)
		} else if err := doc.Components.Schemas["Event"].Value.VisitJSON(e); err != nil {
			rt.Errorf("%q: %v", line, err)
		}
	}
}
