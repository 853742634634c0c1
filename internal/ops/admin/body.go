package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

// read decodes the body of a request, a JSON object, into a struct. Names must be those
// of its fields. A body that isn't needed may be missing.
func read(w http.ResponseWriter, r *http.Request, into any, needed bool) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit))
	}
	if err != nil {
		return problem(http.StatusBadRequest, "", "the body didn't arrive whole")
	}
	if len(body) == 0 && !needed {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "", fmt.Sprintf("the body has the Content-Type %q: want application/json", r.Header.Get("Content-Type")))
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(body, &values); err != nil || values == nil {
		detail := "the body is not a JSON object"
		if err != nil {
			detail += ": " + err.Error()
		}
		return problem(http.StatusBadRequest, "", detail)
	}
	fields := map[string]reflect.Value{}
	fieldsOf(reflect.ValueOf(into).Elem(), fields)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		field, ok := fields[name]
		if !ok {
			return api.Invalid(name, "there is no key %q here: want %s", name, oneOf(maps.Keys(fields)))
		}
		if string(values[name]) == "null" {
			return api.Invalid(name, "%s is null: leave it out", name)
		}
		if err := json.Unmarshal(values[name], field.Addr().Interface()); err != nil {
			return api.Invalid(name, "%s is %s, want %s", name, values[name], kindOf(field.Type()))
		}
		if _, closes := into.(*api.CloseRequest); closes && name != "reason" && field.Kind() == reflect.String && field.String() == "" {
			// A script whose variable is empty would close more than it means.
			return api.Invalid(name, "%s is empty: say what it is, or leave it out", name)
		}
	}
	return nil
}

// fieldsOf collects the fields of a struct by the names that they have in JSON.
func fieldsOf(v reflect.Value, fields map[string]reflect.Value) {
	for field, value := range v.Fields() {
		if field.Anonymous {
			fieldsOf(value, fields)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields[name] = value
	}
}

func kindOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}

// query returns the parameters of a request, each of which must be one of names and occur
// once.
func query(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problem(http.StatusBadRequest, "", "the query has an invalid escape or a semicolon: write %25 for % and %3B for ;")
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		switch {
		case len(names) == 0:
			return nil, api.Invalid(name, "there are no parameters here")
		case !slices.Contains(names, name):
			return nil, api.Invalid(name, "there is no parameter %q here: want %s", name, oneOf(slices.Values(names)))
		case len(q[name]) > 1:
			return nil, api.Invalid(name, "%s is there %d times", name, len(q[name]))
		}
	}
	return q, nil
}

func oneOf(words func(func(string) bool)) string {
	list := slices.Sorted(words)
	switch len(list) {
	case 0:
		return "none"
	case 1:
		return list[0]
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}
