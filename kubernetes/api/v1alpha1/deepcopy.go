package v1alpha1

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyInto copies p.
func (p *HoldfastPolicy) DeepCopyInto(into *HoldfastPolicy) {
	*into = *p
	p.ObjectMeta.DeepCopyInto(&into.ObjectMeta)
	p.Spec.DeepCopyInto(&into.Spec)
	p.Status.DeepCopyInto(&into.Status)
}

// DeepCopy returns a copy of p.
func (p *HoldfastPolicy) DeepCopy() *HoldfastPolicy {
	if p == nil {
		return nil
	}
	into := new(HoldfastPolicy)
	p.DeepCopyInto(into)
	return into
}

// DeepCopyObject implements runtime.Object.
func (p *HoldfastPolicy) DeepCopyObject() runtime.Object {
	if c := p.DeepCopy(); c != nil {
		return c
	}
	return nil
}

// DeepCopyInto copies s.
func (s *HoldfastPolicySpec) DeepCopyInto(into *HoldfastPolicySpec) {
	*into = *s
	into.TargetRefs = slices.Clone(s.TargetRefs)
	for i := range into.TargetRefs {
		s.TargetRefs[i].DeepCopyInto(&into.TargetRefs[i])
	}
	into.Settings = slices.Clone(s.Settings)
}

// DeepCopy returns a copy of s.
func (s *HoldfastPolicySpec) DeepCopy() *HoldfastPolicySpec {
	if s == nil {
		return nil
	}
	into := new(HoldfastPolicySpec)
	s.DeepCopyInto(into)
	return into
}

// DeepCopyInto copies l.
func (l *HoldfastPolicyList) DeepCopyInto(into *HoldfastPolicyList) {
	*into = *l
	l.ListMeta.DeepCopyInto(&into.ListMeta)
	into.Items = slices.Clone(l.Items)
	for i := range into.Items {
		l.Items[i].DeepCopyInto(&into.Items[i])
	}
}

// DeepCopy returns a copy of l.
func (l *HoldfastPolicyList) DeepCopy() *HoldfastPolicyList {
	if l == nil {
		return nil
	}
	into := new(HoldfastPolicyList)
	l.DeepCopyInto(into)
	return into
}

// DeepCopyObject implements runtime.Object.
func (l *HoldfastPolicyList) DeepCopyObject() runtime.Object {
	if c := l.DeepCopy(); c != nil {
		return c
	}
	return nil
}
