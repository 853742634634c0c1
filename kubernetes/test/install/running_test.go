//go:build linux

package install

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// web is the program of the pods behind the balancer.
func web() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from the pod") })
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":8080", nil))
}

const application = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example.com/web
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations: {nginx.ingress.kubernetes.io/server-snippet: "deny all;"}
spec:
  ingressClassName: holdfast
  tls: [{hosts: [web.example.com], secretName: none}]
  rules:
  - host: web.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec:
  ingressClassName: holdfast
  rules:
  - host: plain.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: holdfast
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tcp, port: 9000, protocol: TCP}
  - {name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: web}
spec:
  parentRef: {name: web}
  listeners: [{name: other, port: 82, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web, sectionName: http}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web, sectionName: tcp}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: web}
spec:
  parentRefs: [{name: web, sectionName: tls}]
  hostnames: [web.example.com]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: other}
spec:
  targetRefs: [{group: "", kind: Service, name: web, sectionName: none}]
  validation: {hostname: web.example.com, wellKnownCACertificates: System}
---
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  drain: {timeout: 20s}
`

// get asks for a host at an address.
func get(host, address string) (status int, body string, err error) {
	r, err := http.NewRequest("GET", "http://"+address+"/", nil)
	if err != nil {
		return 0, "", err
	}
	r.Host = host
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// images registers the programs of the pods.
func images(t *testing.T, c *lab.Cluster) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Image("example.com/web", self, "web")
	c.Image("ghcr.io/holdfast-ws/holdfast-kubernetes", lab.Build(t, "github.com/holdfast-ws/holdfast/kubernetes/cmd/holdfast-kubernetes"))
}

// wantNoneMissing fails for each request of the controller that its roles don't allow.
func wantNoneMissing(t *testing.T, c *lab.Cluster) {
	t.Helper()
	for _, u := range c.Audit(t, "holdfast", "holdfast") {
		if !u.Allowed {
			t.Errorf("a right is missing: %+v", u)
		}
	}
}

// What kubernetes/deploy installs serves Ingresses and Gateways under Pod Security's
// level restricted, with exactly the rights that it needs.
func TestInstalled(t *testing.T) {
	c := install(t)
	images(t, c)
	text := manifest(t, "load-balancer.yaml")
	c.Apply(t, "holdfast", text)
	ns := c.Namespace(t)
	c.Apply(t, ns, application)
	c.WaitDeployment(t, ns, "web")
	c.WaitDeployment(t, "holdfast", "holdfast")

	address := c.WaitLoadBalancer(t, "holdfast", "holdfast")
	testkit.Eventually(t, "an answer by the Ingress", func() bool {
		status, body, err := get("plain.example.com", net.JoinHostPort(address, "80"))
		return err == nil && status == 200 && body == "from the pod"
	})
	scheme := runtime.NewScheme()
	if err := gatewayv1.Install(scheme); err != nil {
		t.Fatal(err)
	}
	gateways, err := client.New(c.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	var gateway gatewayv1.Gateway
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := json.MarshalIndent(gateway.Status, "", "  ")
			t.Logf("the status of the Gateway: %s", text)
		}
	})
	testkit.Eventually(t, "an answer by the Gateway", func() bool {
		err := gateways.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &gateway)
		if err != nil || len(gateway.Status.Addresses) == 0 {
			return false
		}
		for _, port := range []string{"80", "9000"} {
			status, body, err := get("any.example.com", net.JoinHostPort(gateway.Status.Addresses[0].Value, port))
			if err != nil || status != 200 || body != "from the pod" {
				return false
			}
		}
		return true
	})

	// The Service of a Gateway changes and goes with it.
	want := rules(t, c, text)
	gateway.Spec.Listeners = append(gateway.Spec.Listeners, gatewayv1.Listener{Name: "more", Port: 81, Protocol: "HTTP"})
	if err := gateways.Update(t.Context(), &gateway); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "another port of the Gateway's Service", func() bool {
		return !slices.Contains(unused(t, c, want), "patch /services in holdfast")
	})
	if err := gateways.Delete(t.Context(), &gateway); err != nil {
		t.Fatal(err)
	}
	var left []string
	t.Cleanup(func() {
		if len(left) > 0 {
			t.Errorf("these rights weren't used:\n  %s", strings.Join(left, "\n  "))
		}
	})
	testkit.Eventually(t, "the use of all rights", func() bool {
		left = unused(t, c, want)
		return len(left) == 0
	})
	wantNoneMissing(t, c)
}

// rare are rights that the test doesn't use, and what they are for. Lists are for API
// servers that can't send one as a watch.
var rare = map[string]string{
	"patch /events":   "the same event again",
	"patch /pods":     "the deletion cost of pods with sessions, in internal/scale/cost",
	"get /configmaps": "authorities of a BackendTLSPolicy, in the conformance tests",
}

// unused returns the rights that nobody has used yet.
func unused(t *testing.T, c *lab.Cluster, rights []string) (left []string) {
	t.Helper()
	used := map[string]bool{}
	for _, u := range c.Audit(t, "holdfast", "holdfast") {
		resource := u.Resource
		if u.Subresource != "" {
			resource += "/" + u.Subresource
		}
		used[u.Verb+" "+u.Group+"/"+resource] = true
		used[u.Verb+" "+u.Group+"/"+resource+" in "+u.Namespace] = true
	}
	for _, r := range rights {
		if _, ok := rare[r]; !ok && !used[r] && !strings.HasPrefix(r, "list ") {
			left = append(left, r)
		}
	}
	return left
}

// With rights for one namespace it serves that one.
func TestOneNamespace(t *testing.T) {
	c := install(t)
	images(t, c)
	c.Apply(t, "chat", "apiVersion: v1\nkind: Namespace\nmetadata: {name: chat}\n---\n"+manifest(t, "one-namespace.yaml"))
	c.Apply(t, "chat", application)
	c.WaitDeployment(t, "holdfast", "holdfast")
	address := c.WaitLoadBalancer(t, "holdfast", "holdfast")
	testkit.Eventually(t, "an answer by the Ingress", func() bool {
		status, body, err := get("plain.example.com", net.JoinHostPort(address, "80"))
		return err == nil && status == 200 && body == "from the pod"
	})
	wantNoneMissing(t, c)
}
