package command

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/controller"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/ingress"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

// IngressFlags are those about Ingresses.
type IngressFlags struct {
	IngressControllerName string   `default:"holdfast.dev/ingress" placeholder:"NAME" help:"spec.controller of the IngressClasses to serve (default ${default})."`
	IngressClass          string   `default:"holdfast" placeholder:"NAME" help:"Value of the old annotation kubernetes.io/ingress.class that means this controller (default ${default})."`
	HTTPPort              uint16   `name:"http-port" default:"8080" placeholder:"PORT" help:"Port for Ingresses without TLS (default ${default})."`
	HTTPSPort             uint16   `name:"https-port" default:"8443" placeholder:"PORT" help:"Port for Ingresses with TLS (default ${default})."`
	PublishService        string   `placeholder:"NAMESPACE/NAME" help:"Service whose addresses are written into the status of Ingresses."`
	PublishAddress        []string `placeholder:"ADDRESS" help:"IP address or name to write there instead. Repeatable."`
	DefaultCertificate    string   `placeholder:"NAMESPACE/NAME" help:"Secret with the certificate for hosts without one (default: one that is made up)."`
}

// ingressTranslator returns the translator of Ingresses, which is called with the facts of
// the time.
func (f *Flags) ingressTranslator() (func(controller.Facts, *cluster.Snapshot) *translate.Result, error) {
	o := ingress.Options{
		ControllerName: f.IngressControllerName, Class: f.IngressClass,
		PublishAddresses: f.PublishAddress, ExternalNames: f.AllowExternalNames, AnyURLs: f.PolicyURLs == "any",
	}
	if f.HTTPPort == 0 || f.HTTPSPort == 0 || f.HTTPPort == f.HTTPSPort {
		return nil, usage("--http-port and --https-port must be two different ports")
	}
	o.HTTP, o.HTTPS = hostport.MustParse(fmt.Sprintf(":%d", f.HTTPPort)), hostport.MustParse(fmt.Sprintf(":%d", f.HTTPSPort))
	for _, name := range []struct {
		flag, text string
		to         *types.NamespacedName
	}{{"publish-service", f.PublishService, &o.PublishService}, {"default-certificate", f.DefaultCertificate, &o.DefaultSecret}} {
		namespace, object, ok := strings.Cut(name.text, "/")
		if name.text != "" && (!ok || namespace == "" || object == "" || strings.Contains(object, "/")) {
			return nil, usage("--%s: %q isn't a name such as holdfast/NAME, with its namespace", name.flag, name.text)
		}
		*name.to = types.NamespacedName{Namespace: namespace, Name: object}
	}
	var err error
	if o.DefaultCertificate, err = ingress.NewDefaultCertificate(time.Now()); err != nil {
		return nil, err
	}
	return func(facts controller.Facts, s *cluster.Snapshot) *translate.Result {
		now := o
		now.CookieSecret = facts.CookieSecret()
		return ingress.Translate(s, now)
	}, nil
}
