package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Resolve finds a backend by "POOL/BACKEND". Both names may have slashes, so the
// balancer is asked which backends there are. The error proposes backends for a name that
// doesn't exist.
func (c *Client) Resolve(ctx context.Context, name string) (pool, backend string, err error) {
	pools, err := c.Pools(ctx)
	if err != nil {
		return "", "", err
	}
	return find(pools, name)
}

func find(pools []api.Pool, name string) (pool, backend string, err error) {
	swapped := name
	if first, second, ok := strings.Cut(name, "/"); ok {
		swapped = second + "/" + first
	}
	var meant []string
	for _, p := range pools {
		for i := range p.Backends {
			b := &p.Backends[i]
			full := p.Name + "/" + b.Name
			switch {
			case b.State == "removed":
			case full == name:
				return p.Name, b.Name, nil
			case b.Name == name || full == swapped:
				meant = append(meant, fmt.Sprintf("%q", full))
			}
		}
	}
	hint := ""
	if len(meant) > 0 && len(meant) <= 3 {
		hint = " (did you mean " + strings.Join(meant, " or ") + "?)"
	}
	return "", "", fmt.Errorf("there is no backend %q: want POOL/BACKEND, as holdfast status lists them%s", name, hint)
}
