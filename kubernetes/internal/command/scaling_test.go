package command

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/controller"
)

func TestFlagsOfScaling(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cert, key := testca.New(t).Issue("scaler").Files()
	pod := controller.Options{Name: "holdfast-0", Namespace: "holdfast"}
	for name, tt := range map[string]struct {
		flags   Scaling
		options controller.Options
		want    string // "" if they are right
		usage   bool
	}{
		"none":                     {Scaling{}, controller.Options{}, "", false},
		"all":                      {Scaling{"peers", "127.0.0.1:0", cert, key, true}, pod, "", false},
		"peers outside a pod":      {Scaling{PeerService: "peers"}, controller.Options{Namespace: "holdfast"}, "--peer-service is in the pod's namespace", true},
		"TLS without an address":   {Scaling{ScalerTLSCert: cert, ScalerTLSKey: key}, pod, "have no effect without --scaler-address", true},
		"a certificate alone":      {Scaling{ScalerAddress: "127.0.0.1:0", ScalerTLSCert: cert}, pod, "a certificate needs its key", true},
		"a key alone":              {Scaling{ScalerAddress: "127.0.0.1:0", ScalerTLSKey: key}, pod, "a certificate needs its key", true},
		"no certificate":           {Scaling{ScalerAddress: "127.0.0.1:0", ScalerTLSCert: key, ScalerTLSKey: key}, pod, "--scaler-tls-cert: ", false},
		"an address that is taken": {Scaling{ScalerAddress: taken.Addr().String()}, pod, "--scaler-address: ", false},
	} {
		o := tt.options
		err := tt.flags.options(&o)
		if tt.want == "" {
			if err != nil || o.Handlers["GET /loads"] == nil || len(o.App.Collectors) != 2 || len(o.Always) != 1 || (len(o.Leading) == 1) != tt.flags.DeletionCost {
				t.Errorf("%s: %v, %+v", name, err, o)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, new(usageError)) != tt.usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}
