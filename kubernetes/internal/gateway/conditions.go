package gateway

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxMessage bounds the message of a condition, in bytes. The API server takes 32 KiB of
// each, and an object can have many.
const maxMessage = 1024

// condition makes a condition that is true with a reason and a message, or false as v says.
func condition[K, R ~string](kind K, v verdict, reason R, message string) metav1.Condition {
	c := metav1.Condition{Type: string(kind), Status: metav1.ConditionTrue, Reason: string(reason), Message: message}
	if !v.ok() {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v.reason, v.message
	}
	if len(c.Message) > maxMessage {
		c.Message = c.Message[:maxMessage-3] + "..."
	}
	return c
}

// inverse is condition for one whose true state is the bad one.
func inverse[K, R ~string](kind K, v verdict, reason R, message string) metav1.Condition {
	c := condition(kind, v, reason, message)
	c.Status = metav1.ConditionFalse
	if !v.ok() {
		c.Status = metav1.ConditionTrue
	}
	return c
}

// merge returns a copy of conditions with those given in place of the ones of the same
// type. Others stay: they are of other controllers. A condition whose status hasn't changed
// keeps the time of its last change.
func (t *translator) merge(old []metav1.Condition, generation int64, given ...metav1.Condition) []metav1.Condition {
	merged := slices.Clone(old)
	for _, c := range given {
		c.ObservedGeneration, c.LastTransitionTime = generation, t.now
		meta.SetStatusCondition(&merged, c)
	}
	return merged
}

// mergeWithout is merge, and leaves out the conditions of a type that doesn't hold.
func (t *translator) mergeWithout(kind string, old []metav1.Condition, generation int64, given ...metav1.Condition) []metav1.Condition {
	old = slices.DeleteFunc(slices.Clone(old), func(c metav1.Condition) bool { return c.Type == kind })
	return t.merge(old, generation, given...)
}
