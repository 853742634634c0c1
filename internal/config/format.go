package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"

	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Format writes a single value of the key, or an item of a list, so that Parse reads it
// back.
func (k *Key) Format(v reflect.Value) string {
	if v.CanInt() && v.Int() == 0 && k.as != "percentage" {
		return "0"
	}
	if k.grammar != nil && k.grammar.format != nil {
		return k.grammar.format(v)
	}
	switch value := v.Interface().(type) {
	case StatusRange:
		if value.From == value.To {
			return strconv.Itoa(value.From)
		}
		return value.String()
	case pattern.Path:
		return cmp.Or(value.String(), "/")
	case fmt.Stringer:
		return value.String()
	}
	return v.String()
}

// WordsOf lists the words of a key that is a list of words, of those whose fields are true.
func (k *Key) WordsOf(section reflect.Value) (words []string, ok bool) {
	for _, f := range k.flags {
		if section.FieldByIndex(f.field).Bool() {
			words = append(words, f.word)
		}
	}
	return words, k.flags != nil
}
