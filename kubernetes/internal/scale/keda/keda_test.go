package keda

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// busy is a source of loads.
type busy struct {
	mu      sync.Mutex
	load    scale.Load
	missing []string
	err     error
}

func (b *busy) set(load scale.Load, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.load, b.err = load, err
}

func (b *busy) Loads() (scale.Loads, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return scale.Loads{Services: map[types.NamespacedName]scale.Load{
		{Namespace: "shop", Name: "chat"}: b.load, {Namespace: "shop", Name: "idle"}: {}}, Missing: b.missing}, b.err
}

// start serves b and returns KEDA's own client of it, and a function that ends the server.
func start(t *testing.T, b *busy, server *tls.Config, client credentials.TransportCredentials) (c externalscaler.ExternalScalerClient, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, ln, Options{Loads: b.Loads, TLS: server}) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(testkit.Patience):
			t.Error("the server doesn't end")
		}
	})
	t.Cleanup(stop)
	conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(client))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return externalscaler.NewExternalScalerClient(conn), stop
}

// ref is a ScaledObject in shop with a trigger's metadata as "key=value" pairs.
func ref(metadata ...string) *externalscaler.ScaledObjectRef {
	r := &externalscaler.ScaledObjectRef{Name: "scale-chat", Namespace: "shop", ScalerMetadata: map[string]string{
		"scalerAddress": "holdfast-scaler.holdfast:9902", "service": "chat", "targetValue": "500"}}
	for _, pair := range metadata {
		key, value, ok := strings.Cut(pair, "=")
		if r.ScalerMetadata[key] = value; !ok {
			delete(r.ScalerMetadata, key)
		}
	}
	return r
}

var patient = func(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	t.Cleanup(cancel)
	return ctx
}

func TestFigures(t *testing.T) {
	b := &busy{}
	b.set(scale.Load{Sessions: 1200, Queue: 7, MessagesPerSecond: 1234.5, NewPerSecond: 0.25}, nil)
	c, _ := start(t, b, nil, insecure.NewCredentials())
	for _, tt := range []struct {
		metadata []string
		name     string
		value    float64
		target   float64
		active   bool
	}{
		{nil, "holdfast-sessions", 1200, 500, true},
		{[]string{"metric=sessions", "activation=1200", "namespace=shop"}, "holdfast-sessions", 1200, 500, false},
		{[]string{"activation=1199.5"}, "holdfast-sessions", 1200, 500, true},
		{[]string{"metric=messagesPerSecond", "targetValue=0.5"}, "holdfast-messages-per-second", 1234.5, 0.5, true},
		{[]string{"metric=newSessionsPerSecond", "activation=1"}, "holdfast-new-sessions-per-second", 0.25, 500, false},
		{[]string{"metric=queue"}, "holdfast-queue", 7, 500, true},
		{[]string{"service=idle"}, "holdfast-sessions", 0, 500, false},
	} {
		r := ref(tt.metadata...)
		spec, err := c.GetMetricSpec(patient(t), r)
		if err != nil || len(spec.MetricSpecs) != 1 {
			t.Fatalf("%v: %v, %v", tt.metadata, spec, err)
		}
		s := spec.MetricSpecs[0]
		if s.MetricName != tt.name || s.TargetSizeFloat != tt.target || s.TargetSize < 1 {
			t.Errorf("%v: %v", tt.metadata, s)
		}
		got, err := c.GetMetrics(patient(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: r, MetricName: s.MetricName})
		if err != nil || len(got.MetricValues) != 1 {
			t.Fatalf("%v: %v, %v", tt.metadata, got, err)
		}
		// KEDA takes the whole number if the other is 0.
		if v := got.MetricValues[0]; v.MetricName != tt.name || v.MetricValueFloat != tt.value || float64(v.MetricValue) < tt.value {
			t.Errorf("%v: %v", tt.metadata, v)
		}
		active, err := c.IsActive(patient(t), r)
		if err != nil || active.Result != tt.active {
			t.Errorf("%v: active %v, %v", tt.metadata, active, err)
		}
	}
}

// A sum that is too small, since a replica doesn't answer, removes no pods.
func TestMissingReplica(t *testing.T) {
	b := &busy{missing: []string{"holdfast-1"}}
	c, _ := start(t, b, nil, insecure.NewCredentials())
	for _, tt := range []struct {
		sessions int
		active   codes.Code
	}{{0, codes.Unavailable}, {3, codes.OK}} {
		b.set(scale.Load{Sessions: tt.sessions}, nil)
		r, err := c.IsActive(patient(t), ref())
		if status.Code(err) != tt.active || err == nil && !r.Result {
			t.Errorf("%d sessions: active is %v, %v", tt.sessions, r, err)
		}
		_, err = c.GetMetrics(patient(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref(), MetricName: "holdfast-sessions"})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `"holdfast-1"`) {
			t.Errorf("%d sessions: the error is %v", tt.sessions, err)
		}
	}
}

func TestErrors(t *testing.T) {
	b := &busy{}
	c, _ := start(t, b, nil, insecure.NewCredentials())
	for _, tt := range []struct {
		metadata string
		code     codes.Code
		message  string
	}{
		{"service", codes.InvalidArgument, `the name of the Service is missing in the trigger's metadata: write for example service: chat`},
		{"service=a/b", codes.InvalidArgument, `"a/b" is no name of a Service`},
		{"service=%s%d", codes.InvalidArgument, `"%s%d" is no name of a Service`},
		{"namespace=other", codes.PermissionDenied, `the Service must be in the namespace of the ScaledObject, and not in "other"`},
		{"metric=session", codes.InvalidArgument, `unknown metric "session": write sessions, messagesPerSecond, newSessionsPerSecond or queue (did you mean "sessions"?)`},
		{"targetValue", codes.InvalidArgument, `the target is missing`},
		{"targetValue=0", codes.InvalidArgument, `bad targetValue "0": write a number above 0`},
		{"targetValue=NaN", codes.InvalidArgument, `bad targetValue "NaN"`},
		{"targetValue=-5", codes.InvalidArgument, `bad targetValue "-5"`},
		{"targetValue=1e300", codes.InvalidArgument, `bad targetValue "1e300"`},
		{"targetValue=many", codes.InvalidArgument, `bad targetValue "many"`},
		{"activation=-1", codes.InvalidArgument, `bad activation "-1": write a number from 0 on`},
		{"targetvalue=5", codes.InvalidArgument, `unknown key "targetvalue" in the trigger's metadata (did you mean "targetValue"?)`},
		{"service=unknown", codes.NotFound, `no Ingress or route of this controller leads to the Service "unknown"`},
	} {
		r := ref(tt.metadata)
		check := func(call string, err error) {
			t.Helper()
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), `holdfast: ScaledObject "shop/scale-chat": `+tt.message) {
				t.Errorf("%s, %s: %v", tt.metadata, call, err)
			}
		}
		_, err := c.IsActive(patient(t), r)
		check("IsActive", err)
		_, err = c.GetMetrics(patient(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: r, MetricName: "holdfast-sessions"})
		check("GetMetrics", err)
		if tt.code == codes.NotFound {
			continue // the other two don't look, and wait
		}
		_, err = c.GetMetricSpec(patient(t), r)
		check("GetMetricSpec", err)
		stream, err := c.StreamIsActive(patient(t), r)
		if err == nil {
			_, err = stream.Recv()
		}
		check("StreamIsActive", err)
	}
	_, err := c.GetMetrics(patient(t), &externalscaler.GetMetricsRequest{ScaledObjectRef: ref(), MetricName: "s0-holdfast-sessions"})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("another metric: %v", err)
	}
	if _, err := c.IsActive(patient(t), nil); status.Code(err) != codes.InvalidArgument {
		t.Errorf("nothing: %v", err)
	}
	b.set(scale.Load{}, scale.ErrUnknown)
	if _, err := c.IsActive(patient(t), ref()); status.Code(err) != codes.Unavailable {
		t.Errorf("without loads: %v", err)
	}
	large := ref("service=" + strings.Repeat("x", maxMessage))
	if _, err := c.IsActive(patient(t), large); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a large request: %v", err)
	}
}

// A stream says at once whether there is load, after each change, and nothing in between.
func TestStream(t *testing.T) {
	b := &busy{}
	c, stop := start(t, b, nil, insecure.NewCredentials())
	stream, err := c.StreamIsActive(patient(t), ref("activation=10"))
	if err != nil {
		t.Fatal(err)
	}
	want := func(active bool) {
		t.Helper()
		r, err := stream.Recv()
		if err != nil || r.Result != active {
			t.Fatalf("%v, %v; want %v", r, err, active)
		}
	}
	want(false)
	b.set(scale.Load{Sessions: 11}, nil)
	want(true)
	b.set(scale.Load{Sessions: 500}, scale.ErrUnknown) // says nothing
	b.set(scale.Load{Sessions: 10}, nil)
	want(false)
	stop()
	if _, err := stream.Recv(); err == nil || err == io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestTLS(t *testing.T) {
	ca := testca.New(t)
	server := &tls.Config{Certificates: []tls.Certificate{ca.Issue("holdfast-scaler.holdfast").TLS}, MinVersion: tls.VersionTLS12}
	b := &busy{}
	b.set(scale.Load{Sessions: 5}, nil)
	c, _ := start(t, b, server, credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "holdfast-scaler.holdfast"}))
	if r, err := c.IsActive(patient(t), ref()); err != nil || !r.Result {
		t.Errorf("%v, %v", r, err)
	}
	plain, _ := start(t, b, server, insecure.NewCredentials())
	if _, err := plain.IsActive(patient(t), ref()); err == nil {
		t.Error("a plain connection is answered")
	}
}

func FuzzTrigger(f *testing.F) {
	f.Add("chat", "shop", "sessions", "5", "0", "more")
	f.Add("", "", "%d", "1e9", "NaN", "targetvalue")
	f.Fuzz(func(t *testing.T, service, namespace, metric, target, activation, key string) {
		r := ref("service="+service, "namespace="+namespace, "metric="+metric, "targetValue="+target, "activation="+activation)
		if key != "" {
			r.ScalerMetadata[key] = "x"
		}
		trigger, err := parse(r)
		switch {
		case err != nil:
			if code := status.Code(err); code != codes.InvalidArgument && code != codes.PermissionDenied {
				t.Fatal(err)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("%q isn't escaped", err)
			}
		case trigger.service.Namespace != "shop" || trigger.service.Name == "" || !(trigger.target > 0) || !(trigger.activation >= 0) || trigger.metric.of == nil:
			t.Fatalf("%+v", trigger)
		}
	})
}
