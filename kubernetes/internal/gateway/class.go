package gateway

import (
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// classes returns the classes of ours, and why Gateways with one of them are rejected. It
// adds their statuses to the result.
func (t *translator) classes() map[string]verdict {
	ours := map[string]verdict{}
	for _, class := range t.s.GatewayClasses {
		if string(class.Spec.ControllerName) != t.o.ControllerName {
			continue
		}
		accepted := condition(gwv1.GatewayClassConditionStatusAccepted, verdict{}, gwv1.GatewayClassReasonAccepted, "the controller "+t.o.ControllerName+" serves Gateways of this class")
		var rejected verdict
		if class.Spec.ParametersRef != nil {
			v := verdict{string(gwv1.GatewayClassReasonInvalidParameters), "parametersRef is not supported: leave it out"}
			accepted = condition(gwv1.GatewayClassConditionStatusAccepted, v, gwv1.GatewayClassReasonAccepted, "")
			rejected = verdict{string(gwv1.GatewayReasonInvalidParameters), "the GatewayClass has parametersRef, which is not supported"}
		}
		ours[class.Name] = rejected
		class = class.DeepCopy()
		class.Status.Conditions = t.merge(class.Status.Conditions, class.Generation, accepted)
		class.Status.SupportedFeatures = supportedFeatures()
		t.result.Statuses = append(t.result.Statuses, class)
	}
	return ours
}
