//go:build linux

// Package policy tests HoldfastPolicy with a real API server.
package policy

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/policy"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

const crds = "../../deploy/chart/holdfast/crds"

// start starts the cluster with the definition, and returns a client that knows the type.
func start(t *testing.T) (*lab.Cluster, client.Client, string) {
	c := lab.Start(t)
	c.CRDs(t, crds)
	typed, err := client.New(c.Config(), client.Options{Scheme: cluster.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c, typed, c.Namespace(t)
}

// TestExamples: what the documentation shows is accepted as it stands, and read back with
// everything in it.
func TestExamples(t *testing.T) {
	c, typed, namespace := start(t)
	docs, err := os.ReadFile("../../../docs/kubernetes-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(docs), -1) {
		c.Apply(t, "", strings.ReplaceAll(block[1], "namespace: default", "namespace: "+namespace))
	}
	var list v1alpha1.HoldfastPolicyList
	if err := typed.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) < 3 {
		t.Fatalf("%d policies", len(list.Items))
	}
	for _, p := range list.Items {
		if p.Name != "chat" {
			continue
		}
		var settings map[string]any
		if err := json.Unmarshal(p.Spec.Settings, &settings); err != nil {
			t.Fatal(err)
		}
		on, _ := json.Marshal(settings["reattach"])
		if string(on) != `{"true":["drain","loss","rebalance"]}` && string(on) != `{"on":["drain","loss","rebalance"]}` {
			t.Errorf("reattach is %s", on)
		}
		if len(p.Spec.TargetRefs) != 2 || settings["limits"] == nil || settings["auth"] == nil {
			t.Errorf("read back: %+v", p.Spec)
		}
	}
}

func TestRefused(t *testing.T) {
	c, _, namespace := start(t)
	const service = `[{group: "", kind: Service, name: chat}]`
	for _, x := range []struct{ targets, settings, want string }{
		{service, "drain: {timeout: 60}", "spec.drain.timeout"},
		{service, "drain: {timeout: soon}", "spec.drain.timeout"},
		{service, "drain: 60s", "spec.drain"},
		{service, "balance: leastconn", `spec.balance: Unsupported value: "leastconn": supported values: "round_robin", "least_conn"`},
		{service, "max_sessions: many", "spec.max_sessions"},
		{service, "limits: {max_message: 1GB}", "spec.limits.max_message"},
		{`[]`, "drain: {timeout: 60s}", "spec.targetRefs"},
		{`[{group: "", kind: Pod, name: chat}]`, "drain: {timeout: 60s}", `spec.targetRefs[0].kind: Unsupported value: "Pod"`},
		{`[{group: gateway.networking.k8s.io, kind: Service, name: chat}]`, "drain: {timeout: 60s}", `the group of a Service is ""`},
		{`[{group: "", kind: HTTPRoute, name: chat}]`, "timeouts: {idle: 60s}", "of the others gateway.networking.k8s.io"},
		{service, "", ""},
		{service, "drain: {timeout: 0}\n  health: {min_healthy: 1, http: {path: /, expect: [200, 300-399]}}", ""},
		{service, "drian: {timeout: 60s}\n  auth: {jwt: {audiense: x}}", ""},
	} {
		err := c.ApplyErr(t, namespace, "apiVersion: holdfast.dev/v1alpha1\nkind: HoldfastPolicy\nmetadata: {name: p}\nspec:\n  targetRefs: "+x.targets+"\n  "+x.settings)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s %s: %v, want an error with %q", x.targets, x.settings, err, x.want)
		}
	}
}

// TestStatus: what Apply makes of the API server's objects can be written as their status,
// unknown keys arrive there, and nothing is left to be written then.
func TestStatus(t *testing.T) {
	c, typed, namespace := start(t)
	c.Apply(t, namespace, `
apiVersion: v1
kind: Service
metadata: {name: chat}
spec: {selector: {app: chat}, ports: [{name: ws, port: 80}]}
---
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: good}
spec:
  targetRefs: [{group: "", kind: Service, name: chat, sectionName: ws}, {group: "", kind: Service, name: none}]
  reattach: {on: [drain]}
---
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: misspelt}
spec:
  targetRefs: [{group: "", kind: Service, name: chat}]
  drain: {timeuot: 60s}
`)
	apply := func() map[string]*v1alpha1.HoldfastPolicy {
		var objects []client.Object
		var services corev1.ServiceList
		var policies v1alpha1.HoldfastPolicyList
		for _, list := range []client.ObjectList{&services, &policies} {
			if err := typed.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range services.Items {
			objects = append(objects, &services.Items[i])
		}
		for i := range policies.Items {
			objects = append(objects, &policies.Items[i])
		}
		s, err := cluster.New(objects)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]*v1alpha1.HoldfastPolicy{}
		for _, o := range policy.Apply(s, policy.Options{Controller: "holdfast.dev/gateway", Now: metav1.Now(), Forwarded: config.Defaults().Forwarded}, nil).Statuses {
			all[o.GetName()] = o.(*v1alpha1.HoldfastPolicy)
		}
		return all
	}
	for name, p := range apply() {
		if err := typed.Status().Update(t.Context(), p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	again := apply()
	for name, want := range map[string][]string{"good": {"Accepted", "TargetNotFound"}, "misspelt": {"Invalid"}} {
		var written v1alpha1.HoldfastPolicy
		if err := typed.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &written); err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for _, a := range written.Status.Ancestors {
			reasons = append(reasons, a.Conditions[0].Reason)
			if name == "misspelt" && !strings.Contains(a.Conditions[0].Message, `unknown key "timeuot" (did you mean "timeout"?)`) {
				t.Errorf("the message is %q", a.Conditions[0].Message)
			}
		}
		if !reflect.DeepEqual(reasons, want) {
			t.Errorf("%s has the reasons %v, want %v", name, reasons, want)
		}
		if !reflect.DeepEqual(again[name].Status, written.Status) {
			t.Errorf("%s would be written again: %+v, then %+v", name, written.Status, again[name].Status)
		}
	}
}
