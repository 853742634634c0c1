// Package openapi has the description of the admin API, in OpenAPI 3.0.
package openapi

import (
	_ "embed" // for openapi.yaml
	"encoding/json"
	"sync"

	"go.yaml.in/yaml/v4"
)

//go:embed openapi.yaml
var source []byte

// JSON returns the description as JSON. The caller must not change it.
var JSON = sync.OnceValue(func() []byte {
	var v any
	if err := yaml.Unmarshal(source, &v); err != nil {
		panic("openapi.yaml: " + err.Error()) // a test reads the file
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic("openapi.yaml: " + err.Error())
	}
	return text
})
