package schema

import (
	"reflect"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// Patterns of texts, which allow everything that package config does.
const (
	duration = `^[+-]?(0|([0-9.]+(ns|us|µs|μs|ms|s|m|h))+)$`
	rate     = `^[0-9.]+/[smh]( per backend)?$`
	second   = `^[0-9.]+(/[smh])?$`
	percent  = `^[0-9]+%$`
	size     = `^[+]?[0-9]+ *(KiB|MiB)?$`
	share    = `^[0-9]+%?$`
	status   = `^[0-9]{3}(-[0-9]{3})?$`
)

// variable is a text with a variable in it, which may stand for a number.
const variable = `\$\{`

// text is any text. In a file, text that looks like something else needs no quotes.
func (g *generator) text() *Schema {
	if g.Structural {
		return &Schema{Type: "string"}
	}
	return &Schema{Type: []string{"string", "number", "boolean"}}
}

// orVariable is a value, or in a file a variable in its place.
func (g *generator) orVariable(s *Schema) *Schema {
	if g.Structural {
		return s
	}
	return &Schema{AnyOf: []*Schema{s, {Type: "string", Pattern: variable}}}
}

// number is a number or a text with a unit.
func (g *generator) number(kind, pattern string) *Schema {
	switch {
	case !g.Structural:
		return g.orVariable(&Schema{AnyOf: []*Schema{{Type: kind}, {Type: "string", Pattern: pattern}}})
	case kind == "integer":
		return &Schema{IntOrString: true, Pattern: pattern}
	}
	return &Schema{PreserveUnknown: true}
}

// unit is a text with a unit.
func (g *generator) unit(pattern string) *Schema {
	return g.orVariable(&Schema{Type: "string", Pattern: pattern})
}

// single is the schema of a text, a number or one of a few words.
func (g *generator) single(k *config.Key, t reflect.Type) *Schema {
	if len(k.Words) > 0 {
		if s := enum(k.Words); !g.Structural {
			return g.orVariable(s)
		} else if len(s.Enum) == len(k.Words) {
			s.Type = "string"
			return s
		}
		return &Schema{PreserveUnknown: true} // words such as 1.2, which may be numbers
	}
	switch t {
	case reflect.TypeFor[config.Share]():
		return g.number("integer", share)
	case reflect.TypeFor[config.StatusRange]():
		return g.number("integer", status)
	}
	lo, hi, zero, bounded := k.Bounds()
	switch k.Grammar() {
	case "duration", "seconds":
		if zero { // which needs no unit
			s := g.number("integer", duration)
			if nothing := new(float64); g.Structural {
				s.Minimum, s.Maximum = nothing, nothing
			} else {
				s.AnyOf[0].AnyOf[0].Minimum, s.AnyOf[0].AnyOf[0].Maximum = nothing, nothing
			}
			return s
		}
		return g.unit(duration)
	case "integer", "weight", "close code", "number":
		s := &Schema{Type: "integer"}
		if k.Grammar() == "number" {
			s.Type = "number"
		}
		if bounded {
			if zero {
				lo = 0
			}
			s.Minimum, s.Maximum = &lo, &hi
		}
		return g.orVariable(s)
	case "rate":
		return g.unit(rate)
	case "per second":
		return g.number("number", second)
	case "percentage":
		return g.unit(percent)
	case "size":
		return g.number("integer", size)
	}
	return g.text()
}
