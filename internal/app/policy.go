package app

import (
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
)

// policies makes the policies of routeRules(c), in the same order.
func policies(c *config.Config) []generation.Policy {
	return make([]generation.Policy, max(1, len(c.Routes)))
}
