// Package schema describes sections of a configuration as JSON Schemas, by the same tags
// as config/yaml reads them: for editors, and for resources in Kubernetes that have the keys
// of the file.
//
// A schema accepts everything that the configuration accepts. What it accepts may still be
// wrong, since rules about several keys and the grammars of most texts aren't in it.
package schema

import (
	"reflect"
	"slices"
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// Schema is a JSON Schema (draft 2020-12), or one in the dialect of Kubernetes.
type Schema struct {
	Dialect     string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        any                `json:"type,omitempty"` // a word or several
	Enum        []any              `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *float64           `json:"minimum,omitempty"`
	Maximum     *float64           `json:"maximum,omitempty"`
	MinItems    int                `json:"minItems,omitempty"`
	AnyOf       []*Schema          `json:"anyOf,omitempty"`
	Items       *Schema            `json:"items,omitempty"`
	Properties  map[string]*Schema `json:"properties,omitempty"`
	// Additional is false, or the schema of the values of a mapping.
	Additional any                `json:"additionalProperties,omitempty"`
	Required   []string           `json:"required,omitempty"`
	Defs       map[string]*Schema `json:"$defs,omitempty"`

	IntOrString     bool `json:"x-kubernetes-int-or-string,omitempty"`
	PreserveUnknown bool `json:"x-kubernetes-preserve-unknown-fields,omitempty"`
}

// Options say what a schema is for.
type Options struct {
	// Structural makes schemas as CustomResourceDefinitions need them: each value has one
	// type, or any. Unknown keys are allowed and kept, so that whoever reads the resource
	// can report them: the API server would drop a misspelt key without a word.
	Structural bool
	// Describe returns the description of a key at a path; nil describes none.
	Describe func(p config.Path) string
	// Skip leaves out a key; nil leaves out none.
	Skip func(p config.Path, k *config.Key) bool
}

// Of returns the schema of a section, without its Dialect. p is its path.
func Of(section reflect.Type, p config.Path, o Options) *Schema {
	g := &generator{Options: o, defs: map[string]*Schema{}}
	s := g.section(section, p)
	if len(g.defs) > 0 {
		s.Defs = g.defs
	}
	return s
}

// Draft is the Dialect of schemas that aren't structural.
const Draft = "https://json-schema.org/draft/2020-12/schema"

// File returns the schema of a configuration file.
func File(describe func(config.Path) string) *Schema {
	s := Of(reflect.TypeFor[config.Config](), "", Options{Describe: describe})
	s.Dialect, s.Title = Draft, "holdfast.yaml"
	return s
}

type generator struct {
	Options
	defs map[string]*Schema // by type, of those that have themselves in them
}

func (g *generator) section(t reflect.Type, p config.Path) *Schema {
	s := &Schema{Type: g.orNothing("object"), Properties: map[string]*Schema{}}
	if g.Structural {
		s.PreserveUnknown = true
	} else {
		s.Additional = false
	}
	keys := config.KeysOf(t)
	for i := range keys {
		k := &keys[i]
		at := p.Key(k.Name)
		if g.Skip != nil && g.Skip(at, k) {
			continue
		}
		value := g.key(t, k, at)
		if g.Describe != nil && value.Ref == "" {
			value.Description = g.Describe(at)
		}
		s.Properties[k.Name] = value
	}
	if short, ok := config.ShortKey(t); ok {
		if g.Structural {
			return &Schema{PreserveUnknown: true}
		}
		return &Schema{AnyOf: []*Schema{g.key(t, short, p.Key(short.Name)), s}}
	}
	return s
}

// orNothing is a type, or also null: in a file, nothing is an empty section or list.
func (g *generator) orNothing(word string) any {
	if g.Structural {
		return word
	}
	return []string{word, "null"}
}

// key is the schema of a key's value.
func (g *generator) key(section reflect.Type, k *config.Key, p config.Path) *Schema {
	if words, ok := k.Flags(); ok {
		return g.oneOrMore(enum(words))
	}
	t := k.Type(section)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[config.Headers]():
		return &Schema{Type: g.orNothing("object"), Additional: g.text()}
	case t.Kind() == reflect.Bool:
		return g.orVariable(&Schema{Type: "boolean"})
	case config.IsSection(t):
		return g.recursive(t, p)
	case t.Kind() == reflect.Slice && config.IsSection(t.Elem()) && config.IsNamed(t.Elem()):
		return &Schema{Type: g.orNothing("object"), Additional: g.recursive(t.Elem(), p.Named("NAME"))}
	case t.Kind() == reflect.Slice && config.IsSection(t.Elem()):
		return &Schema{Type: g.orNothing("array"), Items: g.recursive(t.Elem(), p.Index(0))}
	case t.Kind() == reflect.Slice && k.Some != "":
		return g.oneOrMore(g.single(k, t.Elem()))
	case t.Kind() == reflect.Slice:
		return &Schema{Type: g.orNothing("array"), Items: g.single(k, t.Elem())}
	}
	return g.single(k, t)
}

// recursive is section for a type that may have itself in it: then there is a
// definition of it, to refer to.
func (g *generator) recursive(t reflect.Type, p config.Path) *Schema {
	if g.Structural || !slices.Contains(below(t), t) {
		return g.section(t, p)
	}
	name := t.Name()
	if g.defs[name] == nil {
		g.defs[name] = &Schema{} // for references from within
		*g.defs[name] = *g.section(t, p)
	}
	return &Schema{Ref: "#/$defs/" + name}
}

// below lists the sections in a section.
func below(t reflect.Type) (list []reflect.Type) {
	keys := config.KeysOf(t)
	for i := range keys {
		if _, ok := keys[i].Flags(); ok {
			continue
		}
		in := keys[i].Type(t)
		for in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice {
			in = in.Elem()
		}
		if !config.IsSection(in) {
			continue
		}
		list = append(list, in)
		if in != t {
			list = append(list, below(in)...)
		}
	}
	return list
}

// oneOrMore is a list with at least one item, or an item alone.
func (g *generator) oneOrMore(item *Schema) *Schema {
	if g.Structural {
		return &Schema{PreserveUnknown: true}
	}
	return &Schema{AnyOf: []*Schema{item, {Type: "array", Items: item, MinItems: 1}}}
}

func enum(words []string) *Schema {
	s := &Schema{}
	for _, w := range words {
		s.Enum = append(s.Enum, w)
		if n, err := strconv.ParseFloat(w, 64); err == nil { // 1.2 without quotes
			s.Enum = append(s.Enum, n)
		}
	}
	return s
}
