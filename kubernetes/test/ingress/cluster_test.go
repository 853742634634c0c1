//go:build linux

// Package ingress tests Ingresses end to end: the controller in pods of a real API server,
// with WebSockets through it.
package ingress

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/wspeer"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestMain is also the start of the server in the pods: the test binary with "chat".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "chat" {
		chat()
		return
	}
	lab.Main(m)
}

// chat says which pod it is and what the client's request had, and then echoes.
func chat() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			fmt.Fprintln(w, os.Getenv("POD"))
			return
		}
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			fmt.Println(err)
			return
		}
		defer conn.Close()
		c, err := wspeer.Accept(conn, rw.Reader, r)
		if err != nil || c.SendText(os.Getenv("POD")+" "+r.Header.Get("X-Forwarded-Scheme")) != nil {
			return
		}
		for {
			text, err := c.Message()
			if closed, ok := err.(*wspeer.CloseError); ok {
				c.SendClose(closed.Code, closed.Reason)
			}
			if err != nil || c.SendText(text) != nil {
				return
			}
		}
	})
	fmt.Println("chat:", http.ListenAndServe(":3000", nil))
}

// pods is a Deployment of the server and its Service, with the port 8080.
func pods(name string, replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
        - name: chat
          image: example.com/chat
          ports: [{name: ws, containerPort: 3000}]
          env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          readinessProbe: {tcpSocket: {port: ws}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{name: ws, port: 8080, targetPort: ws}]}
`, name, replicas)
}

// controller is the manifest of the controller, two pods of it. Its rights are those of an
// administrator: kubernetes/test/install tests those that it needs.
const controller = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NS-admin}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: default, namespace: NS}]
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: holdfast}
spec: {controller: holdfast.dev/ingress}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: holdfast}
spec:
  replicas: 2
  selector: {matchLabels: {app: holdfast}}
  template:
    metadata: {labels: {app: holdfast}}
    spec:
      containers:
        - name: holdfast
          image: example.com/holdfast-kubernetes
          args: [--publish-service=NS/holdfast, --gateway-api=false]
          env:
            - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
          readinessProbe: {httpGet: {path: /health, port: 9901}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: holdfast}
spec:
  type: LoadBalancer
  selector: {app: holdfast}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]
`

// balancer is the controller, as the tests reach it.
type balancer struct {
	*lab.Cluster
	namespace string
	address   string   // of its load balancer
	replicas  []string // addresses of its pods
}

func start(t *testing.T) *balancer {
	t.Helper()
	c := lab.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Image("example.com/chat", self, "chat")
	c.Image("example.com/holdfast-kubernetes", lab.Build(t, "github.com/holdfast-ws/holdfast/kubernetes/cmd/holdfast-kubernetes"))
	ns := c.Namespace(t)
	c.CRDs(t, "../../deploy/chart/holdfast/crds")
	c.Apply(t, ns, strings.ReplaceAll(controller, "NS", ns))
	c.WaitDeployment(t, ns, "holdfast")
	b := &balancer{Cluster: c, namespace: ns, address: c.WaitLoadBalancer(t, ns, "holdfast")}
	for _, p := range c.Pods(t, ns, map[string]string{"app": "holdfast"}) {
		b.replicas = append(b.replicas, p.Status.PodIP)
	}
	return b
}

// session is an open WebSocket.
type session struct {
	*wspeer.Conn
	pod, scheme string
	cookie      string // of Set-Cookie, "name=value"; "" if there was none
	serial      string // of the server's certificate
	messages    chan string
}

// caller is a client.
type caller struct {
	to     string // an address without a port
	from   string // "" is any
	host   string
	tls    bool
	header []string
}

func (c caller) dial() (*session, error) {
	port := "8080"
	if c.tls {
		port = "8443"
	}
	dialer := net.Dialer{Timeout: testkit.Patience}
	if c.from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(c.from)}
	}
	conn, err := dialer.Dial("tcp", net.JoinHostPort(c.to, port))
	if err != nil {
		return nil, err
	}
	s := &session{}
	if c.tls {
		conn.SetDeadline(time.Now().Add(testkit.Patience))
		over := tls.Client(conn, &tls.Config{ServerName: c.host, InsecureSkipVerify: true})
		if err := over.Handshake(); err != nil {
			conn.Close()
			return nil, err
		}
		s.serial = over.ConnectionState().PeerCertificates[0].SerialNumber.String()
		conn = over
	}
	s.Conn = wspeer.NewClient(conn)
	res, err := s.Handshake(c.host, "/", c.header)
	if err != nil {
		conn.Close()
		return nil, err
	}
	for _, cookie := range res.Cookies() {
		s.cookie = cookie.Name + "=" + cookie.Value
	}
	s.SetDeadline(time.Now().Add(testkit.Patience))
	text, err := s.Message()
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.SetDeadline(time.Time{})
	s.pod, s.scheme, _ = strings.Cut(text, " ")
	return s, nil
}

// open dials, and closes the session at the end of the test. Until then, pings are
// answered, however long that takes.
func (c caller) open(t *testing.T) *session {
	t.Helper()
	s, err := c.dial()
	if err != nil {
		t.Fatalf("a WebSocket to %s at %s: %v", c.host, c.to, err)
	}
	s.messages = make(chan string, 1)
	go func() {
		defer close(s.messages)
		for {
			text, err := s.Message()
			if err != nil {
				return
			}
			s.messages <- text
		}
	}()
	t.Cleanup(func() {
		s.Conn.Close()
		for range s.messages {
		}
	})
	return s
}

// visit is the pod that a short session gets to; "" if there was none.
func (c caller) visit() string {
	s, err := c.dial()
	if err != nil {
		return ""
	}
	s.SendClose(1000, "")
	s.Conn.Close()
	return s.pod
}

// everywhere waits until each replica serves a client, and ok of the pod.
func (b *balancer) everywhere(t *testing.T, what string, c caller, ok func(pod string) bool) {
	t.Helper()
	for _, c.to = range b.replicas {
		testkit.Eventually(t, what+" at "+c.to, func() bool { return ok(c.visit()) })
	}
}

func served(pod string) bool { return pod != "" }

// alive checks that sessions are open and pass messages.
func alive(t *testing.T, sessions ...*session) {
	t.Helper()
	for i, s := range sessions {
		text := fmt.Sprint("message ", i)
		if err := s.SendText(text); err != nil {
			t.Errorf("the session with %s: %v", s.pod, err)
		} else if got := testkit.Receive(t, "an echo of "+s.pod, s.messages); got != text {
			t.Errorf("the session with %s: sent %q and got %q", s.pod, text, got)
		}
	}
}

// untouched checks that no backend has left a replica's configuration or is drained.
func (b *balancer) untouched(t *testing.T) {
	t.Helper()
	for _, pod := range b.Pods(t, b.namespace, map[string]string{"app": "holdfast"}) {
		log := b.Log(b.namespace, pod.Name)
		if !log.Contains(`"msg":"reloaded"`) {
			t.Errorf("the log of %s says nothing of reloads", pod.Name)
		}
		for _, line := range log.Lines(0) {
			if strings.Contains(line, "is being emptied") || strings.Contains(line, "backends_left") && !strings.Contains(line, `"backends_left":0`) {
				t.Errorf("%s drains: %s", pod.Name, line)
			}
		}
	}
}

// event waits for an Event of an Ingress, and returns its message.
func (b *balancer) event(t *testing.T, namespace, ingress, kind, reason, text string) {
	t.Helper()
	var seen []string
	defer func() {
		if t.Failed() {
			t.Logf("the Events are %q", seen)
		}
	}()
	testkit.Eventually(t, fmt.Sprintf("an Event %s of %s about %q", reason, ingress, text), func() bool {
		list := &corev1.EventList{}
		if err := b.Client().List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		seen = nil
		for _, e := range list.Items {
			if e.InvolvedObject.Kind != "Ingress" || e.InvolvedObject.Name != ingress {
				continue
			}
			if seen = append(seen, e.Type+" "+e.Reason+" "+e.Message); e.Type == kind && e.Reason == reason && strings.Contains(e.Message, text) {
				return true
			}
		}
		return false
	})
}

// status waits until an Ingress has the address of the load balancer.
func (b *balancer) status(t *testing.T, namespace, name string) {
	t.Helper()
	testkit.Eventually(t, "the status of "+name, func() bool {
		i := &networkingv1.Ingress{}
		if err := b.Client().Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, i); err != nil {
			t.Fatal(err)
		}
		list := i.Status.LoadBalancer.Ingress
		return len(list) == 1 && list[0].IP == b.address
	})
}
