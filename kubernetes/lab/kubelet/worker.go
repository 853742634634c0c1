//go:build linux

package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/kubernetes/lab/podnet"
)

// worker runs one pod, from its creation to its removal.
type worker struct {
	k      *Kubelet
	ctx    context.Context // ends when the pod is removed
	cancel context.CancelFunc
	log    *testkit.Log
	dir    string // for volumes
	ns     *podnet.Namespace
	sent   string // the last status that was written

	abandoned atomic.Bool // the pod is to be removed at once

	deleting chan struct{} // closed when the pod is to end
	dirty    chan struct{} // has an element when the state of a container has changed

	mu         sync.Mutex // guards the following
	pod        *corev1.Pod
	changed    chan struct{} // closed when pod changes
	containers []*box
	started    metav1.Time
	volumes    map[string]string // name, folder

	conditions map[corev1.PodConditionType]corev1.PodCondition // as last written; of run
}

func newWorker(k *Kubelet, pod *corev1.Pod) *worker {
	w := &worker{
		k: k, pod: pod, dir: filepath.Join(k.Dir, string(pod.UID)), volumes: map[string]string{},
		conditions: map[corev1.PodConditionType]corev1.PodCondition{},
		deleting:   make(chan struct{}), dirty: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	w.log = k.log(pod.Namespace, pod.Name)
	w.ctx, w.cancel = context.WithCancel(k.ctx)
	return w
}

// set remembers the newest state of the pod.
func (w *worker) set(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pod = pod
	close(w.changed)
	w.changed = make(chan struct{})
	if pod.DeletionTimestamp != nil {
		select {
		case <-w.deleting:
		default:
			close(w.deleting)
		}
	}
}

// get returns the newest state of the pod, and a channel that is closed when it changes.
func (w *worker) get() (*corev1.Pod, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod, w.changed
}

// all returns the containers that have been made.
func (w *worker) all() []*box {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.containers
}

// touch asks for the status to be written.
func (w *worker) touch() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// note writes a line about the pod to its log.
func (w *worker) note(format string, args ...any) {
	fmt.Fprintf(w.log, "[kubelet] "+format+"\n", args...)
}

// run does all that a pod needs.
func (w *worker) run() {
	defer w.remove()
	pod, ok := w.schedule()
	if !ok || w.abandoned.Load() {
		return
	}
	if err := w.prepare(pod); err != nil {
		w.note("not started: %v", err)
		w.finish(pod)
		return
	}
	defer func() {
		for _, c := range w.all() {
			c.kill()
			<-c.done
		}
		if err := w.leave(pod); err != nil {
			w.note("%v", err)
		}
		if err := os.RemoveAll(w.dir); err != nil {
			w.note("%v", err)
		}
	}()
	w.writeStatus()
	if !w.initialize(pod) {
		w.writeStatus()
		select {
		case <-w.deleting:
			w.finish(pod)
		case <-w.ctx.Done():
		}
		return
	}
	for _, spec := range pod.Spec.Containers {
		w.launch(spec, pod.Spec.RestartPolicy, false)
	}
	w.writeStatus()
	ended := make(chan struct{})
	for deleting := w.deleting; ; {
		select {
		case <-w.ctx.Done():
			return
		case <-w.dirty:
			w.writeStatus()
		case <-deleting:
			deleting = nil
			w.k.wg.Go(func() {
				defer close(ended)
				w.terminate()
			})
		case <-ended:
			w.writeStatus()
			w.finish(pod)
			return
		}
	}
}

// schedule waits until the pod has a node, and gives it one. It reports whether that is
// a node of this kubelet.
func (w *worker) schedule() (*corev1.Pod, bool) {
	asked := false
	for {
		pod, changed := w.get()
		if pod.Spec.NodeName != "" {
			_, ours := w.k.node(pod.Spec.NodeName)
			return pod, ours
		}
		again := make(<-chan time.Time)
		if !asked && len(pod.Spec.SchedulingGates) == 0 && pod.DeletionTimestamp == nil {
			asked = true
			if err := w.k.bind(w.ctx, pod); err != nil {
				w.note("%v", err)
				asked = false
				again = time.After(100 * time.Millisecond)
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-w.ctx.Done():
			return nil, false
		}
	}
}

// prepare makes the pod's network namespace and volumes. It waits for objects that
// volumes need.
func (w *worker) prepare(pod *corev1.Pod) (err error) {
	if pod.Spec.HostNetwork {
		w.ns = w.k.hosts[pod.Spec.NodeName]
	} else if w.ns, err = w.k.Network.Pod(); err != nil {
		return err
	}
	w.mu.Lock()
	w.started = metav1.Now()
	w.mu.Unlock()
	said := ""
	for {
		err := w.mount(pod)
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			w.note("%v", err)
		}
		select {
		case <-w.deleting:
		case <-w.ctx.Done():
		case <-time.After(100 * time.Millisecond):
			continue
		}
		return errors.Join(err, w.leave(pod))
	}
}

// leave gives up the pod's network namespace, unless it is the node's.
func (w *worker) leave(pod *corev1.Pod) error {
	if pod.Spec.HostNetwork {
		return nil
	}
	return w.ns.Close()
}

// initialize runs the init containers, one after the other. It reports false if the pod
// has to end before they have.
func (w *worker) initialize(pod *corev1.Pod) bool {
	for _, spec := range pod.Spec.InitContainers {
		policy := corev1.RestartPolicyOnFailure
		if pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			policy = corev1.RestartPolicyNever
		}
		c := w.launch(spec, policy, true)
		for waiting := true; waiting; {
			select {
			case <-c.done:
				waiting = false
			case <-w.dirty:
				w.writeStatus()
			case <-w.deleting:
				c.stopping.Store(true)
				c.kill()
				<-c.done
				return false
			case <-w.ctx.Done():
				return false
			}
		}
		if c.status().State.Terminated.ExitCode != 0 {
			return false
		}
	}
	return true
}

// terminate ends the containers, as kubelets do: preStop, SIGTERM, and SIGKILL at the end
// of the grace period.
func (w *worker) terminate() {
	pod, _ := w.get()
	grace := 30 * time.Second
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	end := time.Now().Add(grace)
	var wg sync.WaitGroup
	for _, c := range w.all() {
		wg.Go(func() { c.terminate(end) })
	}
	wg.Wait()
}

// finish removes the object of a pod that is to be deleted and has ended.
func (w *worker) finish(pod *corev1.Pod) {
	if isClosed(w.deleting) {
		w.delete(w.ctx, pod)
	}
}

// remove removes the object of an abandoned pod.
func (w *worker) remove() {
	w.cancel()
	if w.abandoned.Load() {
		pod, _ := w.get()
		w.delete(w.k.ctx, pod)
	}
}

// delete removes the object of a pod.
func (w *worker) delete(ctx context.Context, pod *corev1.Pod) {
	zero := int64(0)
	err := w.k.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		w.note("removing the pod: %v", err)
	}
}

// writeStatus writes the status if it has changed. It leaves conditions of others alone.
func (w *worker) writeStatus() {
	pod, _ := w.get()
	status := w.status(pod)
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil || string(text) == w.sent {
		return
	}
	_, err = w.k.Client.CoreV1().Pods(pod.Namespace).Patch(w.ctx, pod.Name, types.StrategicMergePatchType, text, metav1.PatchOptions{}, "status")
	switch {
	case err == nil:
		w.sent = string(text)
	case apierrors.IsNotFound(err) || w.ctx.Err() != nil:
	default:
		if !apierrors.IsConflict(err) {
			w.note("writing the status: %v", err)
		}
		time.AfterFunc(time.Second, w.touch)
	}
}
