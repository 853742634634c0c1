//go:build linux

package controller

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestOneNamespace: with the rights of the chart's Roles for one namespace, which allow
// no list of Secrets in the controller's own, a replica gets ready and sees both
// namespaces.
func TestOneNamespace(t *testing.T) {
	c := lab.Start(t)
	own, ns := c.Namespace(t), c.Namespace(t)
	server(t, "10.247.4.1:8080", "one")
	const web = "10.247.4.9:80"
	rules := `
- {apiGroups: [""], resources: [services, pods], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
`
	role := func(namespace, rules string) string {
		return `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: holdfast, namespace: ` + namespace + `}
rules:` + rules + `---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: holdfast, namespace: ` + namespace + `}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: holdfast}
subjects: [{kind: ServiceAccount, name: default, namespace: ` + own + `}]
---
`
	}
	c.Apply(t, "", role(own, rules+`- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
`)+role(ns, rules+`- {apiGroups: [""], resources: [secrets, configmaps], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [update, patch]}
- {apiGroups: [""], resources: [events], verbs: [create, patch]}
`)+`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: holdfast-one-namespace}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingressclasses], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: holdfast-one-namespace}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: holdfast-one-namespace}
subjects: [{kind: ServiceAccount, name: default, namespace: `+own+`}]
`)
	c.Apply(t, ns, chatService+"---"+chatSlice("10.247.4.1", "")+"---"+chatIngress)
	c.Apply(t, own, strings.Replace(chatService, "name: chat", "name: peers", 1)+"---"+strings.Replace(chatSlice("10.247.4.1", ""), "name: chat-1", "name: peers-1", 1))
	r := start(t, Options{REST: c.ConfigFor(t, own, "default"), Watch: []string{ns}, Namespace: own, Settings: settingsFile(t, ""), Translators: simple(web)})
	eventually(t, "the Ingress is served", func() bool { return get(web, "chat.example") == "200 one" })
	eventually(t, "it is ready", func() bool { return r.NotReady() == "" })
	if s := r.Snapshot(); s.Service(own, "peers") == nil || len(s.EndpointSlicesOf(own, "chat")) != 1 {
		t.Error("it doesn't see the Services and EndpointSlices of its own namespace")
	}
	if r.log.Contains("refuses") {
		t.Error("it asks for what it may not")
	}
}
