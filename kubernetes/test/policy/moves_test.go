//go:build linux

package policy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  replicas: 2
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
        - name: chat
          image: example.com/echo
          ports: [{name: http, containerPort: 8080}]
          env:
            - {name: VERSION, value: "VERSION-HERE"}
            - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1, failureThreshold: 1}
          lifecycle: {preStop: {sleep: {seconds: 10}}}
`

const routes = `
apiVersion: v1
kind: Service
metadata: {name: chat}
spec: {selector: {app: chat}, ports: [{name: ws, port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: holdfast}
spec: {controller: holdfast.dev/ingress}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: chat}
spec:
  ingressClassName: holdfast
  rules:
    - host: chat.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: chat, port: {name: ws}}}}]}
`

// controller runs the program outside of the cluster, and returns where it serves Ingresses.
func controller(t *testing.T, c *lab.Cluster, namespace string) (address string) {
	kubeconfig := t.TempDir() + "/kubeconfig"
	if err := c.Kubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	const port, tlsPort = 18080, 18443 // of a network namespace of the test's own
	cmd := exec.Command(lab.Build(t, "github.com/holdfast-ws/holdfast/kubernetes/cmd/holdfast-kubernetes"),
		"--kubeconfig", kubeconfig, "--watch-namespace", namespace, "--pod-namespace", namespace,
		"--http-port", fmt.Sprint(port), "--https-port", fmt.Sprint(tlsPort), "--peer-address", "127.0.0.1:0", "--gateway-api=false", "--lease-duration", "2s")
	process.Start(t, "holdfast-kubernetes", cmd)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// get returns the status of an answer and its body, or an error as a text.
func get(t *testing.T, address string) string {
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "chat.example.com"
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	return answer.Status
}

// session sends numbers and reads them back until stop is closed.
type session struct {
	pod     atomic.Pointer[string] // that answered last
	answers atomic.Int64
	failed  chan error
}

func open(t *testing.T, address string, stop <-chan struct{}) *session {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws://"+address+"/", &websocket.DialOptions{Host: "chat.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{failed: make(chan error, 1)}
	go func() {
		defer c.CloseNow()
		for n := 1; ; n++ {
			select {
			case <-stop:
				s.failed <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			err := c.Write(ctx, websocket.MessageText, fmt.Append(nil, n))
			var message []byte
			if err == nil {
				_, message, err = c.Read(ctx)
			}
			cancel()
			pod, number, _ := strings.Cut(string(message), " ")
			if err != nil || number != fmt.Sprint(n) {
				s.failed <- fmt.Errorf("after %d messages: got %q, %v", n-1, message, err)
				return
			}
			s.pod.Store(&pod)
			s.answers.Add(1)
		}
	}()
	return s
}

// TestSessionsMove: with a policy that has reattach, a rolling update of pods that know
// nothing of balancers closes no session and loses no message.
func TestSessionsMove(t *testing.T) {
	c, typed, namespace := start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Image("example.com/echo", self, "echo")
	c.Apply(t, namespace, strings.Replace(deployment, "VERSION-HERE", "1", 1)+"---"+routes)
	c.Apply(t, namespace, `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: chat}
spec:
  targetRefs: [{group: "", kind: Service, name: chat}]
  reattach: {on: [drain, loss]}
  drain: {timeout: 4s, spread: 1s}
---
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: guard}
spec:
  targetRefs: [{group: networking.k8s.io, kind: Ingress, name: chat}]
  allow: nowhere
`)
	c.WaitDeployment(t, namespace, "chat")
	address := controller(t, c, namespace)

	// A guard that is wrong closes the route, and one that is right guards it.
	wantStatus := func(name, want string) {
		t.Helper()
		testkit.Eventually(t, "the policy "+name+" is "+want, func() bool {
			var p v1alpha1.HoldfastPolicy
			if err := typed.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &p); err != nil {
				t.Fatal(err)
			}
			return len(p.Status.Ancestors) == 1 && p.Status.Ancestors[0].Conditions[0].Reason == want && p.Status.Ancestors[0].Conditions[0].ObservedGeneration == p.Generation
		})
	}
	wantStatus("chat", "Accepted")
	wantStatus("guard", "Invalid")
	testkit.Eventually(t, "the route is closed", func() bool { return strings.HasPrefix(get(t, address), "503") })
	guard := func(networks string) {
		c.Apply(t, namespace, "apiVersion: holdfast.dev/v1alpha1\nkind: HoldfastPolicy\nmetadata: {name: guard}\nspec:\n  targetRefs: [{group: networking.k8s.io, kind: Ingress, name: chat}]\n  allow: "+networks)
		wantStatus("guard", "Accepted")
	}
	guard("192.0.2.0/24")
	testkit.Eventually(t, "the test isn't admitted", func() bool { return strings.HasPrefix(get(t, address), "403") })
	guard("127.0.0.0/8")
	testkit.Eventually(t, "the test is admitted", func() bool { return strings.HasPrefix(get(t, address), "200") })

	const sessions = 20
	stop := make(chan struct{})
	var all []*session
	for range sessions {
		all = append(all, open(t, address, stop))
	}
	old := map[string]bool{}
	for _, s := range all {
		testkit.Eventually(t, "answers", func() bool { return s.answers.Load() > 0 })
		old[*s.pod.Load()] = true
	}
	if len(old) != 2 {
		t.Errorf("the sessions are on the pods %v", old)
	}

	c.Apply(t, namespace, strings.Replace(deployment, "VERSION-HERE", "2", 1))
	c.WaitDeployment(t, namespace, "chat")
	testkit.Eventually(t, "all sessions are on new pods", func() bool {
		for _, s := range all {
			if len(s.failed) > 0 || !old[*s.pod.Load()] {
				continue
			}
			return false
		}
		return true
	})
	// The old pods end; what they closed then would be seen.
	testkit.Eventually(t, "the old pods are gone", func() bool { return len(c.Pods(t, namespace, map[string]string{"app": "chat"})) == 2 })
	var before []int64
	for _, s := range all {
		before = append(before, s.answers.Load())
	}
	for i, s := range all {
		testkit.Eventually(t, "further answers", func() bool { return len(s.failed) > 0 || s.answers.Load() > before[i] })
	}
	close(stop)
	total := int64(0)
	for i, s := range all {
		if err := <-s.failed; err != nil {
			t.Errorf("session %d: %v", i, err)
		}
		total += s.answers.Load()
	}
	t.Logf("%d sessions, %d messages and their answers", sessions, total)
	if names := podNames(c, t, namespace); strings.Contains(names, " ") && old[strings.Fields(names)[0]] {
		t.Errorf("an old pod is still there: %s", names)
	}
}

func podNames(c *lab.Cluster, t *testing.T, namespace string) string {
	var names []string
	for _, p := range c.Pods(t, namespace, map[string]string{"app": "chat"}) {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ")
}
