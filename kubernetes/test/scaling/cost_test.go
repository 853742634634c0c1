//go:build linux

package scaling

import (
	"context"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale/cost"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  replicas: 6
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec: {containers: [{name: chat, image: example.com/chat}]}
`

// TestReplicaSetTakesTheEmptiest: of six pods with different numbers of sessions, the real
// controller of ReplicaSets leaves the two with the most. Costs are gone when sessions are.
func TestReplicaSetTakesTheEmptiest(t *testing.T) {
	c := lab.Start(t)
	chatImage(t, c)
	ns := c.Namespace(t)
	c.Apply(t, ns, deployment)
	c.WaitDeployment(t, ns, "chat")
	all := c.Pods(t, ns, map[string]string{"app": "chat"})
	if len(all) != 6 {
		t.Fatalf("%d pods", len(all))
	}
	// The oldest and the newest have few, so that neither age nor name decides.
	numbers := []int{20, 500, 0, 90, 600, 10}
	loads := scale.Loads{Pods: map[types.NamespacedName]int{}}
	for i, pod := range all {
		loads.Pods[types.NamespacedName{Namespace: ns, Name: pod.Name}] = numbers[i]
	}
	// round writes costs once: Run waits for a minute after it.
	round := func(until func(map[string]string) bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			cost.Run(ctx, cost.Options{Client: c.Client(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
				Loads: func() (scale.Loads, error) { return loads, nil }, Snapshot: func() *cluster.Snapshot { return podsOf(t, c, ns) }})
		}()
		testkit.Eventually(t, "deletion costs", func() bool {
			costs := map[string]string{}
			for _, p := range c.Pods(t, ns, map[string]string{"app": "chat"}) {
				costs[p.Name] = p.Annotations[cost.Annotation]
			}
			return until(costs)
		})
		cancel()
		<-ended
	}
	round(func(costs map[string]string) bool {
		for i, pod := range all {
			if costs[pod.Name] != []string{"20", "500", "", "90", "600", "10"}[i] {
				return false
			}
		}
		return true
	})
	scaleTo(t, c, ns, 2)
	testkit.Eventually(t, "two pods", func() bool { return len(c.Pods(t, ns, map[string]string{"app": "chat"})) == 2 })
	for _, pod := range c.Pods(t, ns, map[string]string{"app": "chat"}) {
		if n := loads.Pods[types.NamespacedName{Namespace: ns, Name: pod.Name}]; n < 500 {
			t.Errorf("a pod with %d sessions is left", n)
		}
	}
	clear(loads.Pods)
	round(func(costs map[string]string) bool {
		for _, cost := range costs {
			if cost != "" {
				return false
			}
		}
		return true
	})
}

// podsOf is what informers have of the pods: their metadata.
func podsOf(t *testing.T, c *lab.Cluster, ns string) *cluster.Snapshot {
	t.Helper()
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := c.Client().List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	var objects []client.Object
	for i := range list.Items {
		objects = append(objects, &list.Items[i])
	}
	s, err := cluster.New(objects)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scaleTo(t *testing.T, c *lab.Cluster, ns string, n int32) {
	t.Helper()
	deployments := c.Kube().AppsV1().Deployments(ns)
	s, err := deployments.GetScale(context.Background(), "chat", metav1.GetOptions{})
	if err == nil {
		s.Spec.Replicas = n
		_, err = deployments.UpdateScale(context.Background(), "chat", s, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}
