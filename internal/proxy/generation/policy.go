package generation

import "github.com/holdfast-ws/holdfast/internal/stage/route"

// Policy is what a route asks of a request, and does to it, beyond choosing its
// pool. It is immutable. What must survive a reload, such as counts, is only
// referred to.
type Policy struct{}

// PolicyOf returns the policy of a rule of g.Routes.
func (g *Generation) PolicyOf(r *route.Rule) *Policy { return &g.Policies[r.Index] }
