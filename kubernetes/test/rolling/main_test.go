//go:build linux

// Package rolling tests what sessions notice of a Deployment that is updated, of a
// controller that is replaced, and of changes that aren't theirs: as little as possible.
// The cluster's API server and controllers are the real ones, and the balancer is
// installed by the project's own manifests.
package rolling

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestMain is also the program of the pods.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "chat" {
		chat()
		return
	}
	lab.Main(m)
}

const (
	deploy = "../../deploy"
	system = "holdfast" // namespace and name of the controller
	// stateAddress is where the chat's pods keep what several of them need.
	stateAddress = "10.247.7.1:8081"
)

// sessions is how many a test has. HOLDFAST_SESSIONS is for runs by hand.
func sessions(n int) int {
	if more, err := strconv.Atoi(os.Getenv("HOLDFAST_SESSIONS")); err == nil {
		return more
	}
	return n
}

// installed is a cluster with the balancer and a chat of three pods.
type installed struct {
	*lab.Cluster
	ns, url string
}

// install installs both. The chat's pods have a time of grace, in seconds, and sleep for a
// part of it before SIGTERM; policy has the keys of a HoldfastPolicy.
func install(t *testing.T, grace, sleep int, policy string) *installed {
	t.Helper()
	c := lab.Start(t)
	c.CRDs(t, lab.GatewayAPI(t, "standard"), filepath.Join(deploy, "chart/holdfast/crds"))
	c.Image("ghcr.io/holdfast-ws/holdfast-kubernetes:0.1.0", lab.Build(t, "../../cmd/holdfast-kubernetes"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Image("example.com/chat", self, "chat")
	keepState(t)
	manifest, err := os.ReadFile(filepath.Join(deploy, "manifests/load-balancer.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Shutdowns are as long as sessions need in production. A test has no time.
	quick := strings.NewReplacer("delay: 10s", "delay: 2s", "shutdown: 60s", "shutdown: 10s").Replace(string(manifest))
	if quick == string(manifest) {
		t.Fatal("the manifest has other times than the test knows")
	}
	c.Apply(t, system, quick)
	i := &installed{Cluster: c, ns: c.Namespace(t)}
	c.Apply(t, i.ns, fmt.Sprintf(application, grace, stateAddress, sleep)+"---"+chatPolicy(policy)+"---"+chatIngress)
	c.WaitDeployment(t, system, system)
	c.WaitDeployment(t, i.ns, "chat")
	address := c.WaitLoadBalancer(t, system, system)
	i.url = "ws://" + address + "/"
	testkit.Eventually(t, "the chat is served", func() bool {
		answer, err := http.Get("http://" + address + "/ready")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return i
}

const application = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  replicas: 3
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      terminationGracePeriodSeconds: %d
      containers:
      - name: chat
        image: example.com/chat
        env: [{name: STATE, value: %q}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        # Meanwhile the balancer moves or closes the sessions, as docs/kubernetes.md says.
        lifecycle: {preStop: {sleep: {seconds: %d}}}
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: chat}
spec:
  selector: {app: chat}
  ports: [{port: 80, targetPort: 8080}]
`

// chatPolicy is a HoldfastPolicy with these keys.
func chatPolicy(keys string) string {
	return `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: chat}
spec:
  targetRefs: [{group: "", kind: Service, name: chat}]` + keys + "\n"
}

const chatIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: chat}
spec:
  ingressClassName: holdfast
  rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: chat, port: {number: 80}}}}]}}]
`

// restart rolls a Deployment out again, as kubectl rollout restart does, and waits for the
// end: also until the old pods are gone.
func (i *installed) restart(t *testing.T, namespace, name string, labels map[string]string) {
	t.Helper()
	old := map[types.UID]bool{}
	for _, p := range i.Pods(t, namespace, labels) {
		old[p.UID] = true
	}
	d := &appsv1.Deployment{}
	if err := i.Client().Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: name}, d); err != nil {
		t.Fatal(err)
	}
	before := d.DeepCopy()
	if d.Spec.Template.Annotations == nil {
		d.Spec.Template.Annotations = map[string]string{}
	}
	d.Spec.Template.Annotations["restarted"] = time.Now().Format(time.RFC3339Nano)
	if err := i.Client().Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	i.WaitDeployment(t, namespace, name)
	testkit.Eventually(t, "the old pods are gone", func() bool {
		for _, p := range i.Pods(t, namespace, labels) {
			if old[p.UID] {
				return false
			}
		}
		return true
	})
}

// controllers are the balancer's pods.
func (i *installed) controllers(t *testing.T) []corev1.Pod {
	return i.Pods(t, system, map[string]string{"app.kubernetes.io/name": "holdfast"})
}
