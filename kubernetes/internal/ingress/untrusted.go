package ingress

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"

	importing "github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// serviceHost is the name of a Service in the cluster's DNS, with its namespace.
var serviceHost = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.svc(\.cluster\.local)?\.?$`)

// endpoints closes routes whose clients would be asked about at an endpoint that the
// author of the Ingress may not reach. The balancer stands where the author doesn't, and
// shows clients what is answered. Policies have the same rule.
func (v *translator) endpoints(b *importing.Built) {
	if v.options.AnyURLs {
		return
	}
	for i := range b.Config.Routes {
		r, from := &b.Config.Routes[i], b.Routes[i]
		if r.Auth == nil || r.Auth.Request == nil || from.Ingress == nil {
			continue
		}
		if why := v.endpoint(from.Ingress.Namespace, r.Auth.Request.URL); why != "" {
			v.event(v.byFile[from.Ingress.File], true, NotCarriedOver, "auth-url: "+why+"; until then, the paths of this Ingress answer 503")
			*r = importing.Unavailable(r.Match)
		}
	}
}

// endpoint says why a URL isn't asked; "" if it is.
func (v *translator) endpoint(namespace, text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "" // which check finds, too
	}
	const allow = " (the operator can allow all by --policy-urls=any)"
	m := serviceHost.FindStringSubmatch(strings.ToLower(u.Hostname()))
	if m == nil || m[3] != namespace {
		return fmt.Sprintf("only a Service of the Ingress's own namespace is asked: write for example http://auth.%s.svc:8080/check%s", namespace, allow)
	}
	switch s := v.snapshot.Service(namespace, m[1]); {
	case s == nil:
		return fmt.Sprintf("there is no Service %s in the namespace %s", hint.Quote(m[1]), namespace)
	case s.Spec.Type == corev1.ServiceTypeExternalName || len(s.Spec.Selector) == 0:
		return fmt.Sprintf("the Service %s has no selector: only one with pods of its own namespace is asked%s", hint.Quote(m[1]), allow)
	}
	return ""
}
