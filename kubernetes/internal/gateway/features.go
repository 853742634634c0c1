package gateway

import (
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// Features lists what of the Gateway API this controller supports, sorted by name. It is
// what the status of a GatewayClass says, and what the conformance suite is run with.
func Features() []features.FeatureName {
	list := []features.FeatureName{
		features.SupportGateway,
		features.SupportGatewayPort8080,
		features.SupportGatewayStaticAddresses,
		features.SupportGatewayAddressEmpty,
		features.SupportGatewayHTTPListenerIsolation,
		features.SupportGatewayHTTPSListenerDetectMisdirectedRequests,
		features.SupportGatewayBackendClientCertificate,
		features.SupportGatewayFrontendClientCertificateValidation,
		features.SupportListenerSet,
		features.SupportReferenceGrant,

		features.SupportHTTPRoute,
		features.SupportHTTPRouteDestinationPortMatching,
		features.SupportHTTPRouteParentRefPort,
		features.SupportHTTPRouteQueryParamMatching,
		features.SupportHTTPRouteMethodMatching,
		features.SupportHTTPRouteBackendRequestHeaderModification,
		features.SupportHTTPRouteResponseHeaderModification,
		features.SupportHTTPRoutePortRedirect,
		features.SupportHTTPRouteSchemeRedirect,
		features.SupportHTTPRoutePathRedirect,
		features.SupportHTTPRoute303RedirectStatusCode,
		features.SupportHTTPRoute307RedirectStatusCode,
		features.SupportHTTPRoute308RedirectStatusCode,
		features.SupportHTTPRouteHostRewrite,
		features.SupportHTTPRoutePathRewrite,
		features.SupportHTTPRouteCORS,
		features.SupportHTTPRouteRequestTimeout,
		features.SupportHTTPRouteBackendTimeout,
		features.SupportHTTPRouteBackendProtocolWebSocket,
		features.SupportHTTPRouteNamedRouteRule,

		features.SupportTLSRoute,
		features.SupportTLSRouteModeTerminate,
		features.SupportTCPRoute,
		features.SupportBackendTLSPolicy,
		features.SupportBackendTLSPolicySANValidation,
	}
	slices.Sort(list)
	return list
}

// supportedFeatures is Features in the form of a GatewayClass's status.
func supportedFeatures() []gwv1.SupportedFeature {
	var list []gwv1.SupportedFeature
	for _, name := range Features() {
		list = append(list, gwv1.SupportedFeature{Name: gwv1.FeatureName(name)})
	}
	return list
}
