package leader

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

const instanceLabel = "app.kubernetes.io/instance"

// writeServices makes the Services that should exist, updates those that differ, and
// deletes those of its own that are no longer wanted.
func (w *Writer) writeServices(ctx context.Context, wanted *Wanted) (done bool) {
	done = true
	keep := map[types.NamespacedName]bool{}
	for _, desired := range wanted.Services {
		if ctx.Err() != nil {
			return true
		}
		keep[client.ObjectKeyFromObject(desired)] = true
		done = w.writeService(ctx, wanted, desired) && done
	}
	unwanted := map[types.UID]time.Time{}
	for _, s := range wanted.Snapshot.Services {
		if !w.mine(s) || keep[client.ObjectKeyFromObject(s)] || s.DeletionTimestamp != nil || ctx.Err() != nil || !gone(wanted.Snapshot, s) {
			continue
		}
		since, ok := w.unwanted[s.UID]
		if !ok {
			since = time.Now()
		}
		unwanted[s.UID] = since
		if time.Since(since) < w.options.DeleteAfter {
			done = false // look again
		} else {
			done = w.deleteService(ctx, s) && done
		}
	}
	w.unwanted = unwanted
	return done
}

// gone reports whether the Gateway of a Service is gone for good: it was deleted, or has
// another class. With a Service goes the address by which clients come. So neither the
// class that is away for a moment counts, nor a Gateway API that isn't followed any more.
func gone(s *cluster.Snapshot, service *corev1.Service) bool {
	if len(s.GatewayClasses) == 0 {
		return false
	}
	namespace, name, _ := strings.Cut(service.Annotations[translate.GatewayRef], "/")
	gateway, ok := s.Find(&gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}).(*gatewayv1.Gateway)
	if !ok {
		return true
	}
	class := s.Find(&gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: string(gateway.Spec.GatewayClassName)}})
	return class != nil
}

// mine reports whether a Service is one that this installation has made.
func (w *Writer) mine(s *corev1.Service) bool {
	return s.Namespace == w.options.Namespace && s.Labels[translate.ManagedBy] == translate.ManagedByValue &&
		s.Annotations[translate.GatewayRef] != "" && s.Labels[instanceLabel] == w.options.Instance
}

func (w *Writer) writeService(ctx context.Context, wanted *Wanted, desired *corev1.Service) bool {
	desired = desired.DeepCopy()
	if desired.Labels == nil {
		desired.Labels = map[string]string{}
	}
	desired.Labels[translate.ManagedBy] = translate.ManagedByValue
	if w.options.Instance != "" {
		desired.Labels[instanceLabel] = w.options.Instance
	}
	id := identityOf(desired)
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	actual := wanted.Snapshot.Service(desired.Namespace, desired.Name)
	var err error
	switch {
	case desired.Namespace != w.options.Namespace:
		return true // never anywhere else
	case actual == nil:
		err = w.options.Client.Create(ctx, desired)
		if apierrors.IsAlreadyExists(err) {
			return true // the Snapshot will show it
		}
	case !w.mine(actual):
		w.fail(id, "making a Service", errors.New("somebody else has made one of that name"))
		return true
	default:
		next := updated(actual, desired)
		if equality.Semantic.DeepEqual(actual, next) || w.written[id] == actual.ResourceVersion {
			return true
		}
		err = w.options.Client.Patch(ctx, next, client.MergeFromWithOptions(actual, client.MergeFromWithOptimisticLock{}))
		if err == nil {
			w.written[id] = actual.ResourceVersion
		}
	}
	switch {
	case apierrors.IsConflict(err):
		w.options.Stale()
		return false
	case err != nil:
		w.fail(id, "writing a Service", err)
		return false
	}
	delete(w.failed, id)
	return true
}

// updated returns what a Service should be changed to. What the API server or others have
// set stays: cluster IPs, node ports, annotations of a cloud's controller.
func updated(actual, desired *corev1.Service) *corev1.Service {
	next := actual.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	maps.Copy(next.Labels, desired.Labels)
	maps.Copy(next.Annotations, desired.Annotations)
	next.Spec.Type = desired.Spec.Type
	next.Spec.Selector = desired.Spec.Selector
	next.Spec.LoadBalancerIP = desired.Spec.LoadBalancerIP
	next.Spec.ExternalIPs = desired.Spec.ExternalIPs
	if desired.Spec.ExternalTrafficPolicy != "" {
		next.Spec.ExternalTrafficPolicy = desired.Spec.ExternalTrafficPolicy
	}
	if desired.Spec.IPFamilyPolicy != nil {
		next.Spec.IPFamilyPolicy = desired.Spec.IPFamilyPolicy
	}
	nodePorts := map[int32]int32{}
	for _, p := range actual.Spec.Ports {
		nodePorts[p.Port] = p.NodePort
	}
	next.Spec.Ports = nil
	for _, p := range desired.Spec.Ports {
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.NodePort == 0 && desired.Spec.Type != corev1.ServiceTypeClusterIP {
			p.NodePort = nodePorts[p.Port]
		}
		next.Spec.Ports = append(next.Spec.Ports, p)
	}
	return next
}

func (w *Writer) deleteService(ctx context.Context, s *corev1.Service) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := w.options.Client.Delete(ctx, s.DeepCopy(), client.Preconditions{UID: &s.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		w.fail(identityOf(s), "deleting a Service", err)
		return false
	}
	w.options.Log.Info("a Service was deleted, since its Gateway is gone", "namespace", s.Namespace, "name", s.Name)
	return true
}
