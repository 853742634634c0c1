//go:build linux

package cost

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestMain is also the program of pods, which waits.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "wait" {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		<-stop
		return
	}
	lab.Main(m)
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  replicas: 6
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec: {containers: [{name: chat, image: example.com/wait}]}
`

// TestReplicaSetTakesTheEmptiest: of six pods with different numbers of sessions, the real
// controller of ReplicaSets leaves the two with the most. Costs are gone when sessions are.
func TestReplicaSetTakesTheEmptiest(t *testing.T) {
	c := lab.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Image("example.com/wait", self, "wait")
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
	w := writer{Options: Options{Client: c.Client(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Loads:    func() (scale.Loads, error) { return loads, nil },
		Snapshot: func() *cluster.Snapshot { return podsOf(t, c, ns) }}}
	w.round(t.Context())
	for i, pod := range c.Pods(t, ns, map[string]string{"app": "chat"}) {
		want := []string{"20", "500", "", "90", "600", "10"}[i]
		if pod.Annotations[Annotation] != want || pod.Annotations[Written] != want {
			t.Errorf("pod %d has the costs %q and %q, want %q", i, pod.Annotations[Annotation], pod.Annotations[Written], want)
		}
	}
	// Nothing has changed: nothing is written.
	before := versions(c.Pods(t, ns, nil))
	w.round(t.Context())
	if after := versions(c.Pods(t, ns, nil)); !slices.Equal(before, after) {
		t.Errorf("versions %v became %v", before, after)
	}
	scaleTo(t, c, ns, 2)
	testkit.Eventually(t, "two pods", func() bool { return len(c.Pods(t, ns, map[string]string{"app": "chat"})) == 2 })
	for _, pod := range c.Pods(t, ns, map[string]string{"app": "chat"}) {
		if n := loads.Pods[types.NamespacedName{Namespace: ns, Name: pod.Name}]; n < 500 {
			t.Errorf("a pod with %d sessions is left", n)
		}
	}
	clear(loads.Pods)
	w.round(t.Context())
	for _, pod := range c.Pods(t, ns, map[string]string{"app": "chat"}) {
		if _, has := pod.Annotations[Annotation]; has {
			t.Errorf("%s still has a cost without sessions", pod.Name)
		}
	}
	// A pod that has the name of one that is gone isn't written.
	gone := pod(all[0].Name)
	gone.Namespace = ns
	if err := w.write(t.Context(), change{pod: gone, cost: 5}); err != nil {
		t.Error(err)
	}
	other := pod(c.Pods(t, ns, map[string]string{"app": "chat"})[0].Name)
	other.Namespace = ns
	if err := w.write(t.Context(), change{pod: other, cost: 5}); err != nil {
		t.Errorf("the UID of another pod: %v", err)
	}
	if p := c.Pods(t, ns, map[string]string{"app": "chat"})[0]; p.Annotations[Annotation] != "" {
		t.Error("a pod was written by the UID of another")
	}
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

func versions(pods []corev1.Pod) (list []string) {
	for _, p := range pods {
		list = append(list, p.Name+" "+p.ResourceVersion)
	}
	return list
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
