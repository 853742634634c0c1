//go:build linux

package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// Goroutines of controller-runtime are left when informers end: a watch of metadata with an
// event that nobody reads any more, and those that wait for the first list of a resource
// that was removed before.
func TestMain(m *testing.M) {
	lab.Main(m, goleak.IgnoreTopFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
		goleak.IgnoreTopFunction("sigs.k8s.io/controller-runtime/pkg/cache.newMultiNamespaceInformer.func1"),
		goleak.IgnoreTopFunction("sigs.k8s.io/controller-runtime/pkg/cache.newMultiNamespaceInformerHandlerRegistration.func1"))
}

// simple is a translator for tests: each rule of an Ingress becomes a route to the Service
// of its first path. It looks up the Secrets, puts an address into the status, and
// reports an Event.
func simple(listen string) func(Facts) Translators {
	translator := func(s *cluster.Snapshot) *translate.Result {
		r := &translate.Result{Listeners: []translate.Listener{{Listener: config.Listener{Name: "web", Address: hostport.MustParse(listen)}}}}
		for _, i := range s.Ingresses {
			if i.Namespace != s.Ingresses[0].Namespace {
				continue // of another test
			}
			owner := translate.Owner{Object: i}
			for _, rule := range i.Spec.Rules {
				service := rule.HTTP.Paths[0].Backend.Service
				host, err := pattern.ParseHost(rule.Host)
				if err != nil {
					continue
				}
				p := config.NewPool(i.Namespace + "/" + service.Name)
				p.Feed = translate.Feed(i.Namespace, service.Name, service.Port.Number)
				r.Pools = append(r.Pools, translate.Pool{Pool: p, Owner: owner})
				r.Routes = append(r.Routes, translate.Route{Route: config.Route{Match: config.Match{Listener: "web", Host: host}, Pool: p.Name}, Owner: owner})
			}
			copied := i.DeepCopy()
			copied.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
			for _, tls := range i.Spec.TLS {
				if secret := s.Secret(i.Namespace, tls.SecretName); secret != nil {
					copied.Status.LoadBalancer.Ingress[0].Hostname = string(secret.Data["name"])
				}
			}
			r.Statuses = append(r.Statuses, copied)
			r.Events = append(r.Events, translate.Event{Object: i, Reason: "Served", Message: "it is served"})
		}
		return r
	}
	return func(Facts) Translators {
		return Translators{List: []func(*cluster.Snapshot) *translate.Result{translator}}
	}
}

// replica is a controller in the test's process.
type replica struct {
	*Controller
	log   *testkit.Log
	leads atomic.Int32
	stop  chan os.Signal
	done  chan error
}

func start(t *testing.T, o Options) *replica {
	t.Helper()
	r := &replica{log: &testkit.Log{}, stop: make(chan os.Signal, 3), done: make(chan error, 1)}
	o.App = app.Options{Version: "test", LogTo: r.log}
	o.PeerAddress = "127.0.0.1:0"
	o.Leading = append(o.Leading, func(ctx context.Context, _ *Controller) {
		r.leads.Add(1)
		<-ctx.Done()
		r.leads.Add(-1)
	})
	o.LeaseDuration, o.Poll = 2*time.Second, 200*time.Millisecond
	var err error
	if r.Controller, err = New(o); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.Run(r.stop, nil) }()
	t.Cleanup(func() {
		r.stop <- syscall.SIGINT
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the log of the controller:\n%s", r.log)
		}
	})
	return r
}

// settingsFile has an admin address that is free.
func settingsFile(t *testing.T, more string) string {
	path := t.TempDir() + "/holdfast.yaml"
	if err := os.WriteFile(path, []byte("admin: {address: \"\"}\n"+more), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// server answers with a text on an address of the test.
func server(t *testing.T, address, text string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })}
	done := make(chan struct{})
	go func() { s.Serve(listener); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
}

// get returns the status and the body of an answer.
func get(address, host string) string {
	request, _ := http.NewRequest("GET", "http://"+address+"/", nil)
	request.Host = host
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(body)))
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, what, ok)
}

const (
	chatService = `
apiVersion: v1
kind: Service
metadata: {name: chat}
spec: {ports: [{port: 80, targetPort: 8080}]}
`
	chatIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: chat}
spec:
  tls: [{hosts: [chat.example], secretName: cert}]
  rules:
  - host: chat.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: chat, port: {number: 80}}}}]}
`
)

func chatSlice(address, annotation string) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: chat-1, labels: {kubernetes.io/service-name: chat}, annotations: {changed: %q}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [%q], conditions: {ready: true}}]
`, annotation, address)
}

func TestFollowsCluster(t *testing.T) {
	c := lab.Start(t)
	ns := c.Namespace(t)
	server(t, "10.247.1.1:8080", "one")
	server(t, "10.247.1.2:8080", "two")
	const web = "10.247.1.9:80"

	c.Apply(t, ns, chatService+"---"+chatSlice("10.247.1.1", "")+"---"+chatIngress)
	file := settingsFile(t, "")
	r := start(t, Options{REST: c.Config(), Watch: []string{ns}, Namespace: ns, GatewayAPI: true, Settings: file, Translators: simple(web)})
	eventually(t, "the Ingress is served", func() bool { return get(web, "chat.example") == "200 one" })
	eventually(t, "it is ready", func() bool { return r.NotReady() == "" })

	// The leader writes the status, and reports one Event.
	ingress := func() *networkingv1.Ingress {
		i := &networkingv1.Ingress{}
		if err := c.Client().Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "chat"}, i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	eventually(t, "the status is written", func() bool { return len(ingress().Status.LoadBalancer.Ingress) == 1 })
	if a := ingress().Annotations; len(a) != 0 {
		t.Errorf("writing the status has changed the annotations to %v", a)
	}
	eventually(t, "the Event is there", func() bool { return len(events(t, c.Client(), ns)) == 1 })

	// A Secret that didn't exist is found once it does, and its changes are.
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: cert}\nstringData: {name: one.example}\n"
	c.Apply(t, ns, secret)
	eventually(t, "the Secret is used", func() bool { return ingress().Status.LoadBalancer.Ingress[0].Hostname == "one.example" })
	c.Apply(t, ns, strings.Replace(secret, "one", "two", 1))
	eventually(t, "the Secret's change is used", func() bool { return ingress().Status.LoadBalancer.Ingress[0].Hostname == "two.example" })

	// Endpoints change without a reload; what is written again makes no difference.
	reloads := func() int { return strings.Count(r.log.String(), `"msg":"reloaded"`) }
	before := reloads()
	c.Apply(t, ns, chatSlice("10.247.1.2", ""))
	eventually(t, "the other backend is used", func() bool { return get(web, "chat.example") == "200 two" })
	generation := r.App().Status().Generation
	for i := range 100 {
		c.Apply(t, ns, chatSlice("10.247.1.2", fmt.Sprint(i)))
	}
	c.Apply(t, ns, chatService+"---"+strings.Replace(chatIngress, "chat.example", "other.example", 2))
	eventually(t, "the other host is served", func() bool { return get(web, "other.example") == "200 two" })
	eventually(t, "the reload is logged", func() bool { return reloads() > before }) // which comes after it
	if got := r.App().Status().Generation; got != generation+1 || reloads() != before+1 {
		t.Errorf("100 equal slices and one Ingress made %d generations and %d reloads, want 1 and 1", got-generation, reloads()-before)
	}
	if got := get(web, "chat.example"); !strings.HasPrefix(got, "404") {
		t.Errorf("the host that was removed answers %s", got)
	}

	// Settings are read again when the file changes; those that are wrong change nothing.
	for _, level := range []string{"loud", "warn"} {
		if err := os.WriteFile(file, []byte("admin: {address: \"\"}\nlog: {level: "+level+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		text := map[string]string{"loud": "the settings can't be used", "warn": "the settings have changed"}[level]
		eventually(t, text, func() bool { return strings.Contains(r.log.String(), text) })
	}
}

func events(t *testing.T, c client.Client, ns string) []corev1.Event {
	list := &corev1.EventList{}
	if err := c.List(t.Context(), list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	var ours []corev1.Event
	for _, e := range list.Items {
		if e.Source.Component == "holdfast" {
			ours = append(ours, e)
		}
	}
	return ours
}

// TestAPIServerIsAway: without the API server nothing changes, and when it is back, what
// has changed meanwhile is used.
func TestAPIServerIsAway(t *testing.T) {
	c := lab.Start(t)
	ns := c.Namespace(t)
	server(t, "10.247.2.1:8080", "one")
	server(t, "10.247.2.2:8080", "two")
	const web = "10.247.2.9:80"
	c.Apply(t, ns, chatService+"---"+chatSlice("10.247.2.1", "")+"---"+chatIngress)

	cable := &cable{}
	config := c.Config()
	cable.plugInto(config)
	cable.cut()
	r := start(t, Options{REST: config, Watch: []string{ns}, Namespace: ns, Settings: settingsFile(t, ""), Translators: simple(web)})
	eventually(t, "the log says that the API server isn't there", func() bool { return strings.Contains(r.log.String(), "the API server can't be reached") })
	if why := r.NotReady(); why != waiting {
		t.Errorf("before the first list, NotReady() = %q", why)
	}
	if got := get(web, "chat.example"); !strings.Contains(got, "refused") {
		t.Errorf("before the first list, clients get %s", got)
	}
	cable.repair()
	eventually(t, "the Ingress is served", func() bool { return get(web, "chat.example") == "200 one" })

	eventually(t, "it leads", func() bool { return r.leads.Load() == 1 })

	cable.cut()
	c.Apply(t, ns, chatSlice("10.247.2.2", ""))
	eventually(t, "the leader has given up", func() bool { return r.leads.Load() == 0 })
	if got := get(web, "chat.example"); got != "200 one" || r.NotReady() != "" {
		t.Errorf("without an API server, clients get %s, and NotReady() is %q", got, r.NotReady())
	}
	cable.repair()
	eventually(t, "what has changed is used", func() bool { return get(web, "chat.example") == "200 two" })
}

// cable is the way to the API server.
type cable struct {
	mu    sync.Mutex
	off   bool
	conns []net.Conn
}

func (c *cable) plugInto(config *rest.Config) {
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.off {
			return nil, errors.New("no way to the API server")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			c.conns = append(c.conns, conn)
		}
		return conn, err
	}
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

func (c *cable) repair() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = false
}

// TestResourcesInstalledLater: definitions that are installed while a replica runs are
// noticed, and so are those that are removed.
func TestResourcesInstalledLater(t *testing.T) {
	c := lab.Start(t)
	ns := c.Namespace(t)
	r := start(t, Options{REST: c.Config(), Watch: []string{ns}, Namespace: ns, GatewayAPI: true, Settings: settingsFile(t, ""), Translators: simple("10.247.3.9:80")})
	eventually(t, "it is ready", func() bool { return r.NotReady() == "" })
	if r.log.Contains("httproutes") {
		t.Fatal("the Gateway API is installed already")
	}
	c.CRDs(t, "../../deploy/chart/holdfast/crds", lab.GatewayAPI(t, "standard"))
	c.Apply(t, ns, `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: chat}
spec: {targetRefs: [{group: "", kind: Service, name: chat}], balance: random}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat}
spec: {hostnames: [chat.example]}
`)
	eventually(t, "the policy and the route are in the snapshot", func() bool {
		s := r.Snapshot()
		return len(s.Policies) == 1 && len(s.HTTPRoutes) == 1
	})
	definition := &unstructured.Unstructured{}
	definition.SetAPIVersion("apiextensions.k8s.io/v1")
	definition.SetKind("CustomResourceDefinition")
	definition.SetName("holdfastpolicies.holdfast.dev")
	if err := c.Client().Delete(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the policies are gone", func() bool { return len(r.Snapshot().Policies) == 0 })
	eventually(t, "the log says so", func() bool { return r.log.Contains("a resource is no longer installed") })
	if got := len(r.Snapshot().HTTPRoutes); got != 1 {
		t.Errorf("%d HTTPRoutes are left, want 1", got)
	}
}
