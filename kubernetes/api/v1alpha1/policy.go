// Package v1alpha1 has the resources of the group holdfast.dev.
//
// +kubebuilder:object:generate=true
package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// GroupVersion is that of the resources of this package.
var GroupVersion = schema.GroupVersion{Group: "holdfast.dev", Version: "v1alpha1"}

// Kind is the kind of a HoldfastPolicy.
const Kind = "HoldfastPolicy"

// MaxTargets bounds the targets of a policy, of which each has an entry in its status
// (GEP-713 allows 16 there).
const MaxTargets = 16

// AddToScheme makes the resources known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &HoldfastPolicy{}, &HoldfastPolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// HoldfastPolicy gives Services and routes what a pool or a route of holdfast.yaml can
// have, in the same words. It is a direct policy (GEP-2648): it holds for its targets.
type HoldfastPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitzero"`

	Spec   HoldfastPolicySpec     `json:"spec"`
	Status gatewayv1.PolicyStatus `json:"status,omitzero"`
}

// HoldfastPolicySpec is written as one object: targetRefs, and beside it the settings.
type HoldfastPolicySpec struct {
	// TargetRefs are in the policy's own namespace: Services for the keys of a pool;
	// Ingresses, routes and Gateways for those of a route.
	TargetRefs []gatewayv1.LocalPolicyTargetReferenceWithSectionName
	// Settings is a JSON object with keys of docs/config.md, not checked yet. It is nil if
	// there are none.
	Settings json.RawMessage
}

// HoldfastPolicyList is a list of policies.
type HoldfastPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []HoldfastPolicy `json:"items"`
}

const targetRefs = "targetRefs"

// UnmarshalJSON implements json.Unmarshaler. Settings are in the order of their keys, so
// that equal ones have equal bytes.
func (s *HoldfastPolicySpec) UnmarshalJSON(data []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	*s = HoldfastPolicySpec{}
	if refs, ok := keys[targetRefs]; ok {
		if err := json.Unmarshal(refs, &s.TargetRefs); err != nil {
			return fmt.Errorf("spec.targetRefs: %w", err)
		}
		delete(keys, targetRefs)
	}
	if len(keys) == 0 {
		return nil
	}
	settings, err := json.Marshal(keys)
	s.Settings = settings
	return err
}

// MarshalJSON implements json.Marshaler.
func (s HoldfastPolicySpec) MarshalJSON() ([]byte, error) {
	refs, err := json.Marshal(s.TargetRefs)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"%s":%s`, targetRefs, refs)
	if rest := bytes.TrimSpace(s.Settings); len(rest) > 0 && !bytes.Equal(rest, []byte("{}")) {
		if rest[0] != '{' || !json.Valid(rest) {
			return nil, errors.New("the settings of the policy are no JSON object")
		}
		b.WriteByte(',')
		b.Write(rest[1:])
		return b.Bytes(), nil
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
