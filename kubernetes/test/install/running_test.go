//go:build linux

package install

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

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
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tcp, port: 9000, protocol: TCP}
  - {name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}}
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

// What kubernetes/deploy installs serves Ingresses and Gateways under Pod Security's
// level restricted, with exactly the rights that it needs.
func TestInstalled(t *testing.T) {
	c := install(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Image("example.com/web", self, "web")
	c.Image("ghcr.io/holdfast-ws/holdfast-kubernetes", lab.Build(t, "github.com/holdfast-ws/holdfast/kubernetes/cmd/holdfast-kubernetes"))
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
	var gateway gatewayv1.Gateway
	testkit.Eventually(t, "an answer by the Gateway", func() bool {
		err := c.Client().Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, &gateway)
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

	// The Service of a Gateway goes with it.
	if err := c.Client().Delete(t.Context(), &gateway); err != nil {
		t.Fatal(err)
	}
	want := rules(t, c, text)
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
	for _, u := range c.Audit(t, "holdfast", "holdfast") {
		if !u.Allowed {
			t.Errorf("a right is missing: %+v", u)
		}
	}
}

// rare are rights that the test doesn't bring about.
var rare = map[string]string{}

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
		if !used[r] && rare[r] == "" {
			left = append(left, r)
		}
	}
	return left
}
