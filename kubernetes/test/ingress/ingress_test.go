//go:build linux

package ingress

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// tutorial is the Ingress that tutorials about WebSockets have, but for its class.
const tutorial = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: websocket-ingress
  annotations:
    nginx.ingress.kubernetes.io/affinity: cookie
    nginx.ingress.kubernetes.io/session-cookie-name: route
    nginx.ingress.kubernetes.io/session-cookie-expires: "172800"
    nginx.ingress.kubernetes.io/session-cookie-max-age: "172800"
    nginx.ingress.kubernetes.io/proxy-read-timeout: "86400"
    nginx.ingress.kubernetes.io/proxy-send-timeout: "86400"
    nginx.ingress.kubernetes.io/upstream-hash-by: $remote_addr
spec:
  ingressClassName: holdfast
  rules:
    - host: HOST
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: chat
                port:
                  number: 8080
`

// ingress is an Ingress for a host that leads to a Service.
func ingress(name, host, service string, annotations ...string) string {
	return fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s, annotations: {%s}}
spec:
  ingressClassName: holdfast
  rules: [{host: %s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %s, port: {name: ws}}}}]}}]
`, name, strings.Join(annotations, ", "), host, service)
}

const nginx = "nginx.ingress.kubernetes.io/"

// TestIngress has one controller for all its subtests. In each, sessions that were open
// before an edit are open afterwards.
func TestIngress(t *testing.T) {
	b := start(t)
	ns := b.Namespace(t)
	b.Apply(t, ns, pods("chat", 3)+"---"+pods("next", 1))
	b.WaitDeployment(t, ns, "chat")
	b.WaitDeployment(t, ns, "next")
	host := func(name string) string { return name + "." + ns + ".example" }

	b.Apply(t, ns, strings.ReplaceAll(tutorial, "HOST", host("ws")))
	visitor := caller{host: host("ws")}
	known := map[string]bool{}             // the pods
	for _, visitor.to = range b.replicas { // clients without a cookie
		seen := map[string]bool{"": true}
		testkit.Eventually(t, "sessions with all pods by "+visitor.to, func() bool {
			pod := visitor.visit()
			seen[pod], known[pod] = true, true
			return len(seen) == 4
		})
	}
	var held []*session
	for _, visitor.to = range b.replicas {
		held = append(held, visitor.open(t))
	}
	pinned := held[0]

	t.Run("cookie", func(t *testing.T) {
		name, _, _ := strings.Cut(pinned.cookie, "=")
		if name != "route" {
			t.Fatalf("the cookie is %q", pinned.cookie)
		}
		// Both replicas know each other's cookies, whoever comes.
		for i := range 10 {
			again := caller{to: b.replicas[i%2], host: host("ws"), header: []string{"Cookie: " + pinned.cookie}}
			if pod := again.visit(); pod != pinned.pod {
				t.Errorf("the client of %s got to %q", pinned.pod, pod)
			}
		}
	})

	t.Run("report", func(t *testing.T) {
		b.status(t, ns, "websocket-ingress")
		b.event(t, ns, "websocket-ingress", "Normal", "Different", "affinity: cookie")
		b.Apply(t, ns, ingress("unknown", host("unknown"), "chat", nginx+`proxy-red-timeout: "5"`))
		b.event(t, ns, "unknown", "Normal", "Different", `no such annotation (did you mean "proxy-read-timeout"?)`)
	})

	t.Run("hash", func(t *testing.T) {
		b.Apply(t, ns, ingress("hashed", host("hash"), "chat", nginx+"upstream-hash-by: $remote_addr"))
		b.everywhere(t, "an Ingress with a hash", caller{host: host("hash")}, served)
		clients := map[string]string{} // from addresses to pods
		for i := range 12 {
			c := caller{host: host("hash"), from: fmt.Sprintf("10.247.%d.%d", 1+rand.IntN(200), 1+i)}
			c.to = b.replicas[0]
			first := c.visit()
			c.to = b.replicas[1]
			if second := c.visit(); first == "" || first != second {
				t.Errorf("the client %s got to %q and then, by the other replica, to %q", c.from, first, second)
			}
			clients[c.from] = first
		}
		before := map[string]bool{}
		for _, pod := range clients {
			before[pod] = true
		}
		if len(before) < 2 {
			t.Errorf("twelve clients got to %v", clients)
		}
		// Another pod takes clients from others, and no client goes anywhere else.
		b.Apply(t, ns, pods("chat", 4))
		b.WaitDeployment(t, ns, "chat")
		added := ""
		for _, p := range b.Pods(t, ns, map[string]string{"app": "chat"}) {
			if !known[p.Name] {
				added = p.Name
			}
		}
		for _, visitor.to = range b.replicas {
			testkit.Eventually(t, "a session with the new pod by "+visitor.to, func() bool { return visitor.visit() == added })
			for from, pod := range clients {
				c := caller{to: visitor.to, host: host("hash"), from: from}
				if now := c.visit(); now != pod && now != added {
					t.Errorf("the client %s of %s got to %q", from, pod, now)
				}
			}
		}
	})

	t.Run("certificate", func(t *testing.T) {
		secret := func(p *testca.Pair) string {
			encode := base64.StdEncoding.EncodeToString
			return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: tls}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n", encode(p.Cert), encode(p.Key))
		}
		ca := testca.New(t)
		one, two := ca.Issue(host("tls")), ca.Issue(host("tls"))
		spec := strings.Replace(ingress("tls", host("tls"), "chat"), "spec:", "spec:\n  tls: [{hosts: ["+host("tls")+"], secretName: tls}]", 1)
		b.Apply(t, ns, spec)
		b.event(t, ns, "tls", "Warning", "CertificateNotUsed", `there is no Secret "`+ns+`/tls"`)

		visitor := caller{host: host("tls"), tls: true}
		has := func(p *testca.Pair) func() bool {
			return func() bool {
				s, err := visitor.dial()
				if err != nil {
					return false
				}
				defer s.Conn.Close()
				return s.serial == p.TLS.Leaf.SerialNumber.String()
			}
		}
		var open []*session
		for _, p := range []*testca.Pair{one, two} {
			b.Apply(t, ns, secret(p))
			for _, visitor.to = range b.replicas {
				testkit.Eventually(t, "the certificate at "+visitor.to, has(p))
				open = append(open, visitor.open(t))
			}
		}
		alive(t, open...)
		if open[0].scheme != "https" {
			t.Errorf("X-Forwarded-Scheme is %q", open[0].scheme)
		}
		if pod := (caller{to: b.replicas[0], host: host("tls")}).visit(); pod != "" {
			t.Errorf("without TLS, a client gets to %s", pod)
		}
	})

	t.Run("canary", func(t *testing.T) {
		b.Apply(t, ns, ingress("canary", host("ws"), "next", nginx+`canary: "true"`, nginx+"canary-by-header: X-Canary"))
		next := func(pod string) bool { return strings.HasPrefix(pod, "next-") }
		b.everywhere(t, "a client with the header", caller{host: host("ws"), header: []string{"X-Canary: always"}}, next)
		for range 6 {
			if pod := (caller{to: b.replicas[0], host: host("ws")}).visit(); !strings.HasPrefix(pod, "chat-") {
				t.Errorf("a client without the header gets to %q", pod)
			}
		}
	})

	t.Run("closed", func(t *testing.T) {
		guarded := ingress("guarded", host("guarded"), "chat", nginx+"auth-type: basic", nginx+"auth-secret: users")
		b.Apply(t, ns, guarded)
		b.event(t, ns, "guarded", "Warning", "NotCarriedOver", "auth-type: basic")
		if pod := (caller{to: b.replicas[0], host: host("guarded")}).visit(); pod != "" {
			t.Errorf("a client without a password gets to %s", pod)
		}
		b.Apply(t, ns, strings.Replace(guarded, "auth-secret: users", "auth-secret: users, holdfast.dev/accept-loss: auth-type", 1))
		b.everywhere(t, "an Ingress whose loss is accepted", caller{host: host("guarded")}, served)
	})

	t.Run("edits", func(t *testing.T) {
		edited := &networkingv1.Ingress{}
		if err := b.Client().Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "websocket-ingress"}, edited); err != nil {
			t.Fatal(err)
		}
		before := maps.Clone(edited.Annotations)
		for i, name := range slices.Sorted(maps.Keys(before)) {
			change := client.MergeFrom(edited.DeepCopy())
			delete(edited.Annotations, name)
			if err := b.Client().Patch(t.Context(), edited, change); err != nil {
				t.Fatal(err)
			}
			// A new Ingress is served after what was before it.
			b.Apply(t, ns, ingress(fmt.Sprint("after-", i), host(fmt.Sprint("after-", i)), "chat"))
			b.everywhere(t, "another Ingress", caller{host: host(fmt.Sprint("after-", i))}, served)
			alive(t, held...)
		}
		b.untouched(t)
	})
	alive(t, held...)
}
