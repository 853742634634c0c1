package cli

import (
	"encoding/json"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config/schema"
)

type schemaCommand struct{}

// Help is kong's detailed help.
func (schemaCommand) Help() string {
	return `An editor with support for YAML completes keys and marks mistakes by it. It knows
types, words and ranges; holdfast check knows the other rules, too.

  holdfast schema > holdfast.schema.json`
}

func (schemaCommand) Run(e *env.Env) error {
	out := json.NewEncoder(e.Out)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(schema.File(schema.Describe))
}
