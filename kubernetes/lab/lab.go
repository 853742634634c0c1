//go:build linux

// Package lab is a cluster for tests: the real kube-apiserver, etcd and controllers, and
// stand-ins for what a test machine lacks: nodes ([kubelet]), the network of pods
// ([podnet]), kube-proxy and a cloud's load balancers ([services]), and DNS ([names]).
//
// A package whose tests need a cluster has this, and the tests call [Start]:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		c := lab.Start(t)
//		c.Image("chat", lab.Build(t, "./testdata/chat"))
//		ns := c.Namespace(t)
//		c.Apply(t, ns, manifests)
//		c.WaitDeployment(t, ns, "chat")
//		…
//	}
//
// All tests of a package share one cluster, which the first starts in 4 to 10 seconds.
// Each has namespaces of its own, so they may run in parallel. They run in a network
// namespace of their own, and can connect to pods (10.244.0.0/16), to Services (their
// cluster IP), and to load balancers (10.245.0.0/16). They can listen on, and connect
// from, any address of 10.247.0.0/16. Names of Services, such as chat.default.svc, and
// those of [Cluster.Name] resolve, in tests and in pods. There is no way to the Internet.
//
// The image of a container is a name that stands for a program of the machine: see
// [Cluster.Image]. It runs with the pod's address and environment, and with volumes in
// their places. In-cluster configuration works as anywhere, with the rights of the pod's
// service account, since the API server checks roles (RBAC).
//
// scripts/setup-kubernetes.sh builds the programs of the cluster, and must have run.
package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/kubelet"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/names"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/podnet"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/services"
)

// Cluster is a running cluster.
type Cluster struct {
	once   sync.Once
	failed error

	dir      string
	network  *podnet.Network
	programs []*program
	config   *rest.Config
	kube     *kubernetes.Clientset
	client   client.Client
	kubelet  *kubelet.Kubelet
	services *services.Services
	names    *names.Server

	notes   tail // of the stand-ins
	mu      sync.Mutex
	images  map[string]kubelet.Program
	audited map[string]int64 // offsets in the audit log from which Audit reads, by namespace
}

// shared is the cluster of the test binary.
var shared = &Cluster{images: map[string]kubelet.Program{}, audited: map[string]int64{}}

// Start returns the cluster, which it starts at the first call. If the test fails, the
// last lines of the cluster's logs are printed.
func Start(t testing.TB) *Cluster {
	t.Helper()
	shared.once.Do(func() { shared.failed = shared.start() })
	if shared.failed != nil {
		t.Fatalf("starting the cluster: %v", shared.failed)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, p := range shared.programs {
			if text := p.log.last(); text != "" {
				t.Logf("the last lines of %s:\n%s", p.name, text)
			}
		}
		if text := shared.notes.last(); text != "" {
			t.Logf("the stand-ins say:\n%s", text)
		}
	})
	return shared
}

// note takes a line of a stand-in.
func (c *Cluster) note(format string, args ...any) {
	fmt.Fprintf(&c.notes, format+"\n", args...)
}

// Config returns a copy of the administrator's client configuration.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client returns the administrator's client, which reads from the API server.
func (c *Cluster) Client() client.Client { return c.client }

// Kube returns the administrator's client for the API's own resources.
func (c *Cluster) Kube() kubernetes.Interface { return c.kube }

// Kubeconfig writes the administrator's client configuration to a file.
func (c *Cluster) Kubeconfig(path string) error { return writeKubeconfig(path, c.config) }

// DualStack reports whether pods and Services have IPv6 addresses, too: where the
// machine has IPv6. Services have one only if their ipFamilyPolicy says so.
func (c *Cluster) DualStack() bool { return c.network.Dual }

// ConfigFor returns a client configuration with a token of a service account, which has
// the rights that its role bindings give it, and no others.
func (c *Cluster) ConfigFor(t testing.TB, namespace, account string) *rest.Config {
	t.Helper()
	answer, err := c.kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("a token for the service account %s/%s: %v", namespace, account, err)
	}
	return &rest.Config{
		Host: server, BearerToken: answer.Status.Token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.config.CAData},
	}
}

// Image says which program runs for an image. name is that of the image with or without
// its tag or digest. A container's command is run instead of the program, and a
// container's args instead of args.
func (c *Cluster) Image(name, path string, args ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images[name] = kubelet.Program{Path: path, Args: args}
}

// image returns the program of an image.
func (c *Cluster) image(name string) (kubelet.Program, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.images[name]; ok {
		return p, nil
	}
	short, _, _ := strings.Cut(name, "@")
	if i := strings.LastIndexByte(short, ':'); i > strings.LastIndexByte(short, '/') {
		short = short[:i]
	}
	if p, ok := c.images[short]; ok {
		return p, nil
	}
	return kubelet.Program{}, fmt.Errorf("the laboratory has no program for the image %s: register it with Cluster.Image", name)
}

// Name gives a DNS name to addresses, until the test ends.
func (c *Cluster) Name(t testing.TB, name string, addresses ...string) {
	t.Helper()
	var all []netip.Addr
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	c.names.Set(name, all...)
	t.Cleanup(func() { c.names.Set(name) })
}

// Namespace makes a namespace for the test, with its service account. At the end of the
// test it is deleted, and its pods are killed. If the test has failed, their logs are
// printed.
func (c *Cluster) Namespace(t testing.TB) string { return c.NamespaceWith(t, nil) }

// NamespaceWith is like Namespace. The namespace gets labels.
func (c *Cluster) NamespaceWith(t testing.TB, labels map[string]string) string {
	t.Helper()
	ns := newNamespace("test-", labels)
	if err := c.client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	c.adopt(t, ns.Name)
	return ns.Name
}

// adopt waits until a namespace is ready for pods, and cleans it up after the test.
func (c *Cluster) adopt(t testing.TB, name string) {
	t.Helper()
	c.kubelet.Expect(name)
	t.Cleanup(func() {
		if t.Failed() {
			for pod, log := range c.kubelet.Logs(name) {
				t.Logf("the log of pod %s/%s:\n%s", name, pod, log)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		defer c.kubelet.Abandon(name)
		if err := client.IgnoreNotFound(c.client.Delete(ctx, newNamespace(name, nil))); err != nil {
			t.Errorf("deleting the namespace %s: %v", name, err)
		}
	})
	testkit.Eventually(t, "the service account of namespace "+name, func() bool {
		_, err := c.kube.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
}

// Log returns what the containers of a pod have written so far.
func (c *Cluster) Log(namespace, pod string) *testkit.Log { return c.kubelet.Log(namespace, pod) }

// Kill kills the processes of a pod's containers, as the kernel does when memory is
// short. They start again if the pod's restart policy says so, as is the default.
func (c *Cluster) Kill(t testing.TB, namespace, pod string) {
	t.Helper()
	if err := c.kubelet.Kill(namespace, pod); err != nil {
		t.Fatal(err)
	}
}
