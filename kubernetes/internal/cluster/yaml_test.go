package cluster

import (
	"fmt"
	"strings"
	"testing"
)

const shop = `
# a comment alone
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: web}}
---
apiVersion: v1
kind: Service
metadata: {name: chat, namespace: shop}
spec:
  ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: zoo}
---
apiVersion: v1
kind: Pod
metadata: {name: chat-1, namespace: shop}
spec: {containers: [{name: chat, image: chat}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: chat-b, namespace: shop, labels: {kubernetes.io/service-name: chat}}
addressType: IPv4
endpoints: []
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: chat-a, namespace: shop, labels: {kubernetes.io/service-name: chat}}
addressType: IPv4
endpoints: []
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat, namespace: shop}
spec: {hostnames: [chat.example.com]}
---
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: chat, namespace: shop}
spec: {targetRefs: [{group: "", kind: Service, name: chat}]}
`

func TestFromYAML(t *testing.T) {
	s, err := FromYAML(shop, "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: cert, namespace: shop}\n")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, service := range s.Services {
		names = append(names, service.Namespace+"/"+service.Name)
	}
	if got, want := strings.Join(names, " "), "default/zoo shop/api shop/chat"; got != want {
		t.Errorf("Services are %s, want %s", got, want)
	}
	if got := s.Service("shop", "chat"); got == nil || got.Spec.Ports[0].Port != 80 {
		t.Errorf("Service(shop, chat) = %v", got)
	}
	if got := s.Service("default", "chat"); got != nil {
		t.Errorf("Service(default, chat) = %v, want nil", got)
	}
	if got := s.Namespace("shop"); got == nil || got.Labels["team"] != "web" {
		t.Errorf("Namespace(shop) = %v", got)
	}
	if s.Pod("shop", "chat-1") == nil || s.Secret("shop", "cert") == nil || s.ConfigMap("shop", "cert") != nil {
		t.Error("Pod, Secret or ConfigMap returns something else than there is")
	}
	if secrets, configMaps := s.Wanted(); fmt.Sprint(secrets, configMaps) != "[shop/cert] [shop/cert]" {
		t.Errorf("Wanted() = %v, %v", secrets, configMaps)
	}
	if got := s.EndpointSlicesOf("shop", "chat"); len(got) != 2 || got[0].Name != "chat-a" || got[1].Name != "chat-b" {
		t.Errorf("EndpointSlicesOf(shop, chat) = %v", got)
	}
	if len(s.HTTPRoutes) != 1 || len(s.Policies) != 1 {
		t.Errorf("HTTPRoutes = %v, Policies = %v", s.HTTPRoutes, s.Policies)
	}
}

func TestFromYAMLErrors(t *testing.T) {
	for name, manifest := range map[string]string{
		"a misspelt field":     "apiVersion: v1\nkind: Service\nmetadata: {name: chat}\nspec: {port: []}\n",
		"an unknown kind":      "apiVersion: v1\nkind: Servive\nmetadata: {name: chat}\n",
		"a kind not read":      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: chat}\n",
		"a list":               "apiVersion: v1\nkind: ServiceList\nitems: []\n",
		"something else":       "hello",
		"a type that is wrong": "apiVersion: v1\nkind: Service\nmetadata: {name: [chat]}\n",
	} {
		if _, err := FromYAML(manifest); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}
