//go:build nodemo

package cli

import (
	"errors"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
)

// The binary in packages and images is for servers. It has no demo, whose Redis would be a
// third of it.

func (c *demoCommand) Run(*env.Env) error {
	return errors.New("this binary has no demo, since it is for servers: use the one in an archive of the release (docs/install.md), or go run ./cmd/holdfast demo in the source")
}

func (c *demoServerCommand) Run(e *env.Env) error { return (&demoCommand{}).Run(e) }
