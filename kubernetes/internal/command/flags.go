package command

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/cli"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/controller"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/endpoints"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/gateway"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/policy"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Flags are those of the program.
type Flags struct {
	Config     string `placeholder:"FILE" help:"Settings as in holdfast.yaml, without listeners, routes and pools. Read again when it changes."`
	Kubeconfig string `env:"KUBECONFIG" placeholder:"FILE" help:"How to reach the API server (default: as the pod's service account)."`

	ControllerName string   `default:"holdfast.dev/gateway" placeholder:"NAME" help:"spec.controllerName of the GatewayClasses to serve (default ${default})."`
	GatewayAPI     bool     `name:"gateway-api" default:"true" negatable:"" help:"Serve the Gateway API if it is installed (default true)."`
	ServiceType    string   `name:"gateway-service-type" default:"LoadBalancer" enum:"LoadBalancer,ClusterIP,NodePort" help:"Type of the Services that are made for Gateways: LoadBalancer, ClusterIP or NodePort (default ${default})."`
	WatchNamespace []string `placeholder:"NAMESPACE" help:"Serve only the objects of this namespace. Repeatable (default: all)."`
	PolicyURLs     string   `name:"policy-urls" default:"own" enum:"own,any" help:"Which URLs a HoldfastPolicy or an Ingress may have the balancer ask about clients: own for Services of its namespace, or any (default ${default})."`

	IngressFlags

	AllowExternalNames bool     `help:"Serve Services of the type ExternalName. Whoever may make one can then reach all that the balancer can."`
	ProxyProtocolFrom  []string `placeholder:"NETWORK" help:"Networks of load balancers that send the PROXY protocol, such as 10.0.0.0/8. Repeatable."`
	SharedSecret       string   `placeholder:"NAME" help:"Secret in the pod's namespace for what all replicas share: the keys of cookies and TLS tickets. A random one is put into it."`

	PeerAddress   string        `default:":9901" placeholder:"ADDRESS" help:"Address for /health, /live and /metrics (default ${default})."`
	PodName       string        `env:"POD_NAME" placeholder:"NAME" help:"Name of the controller's own pod."`
	PodNamespace  string        `env:"POD_NAMESPACE" placeholder:"NAMESPACE" help:"Its namespace, where the Lease and the Services of Gateways are."`
	LeaseDuration time.Duration `default:"15s" placeholder:"DURATION" help:"How long a leader may not be heard of before another replica leads (default ${default})."`

	Scaling `embed:""`

	Version bool `help:"Print the version."`
}

// options are those of the controller.
func (f *Flags) options(errOut io.Writer) (controller.Options, error) {
	o := controller.Options{
		Name: f.PodName, Namespace: f.PodNamespace, Watch: f.WatchNamespace, GatewayAPI: f.GatewayAPI, Settings: f.Config,
		SharedSecret: f.SharedSecret, Endpoints: endpoints.Options{ExternalNames: f.AllowExternalNames},
		PeerAddress: f.PeerAddress, LeaseDuration: f.LeaseDuration,
		App: app.Options{Version: cli.Version(), LogTo: errOut},
	}
	if f.SharedSecret != "" && f.PodNamespace == "" {
		return o, usage("--shared-secret is in the pod's namespace: set --pod-namespace or POD_NAMESPACE, too")
	}
	if f.LeaseDuration < time.Second {
		return o, usage("--lease-duration %s is too short: give at least 1s", f.LeaseDuration)
	}
	for _, text := range f.ProxyProtocolFrom {
		network, err := netip.ParsePrefix(text)
		if err != nil || network.Masked() != network {
			return o, usage("--proxy-protocol-from: %q isn't a network such as 10.0.0.0/8", text)
		}
		o.Proxies = append(o.Proxies, config.Peer{Network: network})
	}
	policies := new(policy.Cache)
	ingresses, err := f.ingressTranslator()
	if err != nil {
		return o, err
	}
	o.Translators = func(facts controller.Facts) controller.Translators {
		t := f.translators(facts, policies)
		t.List = append(t.List, func(s *cluster.Snapshot) *translate.Result { return ingresses(facts, s) })
		return t
	}
	if o.REST, err = f.rest(); err != nil {
		return o, err
	}
	return o, f.Scaling.options(&o)
}

// translators are called before each plan.
func (f *Flags) translators(facts controller.Facts, policies *policy.Cache) controller.Translators {
	var t controller.Translators
	if f.GatewayAPI {
		t.List = append(t.List, func(s *cluster.Snapshot) *translate.Result {
			return gateway.Translate(s, gateway.Options{
				ControllerName: f.ControllerName, Namespace: f.PodNamespace, Selector: facts.PodLabels,
				ServiceType: corev1.ServiceType(f.ServiceType), CookieSecret: facts.CookieSecret(), Now: facts.Now,
			})
		})
	}
	t.Policies = func(s *cluster.Snapshot, results []*translate.Result) *translate.Result {
		return policy.Apply(s, policy.Options{
			Controller: f.ControllerName, AnyURLs: f.PolicyURLs == "any", Forwarded: facts.Forwarded, Now: metav1.NewTime(facts.Now.Truncate(time.Second)), Cache: policies,
		}, results)
	}
	return t
}

// rest says how the API server is reached.
func (f *Flags) rest() (*rest.Config, error) {
	var c *rest.Config
	var err error
	if f.Kubeconfig != "" {
		c, err = clientcmd.BuildConfigFromFlags("", f.Kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w", err)
		}
	} else if c, err = rest.InClusterConfig(); err != nil {
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, usage("it is not known where the API server is: this is no pod of a cluster (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT aren't set), and there is no --kubeconfig FILE")
		}
		return nil, fmt.Errorf("the pod's service account can't be used: %w", err)
	}
	// One request for each Secret that is needed, at the start, and for each status.
	c.QPS, c.Burst = 100, 200
	c.UserAgent = strings.Join([]string{"holdfast-kubernetes", cli.Version()}, "/")
	return c, nil
}
