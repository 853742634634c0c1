// Package keda is an external scaler for KEDA: it says by gRPC how busy a Service is, added
// up over all replicas. https://keda.sh/docs/latest/concepts/external-scalers/
package keda

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
)

const (
	// poll is how often a stream looks whether its trigger has become active.
	poll = 2 * time.Second
	// stopTimeout is how long a call may go on when the process ends.
	stopTimeout = 2 * time.Second
	// maxMessage bounds a request. Annotations of an object are 256 KiB at most, and a
	// trigger's metadata is far smaller.
	maxMessage = 64 << 10
	maxStreams = 10_000 // of one connection: KEDA has one for all its triggers
)

// Options are what Serve needs.
type Options struct {
	// Loads returns the sums over all replicas.
	Loads func() (scale.Loads, error)
	// TLS is nil for plain connections.
	TLS *tls.Config
}

// Serve answers on ln until ctx ends.
func Serve(ctx context.Context, ln net.Listener, o Options) error {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(10 * time.Second),
		// A client that has vanished has streams, which must end.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if o.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)))
	}
	g := grpc.NewServer(options...)
	externalscaler.RegisterExternalScalerServer(g, &server{o: o, ctx: ctx})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		force := time.AfterFunc(stopTimeout, g.Stop)
		defer force.Stop()
		g.GracefulStop()
	}()
	err := g.Serve(ln)
	if ctx.Err() != nil {
		<-ended
		return nil
	}
	return fmt.Errorf("the scaler for KEDA on %s: %w", ln.Addr(), err)
}

// server implements externalscaler.ExternalScalerServer.
type server struct {
	externalscaler.UnimplementedExternalScalerServer
	o   Options
	ctx context.Context // of Serve: streams end with it
}

// value returns the figure that a trigger asks for. While a replica doesn't say how many
// sessions it has, that is an error beside the figure without it: KEDA and the
// autoscaler leave everything as it is then, and remove no pods because of a sum that is
// too small.
func (s *server) value(ref *externalscaler.ScaledObjectRef) (t trigger, v float64, err error) {
	if t, err = parse(ref); err != nil {
		return t, 0, err
	}
	loads, err := s.o.Loads()
	if err != nil {
		return t, 0, failure(codes.Unavailable, ref, "%v", err)
	}
	load, ok := loads.Services[t.service]
	if !ok {
		return t, 0, failure(codes.NotFound, ref, "no Ingress or route of this controller leads to the Service %s", hint.Quote(t.service.Name))
	}
	v = t.metric.of(load)
	if len(loads.Missing) > 0 {
		err = failure(codes.Unavailable, ref, "the replica %s doesn't say how many sessions it has", hint.Quote(loads.Missing[0]))
	}
	return t, v, err
}

// IsActive reports whether there is more than the trigger's activation.
func (s *server) IsActive(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.IsActiveResponse, error) {
	t, v, err := s.value(ref)
	if err != nil && (status.Code(err) != codes.Unavailable || v <= t.activation) {
		return nil, err
	}
	return &externalscaler.IsActiveResponse{Result: v > t.activation}, nil
}

// StreamIsActive sends what IsActive returns, at once and after each change. While a Service
// isn't known, nothing is sent.
func (s *server) StreamIsActive(ref *externalscaler.ScaledObjectRef, stream grpc.ServerStreamingServer[externalscaler.IsActiveResponse]) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	sent, before := false, false
	for {
		t, v, err := s.value(ref)
		switch code := status.Code(err); {
		case code == codes.InvalidArgument || code == codes.PermissionDenied:
			return err // it won't become better
		case err == nil && (!sent || before != (v > t.activation)):
			sent, before = true, v > t.activation
			if err := stream.Send(&externalscaler.IsActiveResponse{Result: before}); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-s.ctx.Done():
			return status.Error(codes.Unavailable, "holdfast: this replica is shutting down")
		}
	}
}

// GetMetricSpec returns the trigger's target.
func (s *server) GetMetricSpec(_ context.Context, ref *externalscaler.ScaledObjectRef) (*externalscaler.GetMetricSpecResponse, error) {
	t, err := parse(ref)
	if err != nil {
		return nil, err
	}
	// Older versions of KEDA read the whole number only, which must not be 0.
	return &externalscaler.GetMetricSpecResponse{MetricSpecs: []*externalscaler.MetricSpec{
		{MetricName: t.metric.name, TargetSize: int64(math.Ceil(t.target)), TargetSizeFloat: t.target},
	}}, nil
}

// GetMetrics returns the trigger's figure, of all pods together.
func (s *server) GetMetrics(_ context.Context, r *externalscaler.GetMetricsRequest) (*externalscaler.GetMetricsResponse, error) {
	t, v, err := s.value(r.GetScaledObjectRef())
	if err != nil {
		return nil, err
	}
	if r.GetMetricName() != t.metric.name {
		return nil, invalid(r.GetScaledObjectRef(), "the trigger's metric is %s, and not %s", t.metric.name, hint.Quote(r.GetMetricName()))
	}
	return &externalscaler.GetMetricsResponse{MetricValues: []*externalscaler.MetricValue{
		{MetricName: t.metric.name, MetricValue: int64(math.Ceil(v)), MetricValueFloat: v},
	}}, nil
}
