// Package cost writes how many sessions a pod has to its annotation
// controller.kubernetes.io/pod-deletion-cost. A ReplicaSet that has too many pods removes
// those with the lowest cost first (KEP-2255).
package cost

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/scale"
)

const (
	// Annotation is what ReplicaSets look at.
	Annotation = cluster.PodDeletionCost
	// Written has what was written to Annotation. If they differ, somebody else has
	// written a cost, which is left alone.
	Written = cluster.WrittenDeletionCost

	// Interval is how often costs are written: at most so often for one pod.
	Interval = time.Minute
	// pause is between two requests, so that they take little of what the API server
	// and this client have for everything else.
	pause = 100 * time.Millisecond
	// atOnce is how many pods are written in an Interval: those that have changed most.
	atOnce = 300
)

// Options are a writer's dependencies.
type Options struct {
	// Loads returns the sums over all replicas.
	Loads func() (scale.Loads, error)
	// Snapshot has the pods.
	Snapshot func() *cluster.Snapshot
	Client   client.Client
	Log      *slog.Logger
}

// Run writes costs until ctx ends. Only one replica may run it, the leader.
func Run(ctx context.Context, o Options) {
	w := writer{Options: o}
	for {
		w.round(ctx)
		if !sleep(ctx, Interval) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) (ok bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

type writer struct {
	Options
	failing bool // the last round had an error
}

// round writes the costs that have changed.
func (w *writer) round(ctx context.Context) {
	loads, err := w.Loads()
	if err != nil {
		return // there is no configuration yet
	}
	list := changes(w.Snapshot(), loads)
	var failed error
	for i, c := range list[:min(len(list), atOnce)] {
		if i > 0 && !sleep(ctx, pause) {
			return
		}
		if err := w.write(ctx, c); err != nil && ctx.Err() == nil {
			failed = err
			if apierrors.IsForbidden(err) {
				break // so are all the others
			}
		}
	}
	switch {
	case failed != nil && !w.failing:
		w.Log.Warn("deletion costs of pods can't be written", "error", failed)
	case failed == nil && w.failing:
		w.Log.Info("deletion costs of pods are written again")
	}
	w.failing = failed != nil
}

// change is a cost to be written, or to be removed.
type change struct {
	pod    *metav1.PartialObjectMetadata
	cost   int
	remove bool
	weight float64 // those with more come first
}

// changes compares the costs of pods with their sessions. The most important come first.
func changes(s *cluster.Snapshot, loads scale.Loads) (list []change) {
	for _, pod := range s.Pods {
		if pod.DeletionTimestamp != nil || !ofReplicaSet(pod) {
			continue
		}
		before, has := pod.Annotations[Annotation]
		written, ours := pod.Annotations[Written]
		if has && (!ours || before != written) {
			continue // somebody else's
		}
		sessions := loads.Pods[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]
		cost := min(sessions, math.MaxInt32)
		old, err := strconv.Atoi(before)
		switch {
		case !has && cost == 0: // that is what none means
		case has && cost == 0 && (err != nil || old != 0):
			// It may be that its Service is no longer ours. If a replica doesn't
			// answer, it may be the one that has the pod's sessions.
			if len(loads.Missing) == 0 {
				list = append(list, change{pod: pod, remove: true, weight: math.Inf(1)})
			}
		case !has || err != nil || noticeable(old, cost):
			list = append(list, change{pod: pod, cost: cost, weight: math.Abs(math.Log((float64(cost) + 1) / (float64(max(old, 0)) + 1)))})
		}
	}
	slices.SortStableFunc(list, func(a, b change) int { return cmp.Compare(b.weight, a.weight) })
	return list
}

// noticeable reports whether a cost is more than a tenth off: smaller differences would only
// rarely change which pod is the emptiest, and each is a request.
func noticeable(old, cost int) bool {
	return 10*math.Abs(float64(cost-old)) > float64(max(old, cost))
}

// ofReplicaSet reports whether a ReplicaSet has made the pod. Nobody else looks at costs.
func ofReplicaSet(pod *metav1.PartialObjectMetadata) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return owner != nil && owner.Kind == "ReplicaSet"
}

// write changes the annotations of a pod. The resource version isn't compared: others change
// pods all the time. The UID is: another pod may have the name by now.
func (w *writer) write(ctx context.Context, c change) error {
	var value any // null removes it
	if !c.remove {
		value = strconv.Itoa(c.cost)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": c.pod.UID, "annotations": map[string]any{Annotation: value, Written: value},
	}})
	if err != nil {
		return err
	}
	pod := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: c.pod.Namespace, Name: c.pod.Name}}
	pod.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
	err = w.Client.Patch(ctx, pod, client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsNotFound(err) || isOther(err) {
		return nil // it is gone
	}
	return err
}

// isOther reports whether a patch was refused because the pod has another UID.
func isOther(err error) bool {
	s, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsInvalid(err) || s.ErrStatus.Details == nil {
		return false
	}
	return slices.ContainsFunc(s.ErrStatus.Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}
