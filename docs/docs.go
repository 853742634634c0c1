// Package docs has those pages of the documentation that the binary contains.
package docs

import _ "embed"

// Config is config.md, which describes the configuration file. The man page
// holdfast.yaml(5) is made of it.
//
//go:embed config.md
var Config string
