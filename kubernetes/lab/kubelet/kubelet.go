//go:build linux

// Package kubelet is what tests have in the place of nodes: a scheduler that gives pods a
// node in turn, and a kubelet that starts a process for each container, in the pod's own
// network namespace, and does with it what a kubelet does: probes, status, restarts, and
// the end of a pod with preStop, SIGTERM, grace period and SIGKILL.
//
// What it does not do: limits of processors and memory, users and capabilities, read-only
// file systems, image pulls, init containers that stay, volumes other than configMap,
// secret, projected, downwardAPI and emptyDir, gRPC probes, and the renewal of mounted
// files.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/podnet"
)

// Program is what runs for an image.
type Program struct {
	Path string
	Args []string // unless the container has its own
}

// Node is a node that the kubelet makes, and runs pods of.
type Node struct {
	Name, Zone string
	Address    netip.Addr
}

// Options says what a kubelet works with.
type Options struct {
	Client  kubernetes.Interface
	Network *podnet.Network
	Nodes   []Node
	Dir     string                             // for volumes
	Image   func(name string) (Program, error) // the program of an image
}

// Kubelet runs the pods of its nodes.
type Kubelet struct {
	Options
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	pods   informers.SharedInformerFactory
	hosts  map[string]*podnet.Namespace // of the nodes

	mu      sync.Mutex // guards the following
	workers map[types.UID]*worker
	next    int // of the nodes, for the next pod without one
	logs    map[string]*testkit.Log
	gone    map[string]bool // abandoned namespaces
}

// Start makes the nodes and begins to run pods.
func Start(o Options) (*Kubelet, error) {
	k := &Kubelet{Options: o, workers: map[types.UID]*worker{}, logs: map[string]*testkit.Log{}, gone: map[string]bool{}, hosts: map[string]*podnet.Namespace{}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	for _, n := range o.Nodes {
		err := k.register(n)
		if err == nil {
			k.hosts[n.Name], err = k.Network.Node(n.Address)
		}
		if err != nil {
			k.cancel()
			return nil, fmt.Errorf("making node %s: %w", n.Name, err)
		}
	}
	k.pods = informers.NewSharedInformerFactory(o.Client, 0)
	_, err := k.pods.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.update(o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { k.update(o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			k.remove(o.(*corev1.Pod).UID)
		},
	})
	if err != nil {
		k.cancel()
		return nil, err
	}
	k.pods.Start(k.ctx.Done())
	return k, nil
}

// Stop kills all processes.
func (k *Kubelet) Stop() {
	k.cancel()
	k.pods.Shutdown()
	k.wg.Wait()
	for _, ns := range k.hosts {
		_ = ns.Close() // a file that is only open
	}
}

// register makes a node, with room for any number of pods.
func (k *Kubelet) register(n Node) error {
	nodes := k.Client.CoreV1().Nodes()
	node, err := nodes.Create(k.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.labels()}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("1000"),
	}
	node.Status = corev1.NodeStatus{
		Capacity: room, Allocatable: room,
		Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.Address.String()}, {Type: corev1.NodeHostName, Address: n.Name}},
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}},
	}
	if _, err := nodes.UpdateStatus(k.ctx, node, metav1.UpdateOptions{}); err != nil {
		return err
	}
	// The API server gives new nodes the taint not-ready, which a controller removes. It
	// isn't here, and this scheduler doesn't look at taints, but others may.
	_, err = nodes.Patch(k.ctx, n.Name, types.MergePatchType, []byte(`{"spec":{"taints":null}}`), metav1.PatchOptions{})
	return err
}

// node returns a node of this kubelet by its name.
func (k *Kubelet) node(name string) (Node, bool) {
	for _, n := range k.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// update passes the state of a pod to its worker, which it starts if there is none.
func (k *Kubelet) update(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.workers[pod.UID]
	if w == nil {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || k.ctx.Err() != nil {
			return
		}
		w = newWorker(k, pod)
		w.abandoned.Store(k.gone[pod.Namespace])
		k.workers[pod.UID] = w
		k.wg.Go(w.run)
	}
	w.set(pod)
}

// remove kills what is left of a pod that was removed.
func (k *Kubelet) remove(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[uid]; w != nil {
		w.cancel()
		delete(k.workers, uid)
	}
}

// Abandon kills the pods of a namespace at once and removes them, without their grace
// period, and those that are still to come.
func (k *Kubelet) Abandon(namespace string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone[namespace] = true
	for _, w := range k.workers {
		if pod, _ := w.get(); pod.Namespace == namespace {
			w.abandoned.Store(true)
			w.cancel()
		}
	}
}

// Expect undoes Abandon for a namespace that is made again.
func (k *Kubelet) Expect(namespace string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.gone, namespace)
}

// Kill sends SIGKILL to the processes of a pod's containers, as the kernel does when
// memory is short. They are started again if the pod's restart policy says so.
func (k *Kubelet) Kill(namespace, pod string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		if p, _ := w.get(); p.Namespace == namespace && p.Name == pod {
			for _, c := range w.all() {
				c.kill()
			}
			return nil
		}
	}
	return fmt.Errorf("no pod %s/%s runs here", namespace, pod)
}

// Log returns what the containers of a pod have written. It is there before the pod
// starts and after its end.
func (k *Kubelet) Log(namespace, pod string) *testkit.Log {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log(namespace, pod)
}

// log is Log for those who hold mu.
func (k *Kubelet) log(namespace, pod string) *testkit.Log {
	name := namespace + "/" + pod
	if k.logs[name] == nil {
		k.logs[name] = &testkit.Log{}
	}
	return k.logs[name]
}

// Logs returns the logs of all pods of a namespace, by the pods' names.
func (k *Kubelet) Logs(namespace string) map[string]*testkit.Log {
	k.mu.Lock()
	defer k.mu.Unlock()
	logs := map[string]*testkit.Log{}
	for name, log := range k.logs {
		if pod, ok := strings.CutPrefix(name, namespace+"/"); ok {
			logs[pod] = log
		}
	}
	return logs
}

// bind gives a pod the next node that it may be on.
func (k *Kubelet) bind(ctx context.Context, pod *corev1.Pod) error {
	var possible []Node
	for _, n := range k.Nodes {
		if n.suits(pod) {
			possible = append(possible, n)
		}
	}
	if len(possible) == 0 {
		return fmt.Errorf("no node suits the pod %s/%s", pod.Namespace, pod.Name)
	}
	k.mu.Lock()
	node := possible[k.next%len(possible)]
	k.next++
	k.mu.Unlock()
	err := k.Client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node.Name},
	}, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || errors.Is(err, context.Canceled) {
		return nil // it is gone, or has a node meanwhile
	}
	return err
}

// labels are those of the node's object.
func (n Node) labels() map[string]string {
	return map[string]string{
		"kubernetes.io/hostname": n.Name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": n.Zone,
	}
}

// suits reports whether the pod's node selector has the node's labels, and, for pods of
// DaemonSets, whether it is the node that the pod was made for.
func (n Node) suits(pod *corev1.Pod) bool {
	labels := n.labels()
	for key, value := range pod.Spec.NodeSelector {
		if labels[key] != value {
			return false
		}
	}
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == "metadata.name" && slices.Contains(field.Values, n.Name) {
				return true
			}
		}
	}
	return false
}
