package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// validator is a schema as a program reads it that knows what it should mean from the
// drafts alone: JSON Schema 2020-12, the keywords that schemas here use.
type validator struct {
	Schema   string                `json:"$schema"`
	Title    string                `json:"title"`
	Ref      string                `json:"$ref"`
	Text     string                `json:"description"`
	Type     any                   `json:"type"`
	Enum     []any                 `json:"enum"`
	Pattern  string                `json:"pattern"`
	Minimum  *float64              `json:"minimum"`
	Maximum  *float64              `json:"maximum"`
	MinItems int                   `json:"minItems"`
	AnyOf    []*validator          `json:"anyOf"`
	Items    *validator            `json:"items"`
	Keys     map[string]*validator `json:"properties"`
	Others   json.RawMessage       `json:"additionalProperties"`
	Defs     map[string]*validator `json:"$defs"`
	Required []string              `json:"required"`
}

// check returns what is wrong with a value; "" if nothing is.
func (s *validator) check(p string, v any, root *validator) string {
	if s.Ref != "" {
		name, ok := strings.CutPrefix(s.Ref, "#/$defs/")
		if !ok || root.Defs[name] == nil {
			return fmt.Sprintf(" %s: there is no %s", p, s.Ref)
		}
		return root.Defs[name].check(p, v, root)
	}
	if s.AnyOf != nil {
		all := ""
		for _, in := range s.AnyOf {
			err := in.check(p, v, root)
			if err == "" {
				return ""
			}
			all += err
		}
		return all
	}
	if s.Type != nil && !slices.ContainsFunc(words(s.Type), func(w string) bool { return is(v, w) }) {
		return fmt.Sprintf(" %s: %v is no %v", p, v, s.Type)
	}
	if s.Enum != nil && !slices.ContainsFunc(s.Enum, func(e any) bool { return reflect.DeepEqual(e, v) }) {
		return fmt.Sprintf(" %s: %v is not in %v", p, v, s.Enum)
	}
	switch v := v.(type) {
	case string:
		if !regexp.MustCompile(s.Pattern).MatchString(v) {
			return fmt.Sprintf(" %s: %q doesn't match %s", p, v, s.Pattern)
		}
	case int:
		if s.Minimum != nil && float64(v) < *s.Minimum || s.Maximum != nil && float64(v) > *s.Maximum {
			return fmt.Sprintf(" %s: %d is out of its bounds", p, v)
		}
	case []any:
		if len(v) < s.MinItems {
			return fmt.Sprintf(" %s: too few items", p)
		}
		for i, item := range v {
			if s.Items != nil {
				if err := s.Items.check(fmt.Sprintf("%s.%d", p, i), item, root); err != "" {
					return err
				}
			}
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				return fmt.Sprintf(" %s: %s is missing", p, name)
			}
		}
		for name, value := range v {
			in := s.Keys[name]
			if in == nil && string(s.Others) == "false" {
				return fmt.Sprintf(" %s: unknown key %s", p, name)
			}
			if in == nil && s.Others != nil {
				in = new(validator)
				if err := json.Unmarshal(s.Others, in); err != nil {
					return err.Error()
				}
			}
			if in == nil {
				continue
			}
			if err := in.check(p+"."+name, value, root); err != "" {
				return err
			}
		}
	}
	return ""
}

func words(t any) (list []string) {
	if one, ok := t.(string); ok {
		return []string{one}
	}
	for _, w := range t.([]any) {
		list = append(list, w.(string))
	}
	return list
}

func is(v any, word string) bool {
	switch v := v.(type) {
	case nil:
		return word == "null"
	case bool:
		return word == "boolean"
	case string:
		return word == "string"
	case int:
		return word == "integer" || word == "number"
	case float64:
		return word == "number" || word == "integer" && v == float64(int(v))
	case []any:
		return word == "array"
	case map[string]any:
		return word == "object"
	}
	return false
}
