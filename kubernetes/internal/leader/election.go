// Package leader does what only one of several replicas may do: it writes statuses,
// Events and the Services of Gateways. Every replica serves clients, whether it leads or
// not.
//
// Elect and Writer.Run block until their context is done. Writer.Want never blocks; the
// program calls it after each change.
package leader

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Election says who leads: the holder of a Lease.
type Election struct {
	REST      *rest.Config
	Namespace string // of the Lease
	Lease     string // its name
	Identity  string // unique among the replicas
	// Duration is how long a leader may not be heard of before another takes over; 0
	// means 15 s. A leader that can't renew gives up after two thirds of it.
	Duration time.Duration
	Log      *slog.Logger
}

// Elect calls lead each time that this replica leads, with a context that ends when it no
// longer does, until ctx is done. The Lease is released when ctx is done, so that another
// replica leads at once.
func Elect(ctx context.Context, e Election, lead func(context.Context)) error {
	if e.Duration == 0 {
		e.Duration = 15 * time.Second
	}
	leases, err := coordinationv1.NewForConfig(e.REST)
	if err != nil {
		return err
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Lease},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
	}
	// The elector calls lead on a goroutine of its own and doesn't wait for its end.
	var leading sync.Mutex
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: e.Duration, RenewDeadline: e.Duration * 2 / 3, RetryPeriod: e.Duration * 2 / 15,
			ReleaseOnCancel: true, Name: e.Lease,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					leading.Lock()
					defer leading.Unlock()
					if ctx.Err() != nil {
						return
					}
					e.Log.Info("this replica leads: it writes statuses", "lease", e.Namespace+"/"+e.Lease, "identity", e.Identity)
					lead(ctx)
				},
				OnStoppedLeading: func() {},
				OnNewLeader: func(identity string) {
					if identity != e.Identity {
						e.Log.Info("another replica leads", "identity", identity)
					}
				},
			},
		})
		if err != nil {
			return fmt.Errorf("leader election: %w", err)
		}
		elector.Run(ctx)
		leading.Lock()
		leading.Unlock()
	}
	return nil
}
