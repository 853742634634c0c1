//go:build linux

// Package conformance runs the conformance suite of the Gateway API on a cluster for tests,
// in which holdfast is installed as a user would install it.
package conformance

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/flags"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"

	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

func TestMain(m *testing.M) {
	// The suite's clients don't wait for connections that they have given up.
	lab.Main(m, goleak.IgnoreAnyFunction("net/http.(*Transport).dialConnFor"))
}

var update = flag.Bool("update", false, "write the report instead of comparing it")

const (
	channel   = "standard" // of the resources' definitions
	class     = "holdfast"
	deploy    = "../../deploy/"
	namespace = "holdfast"
)

// profiles are what the report is about.
var profiles = []suite.ConformanceProfileName{
	suite.GatewayHTTPConformanceProfileName,
	suite.GatewayTLSConformanceProfileName,
	suite.GatewayTCPConformanceProfileName,
}

// install installs holdfast by its manifests, with a GatewayClass.
func install(t *testing.T, c *lab.Cluster) {
	t.Helper()
	c.CRDs(t, lab.GatewayAPI(t, channel), deploy+"chart/holdfast/crds")
	echo := lab.Build(t, "sigs.k8s.io/gateway-api/conformance/echo-basic")
	c.Image("registry.k8s.io/gateway-api/echo-basic", echo)
	c.Image("registry.k8s.io/coredns/coredns", echo) // is only for UDPRoutes, and must run for all
	c.Image("ghcr.io/holdfast-ws/holdfast-kubernetes", lab.Build(t, "github.com/holdfast-ws/holdfast/kubernetes/cmd/holdfast-kubernetes"))
	text, err := os.ReadFile(deploy + "manifests/load-balancer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, namespace, string(text))
	c.WaitDeployment(t, namespace, "holdfast")
}

// clientOf returns a client that knows the resources of the suite.
func clientOf(t *testing.T, c *lab.Cluster) client.Client {
	t.Helper()
	cl, err := client.New(c.Config(), client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// version is that of holdfast, by its chart.
func version(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(deploy + "chart/holdfast/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^appVersion: "?([0-9][^"\s]*)"?`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the chart has no appVersion")
	}
	return "v" + string(m[1])
}

// options are those of the suite. What features there are, it finds in the status of the
// GatewayClass.
func options(t *testing.T, c *lab.Cluster) suite.ConformanceOptions {
	t.Helper()
	kube, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	ip := gwv1.IPAddressType
	address := func(ip4 string) []gwv1.GatewaySpecAddress {
		return []gwv1.GatewaySpecAddress{{Type: &ip, Value: ip4}}
	}
	o := suite.ConformanceOptions{
		ConfigurableOptions: suite.ConfigurableOptions{
			GatewayClassName:     class,
			CleanupTestResources: true, // those that all tests share go with the cluster
			Mode:                 flags.DefaultMode,
			TimeoutConfig:        config.DefaultTimeoutConfig(),
			ConformanceProfiles:  profiles,
			Implementation: confv1.Implementation{
				Organization: "holdfast-ws", Project: "holdfast", URL: "https://github.com/holdfast-ws/holdfast",
				Version: version(t), Contact: []string{"https://github.com/holdfast-ws/holdfast/issues/new"},
			},
			UsableNetworkAddresses:   address("10.245.200.1"),
			UnusableNetworkAddresses: address("192.0.2.1"),
		},
		Client: clientOf(t, c), ClientOptions: client.Options{Scheme: scheme(t)}, Clientset: kube, RestConfig: c.Config(),
		ManifestFS: []fs.FS{&conformance.Manifests},
	}
	flags.ApplyAll(&o.ConfigurableOptions) // such as -run-test and -debug
	return o
}

// TestConformance runs the suite, and compares its report with the one in
// kubernetes/conformance. "make conformance" writes that.
func TestConformance(t *testing.T) {
	c := lab.Start(t)
	install(t, c)
	o := options(t, c)
	s, err := suite.NewConformanceTestSuite(o)
	if err != nil {
		t.Fatal(err)
	}
	if o.RunTest == "" {
		t.Cleanup(func() { compare(t, s) }) // after the tests that run in parallel
	}
	s.Setup(t, tests.ConformanceTests)
	if err := s.Run(t, tests.ConformanceTests); err != nil {
		t.Fatal(err)
	}
}

// reportPath is as the Gateway API's folder of reports wants it.
func reportPath(t *testing.T) string {
	return filepath.Join("..", "..", "conformance", channel+"-"+version(t)+"-"+flags.DefaultMode+"-report.yaml")
}
