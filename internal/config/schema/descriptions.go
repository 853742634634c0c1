package schema

import (
	_ "embed"
	"encoding/json"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/config"
)

//go:embed descriptions.json
var descriptions []byte

var byPath = sync.OnceValue(func() (texts map[config.Path]string) {
	if err := json.Unmarshal(descriptions, &texts); err != nil {
		panic(err) // the file is made by a test
	}
	return texts
})

// Describe returns what docs/config.md says about a key of a configuration file, at the
// path that File has for it. It doesn't need that document: "go test
// ./internal/config/schema -update" takes the texts from there.
func Describe(p config.Path) string { return byPath()[p] }
