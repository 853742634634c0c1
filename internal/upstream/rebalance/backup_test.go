package rebalance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/upstream/rebalance"
)

// The sessions of a backup stay when the primaries are back: they belong to no share, and
// the shares of the others don't count them.
func TestBackupsHaveNoPart(t *testing.T) {
	for _, all := range []bool{false, true} {
		spec := pool.Spec{Name: "chat"}
		for i := range 3 {
			spec.Backends = append(spec.Backends, pool.BackendSpec{Address: fmt.Sprintf("10.0.0.%d:80", i+1), Backup: all || i == 2})
		}
		r := pool.New(pool.Options{})
		defer r.Close()
		pools, _ := r.Apply([]pool.Spec{spec})
		members := pools["chat"].Members
		for i, n := range []int{100, 100, 1000} {
			for range n {
				members[i].Backend.TryAcquire()
			}
		}
		p := rebalance.Planner{Rules: rebalance.Rules{Above: 0.1, Rate: 100}}
		list := rebalance.Snapshot(members, nil)
		if p.Step(time.Now(), list); p.State().Active != all {
			t.Errorf("all are backups %v: %+v", all, p.State())
		}
	}
}
