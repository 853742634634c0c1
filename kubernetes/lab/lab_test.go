//go:build linux

package lab_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

const webManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
        - name: web
          image: example.com/web:v1
          ports: [{name: http, containerPort: 8080}]
          env:
            - {name: VERSION, value: "VERSION-HERE"}
            - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
            - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
          readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 1}
          lifecycle: {preStop: {sleep: {seconds: 2}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
`

// get returns the body of an answer, "" if there is none.
func get(url string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// endpoints counts the endpoints of Service web that ok accepts.
func endpoints(t *testing.T, c *lab.Cluster, ns string, ok func(discoveryv1.EndpointConditions) bool) (n int) {
	t.Helper()
	list := &discoveryv1.EndpointSliceList{}
	if err := c.Client().List(t.Context(), list, client.InNamespace(ns), client.MatchingLabels{discoveryv1.LabelServiceName: "web"}); err != nil {
		t.Fatal(err)
	}
	for _, slice := range list.Items {
		for _, e := range slice.Endpoints {
			if ok(e.Conditions) {
				n++
			}
		}
	}
	return n
}

func ready(c discoveryv1.EndpointConditions) bool { return *c.Ready }

// A Deployment becomes ready, answers at each of its addresses, and its pods are
// terminating and serving for a while when they are replaced.
func TestRollingUpdate(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, strings.Replace(webManifest, "VERSION-HERE", "1", 1))
	c.WaitDeployment(t, ns, "web")
	testkit.Eventually(t, "three endpoints", func() bool { return endpoints(t, c, ns, ready) == 3 })

	pods := c.Pods(t, ns, map[string]string{"app": "web"})
	balancer := c.WaitLoadBalancer(t, ns, "web")
	service, err := c.Kube().CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{balancer, service.Spec.ClusterIP} {
		for _, pod := range pods {
			want := fmt.Sprintf("%s %s %s 1", pod.Name, pod.Status.PodIP, pod.Name)
			testkit.Eventually(t, address+" forwards to "+pod.Name, func() bool { return get("http://"+address) == want })
		}
	}
	for _, name := range []string{"web." + ns + ".svc", "web." + ns + ".svc.cluster.local"} {
		if get("http://"+name) == "" {
			t.Errorf("no answer from %s", name)
		}
	}
	for _, pod := range pods {
		for _, ip := range pod.Status.PodIPs {
			if at := net.JoinHostPort(ip.IP, "8080"); !strings.HasPrefix(get("http://"+at), pod.Name) {
				t.Errorf("pod %s doesn't answer at %s", pod.Name, at)
			}
		}
		if c.DualStack() != (len(pod.Status.PodIPs) == 2) {
			t.Errorf("pod %s has the addresses %v", pod.Name, pod.Status.PodIPs)
		}
	}

	// With both families, each address of the Service leads to pods.
	c.Apply(t, ns, `
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
`)
	balancer = c.WaitLoadBalancer(t, ns, "both")
	if service, err = c.Kube().CoreV1().Services(ns).Get(t.Context(), "both", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if c.DualStack() != (len(service.Spec.ClusterIPs) == 2) {
		t.Errorf("the Service has the addresses %v", service.Spec.ClusterIPs)
	}
	for _, address := range append(service.Spec.ClusterIPs, balancer) {
		testkit.Eventually(t, "an answer at "+address, func() bool { return get("http://"+net.JoinHostPort(address, "80")) != "" })
	}

	draining := make(chan string, 1)
	watch, err := c.Kube().DiscoveryV1().EndpointSlices(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	go func() {
		for event := range watch.ResultChan() {
			if slice, ok := event.Object.(*discoveryv1.EndpointSlice); ok {
				for _, e := range slice.Endpoints {
					if *e.Conditions.Terminating && *e.Conditions.Serving && !*e.Conditions.Ready {
						select {
						case draining <- e.Addresses[0]:
						default:
						}
					}
				}
			}
		}
	}()
	c.Apply(t, ns, strings.Replace(webManifest, "VERSION-HERE", "2", 1))
	if at := testkit.Receive(t, "an endpoint that is terminating and serving", draining); !strings.HasSuffix(get("http://"+at+":8080"), " 1") {
		t.Errorf("%s is serving and terminating, and doesn't answer", at)
	}
	c.WaitDeployment(t, ns, "web")
	testkit.Eventually(t, "the old pods are gone", func() bool { return len(c.Pods(t, ns, nil)) == 3 })
	if got := get("http://" + balancer); !strings.HasSuffix(got, " 2") {
		t.Errorf("after the update, the answer is %q", got)
	}
}

// A pod whose probe fails is neither ready nor serving. One whose process is killed is
// started again.
func TestProbeAndRestart(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, webManifest)
	c.WaitDeployment(t, ns, "web")
	file := "/tmp/" + ns
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file)
	testkit.Eventually(t, "no endpoint serves", func() bool {
		return endpoints(t, c, ns, func(c discoveryv1.EndpointConditions) bool { return !*c.Ready && !*c.Serving }) == 3
	})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "all endpoints are ready", func() bool { return endpoints(t, c, ns, ready) == 3 })

	victim := c.Pods(t, ns, nil)[0]
	c.Kill(t, ns, victim.Name)
	testkit.Eventually(t, "a restart", func() bool {
		pod := &corev1.Pod{}
		if err := c.Client().Get(t.Context(), client.ObjectKeyFromObject(&victim), pod); err != nil {
			t.Fatal(err)
		}
		s := pod.Status.ContainerStatuses[0]
		return s.RestartCount == 1 && s.Ready && s.LastTerminationState.Terminated.ExitCode == 137
	})
}

const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: pod, labels: {app: pod}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: example.com/NAME, env: [{name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}]}]
`

// wait returns the first line that has text in it.
func wait(t *testing.T, log *testkit.Log, text string) string {
	t.Helper()
	return log.Find(t, text, 0, func(line string) bool { return strings.Contains(line, text) })
}

func pod(name string) string { return strings.Replace(podManifest, "NAME", name, 1) }

// A container that doesn't end at SIGTERM is killed at the end of the grace period.
func TestGracePeriod(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, pod("stubborn"))
	log := c.Log(ns, "pod")
	wait(t, log, "started")
	key := client.ObjectKey{Namespace: ns, Name: "pod"}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "pod"}}
	if err := c.Client().Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	wait(t, log, "got terminated")
	wait(t, log, "SIGKILL")
	testkit.Eventually(t, "the pod is gone", func() bool { return apierrors.IsNotFound(c.Client().Get(t.Context(), key, p)) })
}

// The rights of a service account are those of its roles, for pods and for tests.
func TestServiceAccount(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: default}]
`)
	c.Apply(t, ns, pod("list"))
	log := c.Log(ns, "pod")
	wait(t, log, "ConfigMaps: <nil>")
	wait(t, log, "Secrets: secrets is forbidden")

	own, err := kubernetes.NewForConfig(c.ConfigFor(t, ns, "default"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := own.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := own.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("got %v, want that it is forbidden", err)
	}

	want := []lab.Use{{Verb: "list", Resource: "configmaps", Namespace: ns, Allowed: true}, {Verb: "list", Resource: "secrets", Namespace: ns}}
	testkit.Eventually(t, "the audit log has both", func() bool { return len(c.Audit(t, ns, "default")) >= len(want) })
	if got := c.Audit(t, ns, "default"); !slices.Equal(got, want) {
		t.Errorf("the service account asked for %+v, want %+v", got, want)
	}
}

// A load balancer with the annotation says who the client is.
func TestProxyProtocol(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, pod("first-bytes")+`---
apiVersion: v1
kind: Service
metadata: {name: lb, annotations: {lab/proxy-protocol: v2}}
spec: {type: LoadBalancer, selector: {app: pod}, ports: [{port: 80, targetPort: 9000}]}
`)
	at := net.JoinHostPort(c.WaitLoadBalancer(t, ns, "lb"), "80")
	log := c.Log(ns, "pod")
	testkit.Eventually(t, "a connection to the pod", func() bool {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("10.247.1.2")}}
		conn, err := dialer.DialContext(t.Context(), "tcp", at)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		return err == io.EOF
	})
	line := wait(t, log, "first bytes: ")
	_, text, _ := strings.Cut(line, "first bytes: ")
	header, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var h proxyproto.Header
	if _, err := proxyproto.Parse(header, &h); err != nil {
		t.Fatalf("%v in %q", err, header)
	}
	if h.Source.Addr() != netip.MustParseAddr("10.247.1.2") || h.Destination.String() != at {
		t.Errorf("the header says %v to %v, want 10.247.1.2 to %s", h.Source, h.Destination, at)
	}
}

// A DaemonSet has a pod on each node. With hostNetwork, its address is the node's.
func TestDaemonSet(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      hostNetwork: true
      containers: [{name: web, image: example.com/web, ports: [{containerPort: 8080}], env: [{name: NAMESPACE, value: none}], readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}}]
`)
	testkit.Eventually(t, "two pods are ready", func() bool {
		d := &appsv1.DaemonSet{}
		if err := c.Client().Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "web"}, d); err != nil {
			t.Fatal(err)
		}
		return d.Status.NumberReady == 2
	})
	pods := c.Pods(t, ns, nil)
	if pods[0].Spec.NodeName == pods[1].Spec.NodeName {
		t.Errorf("both pods are on %s", pods[0].Spec.NodeName)
	}
	for _, p := range pods {
		if p.Status.PodIP != p.Status.HostIP || get("http://"+p.Status.HostIP+":8080") == "" {
			t.Errorf("the pod at %s doesn't answer at its node, %s", p.Status.PodIP, p.Status.HostIP)
		}
	}
}

// Volumes are in their places in the pod, and nowhere on the machine.
func TestVolumes(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {settings.yaml: "a: 1"}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {tls.key: secret}
---
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: example.com/files
      args: [files, /etc/lab-test/settings.yaml, /lab-test/a/key, /var/run/secrets/kubernetes.io/serviceaccount/namespace, /etc/passwd]
      volumeMounts:
        - {name: settings, mountPath: /etc/lab-test}
        - {name: key, mountPath: /lab-test/a}
  volumes:
    - {name: settings, configMap: {name: settings}}
    - {name: key, secret: {secretName: key, items: [{key: tls.key, path: key}]}}
`)
	log := c.Log(ns, "pod")
	wait(t, log, "/etc/lab-test/settings.yaml a: 1 <nil>")
	wait(t, log, "/lab-test/a/key secret <nil>")
	wait(t, log, "/namespace "+ns+" <nil>")
	wait(t, log, "/etc/passwd root:") // the machine's own files are there, too
	for _, name := range []string{"/lab-test", "/etc/lab-test"} {
		if _, err := os.Stat(name); !os.IsNotExist(err) {
			t.Errorf("%s is on the machine: %v", name, err)
		}
	}
}

// Names of headless Services are those of their pods, and ExternalNames lead elsewhere.
func TestNames(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	ns := c.Namespace(t)
	c.Name(t, "backend.example.com", "10.247.9.9", "fd00::9")
	c.Apply(t, ns, pod("stubborn")+`---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: pod}}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: backend.example.com}
`)
	lookup := func(name string) string {
		addresses, err := net.DefaultResolver.LookupHost(t.Context(), name)
		if err != nil {
			return ""
		}
		slices.Sort(addresses)
		return strings.Join(addresses, " ")
	}
	testkit.Eventually(t, "the headless Service has the address of its pod", func() bool {
		at := c.Pods(t, ns, nil)[0].Status.PodIP
		return at != "" && lookup("headless."+ns+".svc.cluster.local") == at
	})
	for _, name := range []string{"backend.example.com", "outside." + ns + ".svc.cluster.local"} {
		if got := lookup(name); got != "10.247.9.9 fd00::9" {
			t.Errorf("%s is at %q", name, got)
		}
	}
	var missing *net.DNSError
	if _, err := net.LookupHost("nothing.example.com"); !errors.As(err, &missing) || !missing.IsNotFound {
		t.Errorf("a name that isn't there: %v", err)
	}
}

// The definitions of the Gateway API are those of the module, with their rules.
func TestGatewayAPI(t *testing.T) {
	c := lab.Start(t)
	c.CRDs(t, lab.GatewayAPI(t, "standard"))
	ns := c.Namespace(t)
	gateway := `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway}
spec: {gatewayClassName: holdfast, listeners: [{name: http, protocol: HTTP, port: PORT}]}
`
	c.Apply(t, ns, strings.Replace(gateway, "PORT", "80", 1))
	if err := c.ApplyErr(t, ns, strings.Replace(gateway, "PORT", "0", 1)); !apierrors.IsInvalid(err) {
		t.Errorf("a listener with port 0: %v, want that it is invalid", err)
	}
}

// A namespace that a test has made ends after the test, with all that was in it.
func TestNamespaceEnds(t *testing.T) {
	c := lab.Start(t)
	images(t, c)
	var ns string
	t.Run("with a pod", func(t *testing.T) {
		name := c.Namespace(t)
		ns = name
		c.Apply(t, name, pod("stubborn"))
		wait(t, c.Log(name, "pod"), "started")
	})
	// Another of that name has to wait for its end.
	c.Apply(t, "", "{apiVersion: v1, kind: Namespace, metadata: {name: "+ns+"}}")
	c.Apply(t, ns, strings.Replace(webManifest, "replicas: 3", "replicas: 1", 1))
	c.WaitDeployment(t, ns, "web")
}
