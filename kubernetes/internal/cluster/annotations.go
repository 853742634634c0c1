package cluster

import corev1 "k8s.io/api/core/v1"

// Annotations of Pods that informers keep: see package scale/cost.
const (
	// PodDeletionCost is what ReplicaSets look at when they have too many Pods.
	PodDeletionCost = corev1.PodDeletionCost
	// WrittenDeletionCost has the value of PodDeletionCost that holdfast has written.
	WrittenDeletionCost = "holdfast.dev/pod-deletion-cost"
)
