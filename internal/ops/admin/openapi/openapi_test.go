package openapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

func load(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(JSON())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// bodies are the types of requests and responses; others are fields of these.
var bodies = []any{api.Status{}, api.Route{}, api.NewBackend{}, api.BackendPatch{}, api.Timeout{}, api.BackendResult{}, api.Change{},
	api.SessionPage{}, api.CloseRequest{}, api.CloseResult{}, api.ReloadResult{}, api.Log{}, api.Event{}, api.Problem{}}

// The schemas have all fields of the types, with the same names and kinds, and no others.
func TestSchemas(t *testing.T) {
	doc := load(t)
	checked := map[string]bool{"Empty": true}
	for _, b := range bodies {
		check(t, doc, reflect.TypeOf(b), checked)
	}
	for name := range doc.Components.Schemas {
		if !checked[name] {
			t.Errorf("the schema %s is of no type of ops/api", name)
		}
	}
	var kinds []string
	for _, k := range doc.Components.Schemas["Event"].Value.Properties["kind"].Value.Enum {
		kinds = append(kinds, k.(string))
	}
	if !slices.Equal(kinds, api.Kinds) {
		t.Errorf("kinds of events: %v, want %v", kinds, api.Kinds)
	}
}

func check(t *testing.T, doc *openapi3.T, typ reflect.Type, checked map[string]bool) {
	t.Helper()
	if checked[typ.Name()] {
		return
	}
	checked[typ.Name()] = true
	ref := doc.Components.Schemas[typ.Name()]
	if ref == nil {
		t.Errorf("there is no schema %s", typ.Name())
		return
	}
	s := ref.Value
	if s.AdditionalProperties.Has == nil || *s.AdditionalProperties.Has {
		t.Errorf("%s allows other properties", typ.Name())
	}
	var fields, required []string
	for _, f := range reflect.VisibleFields(typ) {
		if f.Anonymous {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields = append(fields, name)
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
		if p := s.Properties[name]; p == nil {
			t.Errorf("%s has no property %s", typ.Name(), name)
		} else {
			compare(t, doc, typ.Name()+"."+name, p, f.Type, checked)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if !slices.Contains(fields, name) {
			t.Errorf("%s has the property %s, and the type doesn't", typ.Name(), name)
		}
	}
	slices.Sort(required)
	if got := slices.Sorted(slices.Values(s.Required)); !slices.Equal(got, required) {
		t.Errorf("%s requires %v, want %v", typ.Name(), got, required)
	}
}

// compare compares the schema of a property with the type of a field.
func compare(t *testing.T, doc *openapi3.T, name string, p *openapi3.SchemaRef, typ reflect.Type, checked map[string]bool) {
	t.Helper()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if len(p.Value.AllOf) == 1 { // a reference with a description
		p = p.Value.AllOf[0]
	}
	want := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Int: "integer", reflect.Uint64: "integer",
		reflect.Float64: "number", reflect.Slice: "array", reflect.Map: "object", reflect.Struct: "object"}[typ.Kind()]
	if typ == reflect.TypeFor[time.Time]() {
		want = "string"
	}
	if !p.Value.Type.Is(want) || (want == "string" && (p.Value.Format == "date-time") != (typ == reflect.TypeFor[time.Time]())) {
		t.Errorf("%s is %v %s, want %s for %v", name, p.Value.Type, p.Value.Format, want, typ)
		return
	}
	switch {
	case typ.Kind() == reflect.Slice:
		compare(t, doc, name+"[]", p.Value.Items, typ.Elem(), checked)
	case typ.Kind() == reflect.Map && typ.Elem().Kind() != reflect.Interface:
		compare(t, doc, name+"{}", p.Value.AdditionalProperties.Schema, typ.Elem(), checked)
	case typ.Kind() == reflect.Struct && want == "object":
		if _, last, _ := strings.Cut(p.Ref, "/schemas/"); last != typ.Name() {
			t.Errorf("%s is %q, want %s", name, p.Ref, typ.Name())
		}
		check(t, doc, typ, checked)
	}
}
