//go:build linux

package rolling

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/testkit"
)

// testChangesOfOthers: 1,000 slices that are written again as they were, and 136 changes
// of other endpoints of the same Service, touch no session of a pod that stays.
func testChangesOfOthers(t *testing.T, i *installed) {
	c := newClients(t, false)
	n := sessions(300)
	c.open(t, n, i.url)
	before := c.pods()

	list := &discoveryv1.EndpointSliceList{}
	if err := i.Client().List(t.Context(), list, client.InNamespace(i.ns), client.MatchingLabels{discoveryv1.LabelServiceName: "chat"}); err != nil {
		t.Fatal(err)
	}
	ours := &list.Items[0]
	for k := range 1000 {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"written":"%d"}}}`, k)
		if err := i.Client().Patch(t.Context(), ours, client.RawPatch(types.MergePatchType, patch)); err != nil {
			t.Fatal(err)
		}
	}
	// The endpoints that come and go aren't ready, so that no new session goes there.
	for k := range 136 {
		i.Apply(t, i.ns, fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: others, labels: {kubernetes.io/service-name: chat}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.247.99.%d], conditions: {ready: false}}]
`, k+1))
	}
	c.progress(t)
	if closed := c.closings(); len(closed) > 0 {
		t.Errorf("%d of %d sessions were closed, the first with %d", len(closed), n, closed[0].code)
	}
	after := c.pods()
	for k := range before {
		if before[k] != after[k] {
			t.Fatalf("a session was moved from %s to %s", before[k], after[k])
		}
	}
	others := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: i.ns, Name: "others"}}
	if err := i.Client().Delete(t.Context(), others); err != nil {
		t.Fatal(err)
	}
	c.progress(t)
	t.Logf("%d sessions stayed through 1,000 equal slices and 137 changes of other endpoints", n)
}

// testControllerIsKilled: sessions by the other replica don't notice, and statuses are
// written again once the Lease has run out.
func testControllerIsKilled(t *testing.T, i *installed) {
	pods := i.controllers(t)
	if len(pods) != 2 {
		t.Fatalf("%d replicas of the controller, want 2", len(pods))
	}
	lead := slices.IndexFunc(pods, func(p corev1.Pod) bool { return strings.HasPrefix(i.holder(t), p.Name+"-") })
	if lead < 0 {
		t.Fatalf("the Lease is held by %q", i.holder(t))
	}
	leader, other := pods[lead], pods[1-lead]
	c := newClients(t, false)
	n := sessions(100)
	c.open(t, n, "ws://"+other.Status.PodIP+":8080/")
	lost := newClients(t, false)
	lost.open(t, 10, "ws://"+leader.Status.PodIP+":8080/")

	now := int64(0)
	killed := time.Now()
	if err := i.Client().Delete(t.Context(), &leader, &client.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the sessions of the killed replica are lost", func() bool { return len(lost.closings()) == 10 })
	i.Apply(t, i.ns, strings.Replace(chatIngress, "name: chat}", "name: later}", 1))
	testkit.Eventually(t, "the status of an Ingress is written by another leader", func() bool {
		ingress := &networkingv1.Ingress{}
		err := i.Client().Get(t.Context(), types.NamespacedName{Namespace: i.ns, Name: "later"}, ingress)
		return err == nil && len(ingress.Status.LoadBalancer.Ingress) > 0
	})
	took := time.Since(killed)
	c.progress(t)
	if closed := c.closings(); len(closed) > 0 {
		t.Errorf("%d sessions of the replica that stays were closed, the first with %d", len(closed), closed[0].code)
	}
	i.WaitDeployment(t, system, system)
	t.Logf("the leader was killed: %d sessions of the other replica stayed, and a status was written %s later", n, took.Round(100*time.Millisecond))
}

// testControllerIsUpdated: each replica closes its sessions with 1001, and the clients
// that connect again are served all the time.
func testControllerIsUpdated(t *testing.T, i *installed) {
	c := newClients(t, true)
	n := sessions(100)
	c.open(t, n, i.url)
	i.restart(t, system, system, map[string]string{"app.kubernetes.io/name": "holdfast"})
	c.progress(t)
	codes := map[int]int{}
	for _, one := range c.closings() {
		codes[int(one.code)]++
	}
	if len(codes) != 1 || codes[1001] < n {
		t.Errorf("close codes: %v, want 1001 for each of %d sessions", codes, n)
	}
	t.Logf("the controller was updated: %d closes of %d clients, all with 1001", codes[1001], n)
}

// holder is who holds the controller's Lease.
func (i *installed) holder(t *testing.T) string {
	leases := &coordinationv1.LeaseList{}
	if err := i.Client().List(t.Context(), leases, client.InNamespace(system)); err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Items {
		if l.Spec.HolderIdentity != nil && strings.HasPrefix(l.Name, "holdfast") {
			return *l.Spec.HolderIdentity
		}
	}
	return ""
}
