package command

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/controller"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale/cost"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale/keda"
)

// Scaling has the flags for those who scale pods.
type Scaling struct {
	PeerService   string `placeholder:"NAME" help:"Headless Service in the pod's namespace whose endpoints are the replicas: their sessions are added up for KEDA and for deletion costs (default: there are no others)."`
	ScalerAddress string `placeholder:"ADDRESS" help:"Address for KEDA, such as :9902 (default: none)."`
	ScalerTLSCert string `name:"scaler-tls-cert" placeholder:"FILE" help:"Certificate for KEDA's connections. Read again when it changes (default: plain connections)."`
	ScalerTLSKey  string `name:"scaler-tls-key" placeholder:"FILE" help:"Its key."`
	DeletionCost  bool   `default:"true" negatable:"" help:"Write the annotation controller.kubernetes.io/pod-deletion-cost of pods, so that a ReplicaSet removes the emptiest first (default true)."`
}

// options adds what these flags ask for to those of the controller.
func (f *Scaling) options(o *controller.Options) error {
	if f.PeerService != "" && (o.Name == "" || o.Namespace == "") {
		return usage("--peer-service is in the pod's namespace: set --pod-name and --pod-namespace, or POD_NAME and POD_NAMESPACE, too")
	}
	var running atomic.Pointer[controller.Controller]
	local := scale.NewLocal(scale.LocalOptions{Replica: o.Name, Loads: func() []app.PoolLoad { return running.Load().Loads() }})
	all := scale.NewCluster(scale.ClusterOptions{
		Local: local, Log: func() *slog.Logger { return running.Load().Log() },
		Peers: func() []scale.Peer {
			s := running.Load().Snapshot()
			if s == nil || f.PeerService == "" {
				return nil
			}
			return scale.Peers(s, o.Namespace, f.PeerService, o.Name)
		},
	})
	scaler, err := f.scaler(keda.Options{Loads: all.Loads})
	if err != nil {
		return err
	}
	if o.Handlers == nil {
		o.Handlers = map[string]http.Handler{}
	}
	o.Handlers["GET /loads"] = local
	o.App.Collectors = append(o.App.Collectors, local, all)
	o.Always = append(o.Always, func(ctx context.Context, c *controller.Controller) {
		running.Store(c)
		defer all.Close()
		var group sync.WaitGroup
		defer group.Wait()
		group.Go(func() { local.Run(ctx) })
		if scaler != nil {
			if err := scaler(ctx); err != nil {
				c.Log().Error("KEDA isn't answered any more", "error", err)
			}
		}
	})
	if f.DeletionCost {
		o.Leading = append(o.Leading, func(ctx context.Context, c *controller.Controller) {
			running.Store(c)
			cost.Run(ctx, cost.Options{Loads: all.Loads, Snapshot: c.Snapshot, Client: c.Client(), Log: c.Log()})
		})
	}
	return nil
}

// scaler listens for KEDA, and returns what answers it; nil if it isn't wanted.
func (f *Scaling) scaler(o keda.Options) (func(context.Context) error, error) {
	if f.ScalerAddress == "" {
		if f.ScalerTLSCert != "" || f.ScalerTLSKey != "" {
			return nil, usage("--scaler-tls-cert and --scaler-tls-key have no effect without --scaler-address")
		}
		return nil, nil
	}
	if (f.ScalerTLSCert == "") != (f.ScalerTLSKey == "") {
		return nil, usage("a certificate needs its key: give both --scaler-tls-cert and --scaler-tls-key")
	}
	if f.ScalerTLSCert != "" {
		var err error
		if o.TLS, err = keda.Files(f.ScalerTLSCert, f.ScalerTLSKey); err != nil {
			return nil, fmt.Errorf("--scaler-tls-cert: %w", err)
		}
	}
	ln, err := net.Listen("tcp", f.ScalerAddress)
	if err != nil {
		return nil, fmt.Errorf("--scaler-address: %w", err)
	}
	return func(ctx context.Context) error { return keda.Serve(ctx, ln, o) }, nil
}
