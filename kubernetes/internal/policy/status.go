package policy

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// maxMessage bounds the message of a condition, in bytes. The API server takes 32768.
const maxMessage = 4 << 10

// report makes the statuses and events of policies.
func (a *applier) report(policies []*v1alpha1.HoldfastPolicy) *translate.Result {
	r := &translate.Result{}
	of := map[*v1alpha1.HoldfastPolicy][]*attachment{}
	for _, at := range a.attachments {
		of[at.policy] = append(of[at.policy], at)
	}
	for _, p := range policies {
		status := p.DeepCopy()
		status.Status.Ancestors = a.ancestors(p, of[p])
		r.Statuses = append(r.Statuses, status)
		for _, at := range of[p] {
			if !at.accepted() {
				r.Events = append(r.Events, translate.Event{Object: p, Warning: true, Reason: string(at.reason),
					Message: fmt.Sprintf("%s %s: %s", at.target.kind, hint.Quote(at.target.name), at.text())})
			}
		}
	}
	return r
}

// ancestors are the entries of a policy's status: one for each target, and those of other
// controllers as they are.
func (a *applier) ancestors(p *v1alpha1.HoldfastPolicy, attachments []*attachment) (list []gatewayv1.PolicyAncestorStatus) {
	before := p.DeepCopy().Status.Ancestors
	for i := range before {
		if string(before[i].ControllerName) != a.Controller {
			list = append(list, before[i])
		}
	}
	for _, at := range attachments {
		if len(list) >= v1alpha1.MaxTargets {
			break
		}
		entry := gatewayv1.PolicyAncestorStatus{AncestorRef: at.ref(), ControllerName: gatewayv1.GatewayController(a.Controller)}
		status := metav1.ConditionTrue
		if !at.accepted() {
			status = metav1.ConditionFalse
		}
		c := metav1.Condition{
			Type: string(gatewayv1.PolicyConditionAccepted), Status: status, Reason: string(at.reason),
			ObservedGeneration: p.Generation, LastTransitionTime: a.Now, Message: at.text(),
		}
		for i := range before {
			if before[i].ControllerName == entry.ControllerName && equal(before[i].AncestorRef, entry.AncestorRef) {
				entry.Conditions = before[i].Conditions
			}
		}
		if i := slices.IndexFunc(entry.Conditions, func(old metav1.Condition) bool { return old.Type == c.Type }); i >= 0 {
			if entry.Conditions[i].Status == status {
				c.LastTransitionTime = entry.Conditions[i].LastTransitionTime
			}
			entry.Conditions[i] = c
		} else {
			entry.Conditions = append(entry.Conditions, c)
		}
		list = append(list, entry)
	}
	return list
}

// text is the message of an attachment.
func (at *attachment) text() string {
	text := at.message
	if at.accepted() {
		text = "The policy holds for this target."
		if at.uses == 0 {
			text = "The policy is right, and holds for nothing yet: no route of this controller leads to this target."
		}
		for _, w := range at.warnings {
			text += "\nWarning: " + w
		}
	} else if at.closes() {
		text += "\nUntil this is right, the routes that it should guard answer 503."
	}
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// ref refers to a target.
func (at *attachment) ref() gatewayv1.ParentReference {
	group, kind, namespace := gatewayv1.Group(groups[at.target.kind]), gatewayv1.Kind(at.target.kind), gatewayv1.Namespace(at.target.namespace)
	ref := gatewayv1.ParentReference{Group: &group, Kind: &kind, Namespace: &namespace, Name: gatewayv1.ObjectName(at.target.name)}
	if at.target.section != "" {
		section := gatewayv1.SectionName(at.target.section)
		ref.SectionName = &section
	}
	return ref
}

func equal(a, b gatewayv1.ParentReference) bool {
	text := func(r gatewayv1.ParentReference) string {
		var group, kind, namespace, section string
		if r.Group != nil {
			group = string(*r.Group)
		}
		if r.Kind != nil {
			kind = string(*r.Kind)
		}
		if r.Namespace != nil {
			namespace = string(*r.Namespace)
		}
		if r.SectionName != nil {
			section = string(*r.SectionName)
		}
		return strings.Join([]string{group, kind, namespace, string(r.Name), section}, "|")
	}
	return text(a) == text(b)
}
