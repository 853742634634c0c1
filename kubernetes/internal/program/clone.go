package program

import (
	"reflect"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// clone copies a configuration with all its lists and sections, since Validate brings
// values into their normal form in place. Values with fields that aren't exported, such as
// patterns and prefixes, never change and are shared.
func clone(c *config.Config) *config.Config {
	copied := *c
	deepen(reflect.ValueOf(&copied).Elem())
	return &copied
}

// deepen replaces what v shares with the value that it was copied from.
func deepen(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				deepen(v.Field(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			deepen(v.Index(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(copied, v)
		for i := range copied.Len() {
			deepen(copied.Index(i))
		}
		v.Set(copied)
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		copied := reflect.New(v.Type().Elem())
		copied.Elem().Set(v.Elem())
		deepen(copied.Elem())
		v.Set(copied)
	}
}
