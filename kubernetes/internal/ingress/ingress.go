// Package ingress turns the Ingresses of a cluster into listeners, routes and pools. What
// an Ingress with annotations of ingress-nginx means is known by package
// config/importer/ingress, which also reads them from files; this package gives it the
// objects of a cluster, and turns its report into Events.
//
//	class.go        which Ingresses are ours
//	objects.go      objects of the API as those of the importer
//	check.go        what can't be used is closed, and nothing else with it
//	untrusted.go    which endpoints are asked about clients
//	report.go       Events
//	status.go       the addresses in the status
//	certificate.go  the default certificate, and whether a Secret has a good one
package ingress

import (
	"cmp"

	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	importing "github.com/holdfast-ws/holdfast/internal/config/importer/ingress"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// Options say what isn't in the cluster.
type Options struct {
	// ControllerName is in spec.controller of the IngressClasses that are ours.
	ControllerName string
	// Class is the value of the old annotation kubernetes.io/ingress.class that means us.
	// The names of our IngressClasses do, too.
	Class string
	// HTTP and HTTPS are the addresses of the listeners.
	HTTP, HTTPS hostport.Address
	// DefaultCertificate is for hosts without a certificate of their own, see
	// NewDefaultCertificate. DefaultSecret names a Secret that is used instead, if it has
	// a good one.
	DefaultCertificate config.PEM
	DefaultSecret      types.NamespacedName
	// PublishService is the Service by which clients reach the listeners, PublishAddresses
	// are its names or addresses if that isn't a Service. Without any, no status is
	// written.
	PublishService   types.NamespacedName
	PublishAddresses []string
	// ExternalNames serves Services of the type ExternalName. Their authors can send
	// requests to any server that the balancer can reach, also to one on its own machine.
	ExternalNames bool
	// AnyURLs permits auth-url to name any host, and not only Services of the Ingress's
	// namespace.
	AnyURLs bool
	// CookieSecret signs the cookies of affinity; it must be the same on all replicas. ""
	// makes the keys of the names of pools, which are the same, too.
	CookieSecret string
}

// Names of the listeners.
const (
	HTTPListener  = "ingress/http"
	HTTPSListener = "ingress/https"
)

// Translate makes listeners, routes and pools of the Ingresses of our class. Without any,
// there are still the listeners, which answer 404.
func Translate(s *cluster.Snapshot, o Options) *translate.Result {
	result := &translate.Result{}
	v := &translator{snapshot: s, options: o, result: result, told: map[told]bool{}}
	objects := v.objects(v.ours())

	certificate := o.DefaultCertificate
	if pem := secretOf(s, o.DefaultSecret); pem != nil {
		certificate = *pem
	}
	anywhere := &config.Origins{Allow: []origin.Pattern{origin.Any}}
	tls := &config.ListenerTLS{}
	tls.SetDefaults()
	tls.Certificates = []config.Certificate{{Data: &certificate, Names: []string{"*"}}}
	built := importing.Build(objects, importing.Options{Cluster: &importing.Cluster{
		HTTP:             config.Listener{Name: HTTPListener, Address: o.HTTP, Origins: anywhere},
		HTTPS:            config.Listener{Name: HTTPSListener, Address: o.HTTPS, Origins: anywhere, TLS: tls},
		CheckCertificate: checkCertificate,
		CheckAuthorities: checkAuthorities,
		CookieSecret:     o.CookieSecret,
		ExternalNames:    o.ExternalNames,
	}}, &v.report)
	for i := range built.Pools {
		if from := &built.Pools[i]; from.Service != "" {
			built.Config.Pools[i].Feed = translate.Feed(from.Ingress.Namespace, from.Service, int32(from.Port))
		}
	}
	v.notes()
	v.endpoints(built)
	v.check(built)

	for _, l := range built.Config.Listeners {
		result.Listeners = append(result.Listeners, translate.Listener{Listener: l})
	}
	for i, r := range built.Config.Routes {
		result.Routes = append(result.Routes, translate.Route{Route: r, Owner: v.owner(built.Routes[i])})
	}
	for i, p := range built.Config.Pools {
		from := built.Pools[i]
		pool := translate.Pool{Pool: p, Owner: v.owner(from.Origin)}
		if from.Service != "" {
			pool.Service = types.NamespacedName{Namespace: from.Ingress.Namespace, Name: from.Service}
		}
		result.Pools = append(result.Pools, pool)
	}
	v.statuses()
	return result
}

// translator is one Translate.
type translator struct {
	snapshot *cluster.Snapshot
	options  Options
	result   *translate.Result
	report   importer.Report
	sources  []*source // of our Ingresses
	byFile   map[string]*source
	told     map[told]bool
}

// owner is the Ingress and the path that something was made from.
func (v *translator) owner(from importing.Origin) translate.Owner {
	if from.Ingress == nil {
		return translate.Owner{}
	}
	s := v.byFile[from.Ingress.File]
	return translate.Owner{Object: s.object, Rule: s.paths[cmp.Or(from.Line, 0)]}
}
