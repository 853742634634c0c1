package gateway

import (
	"fmt"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/app"
	"github.com/holdfast-ws/holdfast/internal/config"
)

// certificates reads the certificates of a listener whose TLS ends here. One that is wrong is left out,
// and without any the listener can't be served.
func (t *translator) certificates(l *listener) {
	var refs []gwv1.SecretObjectReference
	if l.tls != nil {
		refs = l.tls.CertificateRefs
	}
	var wrong verdict
	if len(refs) == 0 {
		wrong = verdict{string(gwv1.ListenerReasonInvalidCertificateRef), "the listener has no certificate: refer to a Secret under tls.certificateRefs"}
	}
	for _, ref := range refs {
		pem, v := t.keyPair(l.ownerKind, l.owner.GetNamespace(), ref, string(gwv1.ListenerReasonInvalidCertificateRef))
		wrong = wrong.orElse(v)
		if v.ok() {
			l.certs = append(l.certs, config.Certificate{Data: pem})
		}
	}
	l.resolved = l.resolved.orElse(wrong)
	if len(l.certs) == 0 {
		l.unusable = l.unusable.orElse(wrong)
	}
}

// keyPair reads a certificate and its key from a Secret. invalid is the reason for a bad one.
func (t *translator) keyPair(fromKind, namespace string, ref gwv1.SecretObjectReference, invalid string) (*config.PEM, verdict) {
	if deref(ref.Group, "") != "" || deref(ref.Kind, "Secret") != "Secret" {
		return nil, verdict{invalid, "a certificate is in a Secret: other kinds are not supported"}
	}
	name := types.NamespacedName{Namespace: string(deref(ref.Namespace, gwv1.Namespace(namespace))), Name: string(ref.Name)}
	if !t.grants.permit(fromKind, namespace, "Secret", name) {
		return nil, verdict{string(gwv1.ListenerReasonRefNotPermitted), fmt.Sprintf("no ReferenceGrant in the namespace %.64q allows the reference to the Secret %.256q", name.Namespace, name.Name)}
	}
	client := invalid == string(gwv1.GatewayReasonInvalidClientCertificateRef)
	read, ok := t.secrets[secretUse{name, client}]
	if !ok {
		read = t.readPair(name, client)
		t.secrets[secretUse{name, client}] = read
	}
	if read.wrong != "" {
		return nil, verdict{invalid, read.wrong}
	}
	return read.pem, verdict{}
}

// secretUse is a Secret whose certificate is for clients, or the balancer's own for backends.
type secretUse struct {
	name   types.NamespacedName
	client bool
}

// pair is what a Secret has, or what is wrong with it.
type pair struct {
	pem   *config.PEM
	wrong string
}

func (t *translator) readPair(name types.NamespacedName, client bool) pair {
	secret := t.s.Secret(name.Namespace, name.Name)
	if secret == nil {
		return pair{wrong: fmt.Sprintf("there is no Secret %.320q of the type kubernetes.io/tls", name)}
	}
	p := &config.PEM{Name: "Secret " + name.String(), Cert: secret.Data[corev1.TLSCertKey], Key: secret.Data[corev1.TLSPrivateKeyKey]}
	check := app.CheckPEM
	if client {
		check = app.CheckClientPEM
	}
	if err := check(p); err != nil {
		return pair{wrong: plain(err)}
	}
	return pair{pem: p}
}

// plain is the text of an error about what a user wrote, with nothing that could disturb a log.
func plain(err error) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, err.Error())
}

// caBundle reads the certificates of authorities from the key ca.crt of a ConfigMap.
func (t *translator) caBundle(name types.NamespacedName) ([]byte, error) {
	m := t.s.ConfigMap(name.Namespace, name.Name)
	if m == nil {
		return nil, fmt.Errorf("there is no ConfigMap %.320q", name)
	}
	text := m.Data["ca.crt"]
	if text == "" {
		return nil, fmt.Errorf("the ConfigMap %.320q has no certificate under the key ca.crt", name)
	}
	if err := app.CheckCAPEM(&config.PEM{Name: "ConfigMap " + name.String(), Cert: []byte(text)}); err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// clientValidation reads how an HTTPS listener verifies the certificates of clients, which
// is the same for all of one port (GEP-91).
func (t *translator) clientValidation(l *listener) {
	c := l.gateway.object.Spec.TLS
	if c == nil || c.Frontend == nil {
		return
	}
	validation := c.Frontend.Default.Validation
	for _, p := range c.Frontend.PerPort {
		if p.Port == l.port {
			validation = p.TLS.Validation
		}
	}
	if validation == nil {
		return
	}
	if validation.Mode == gwv1.AllowInsecureFallback {
		l.accepted = verdict{string(gwv1.ListenerReasonUnsupportedValue), "the mode AllowInsecureFallback is not supported: clients with an invalid certificate are refused"}
		return
	}
	var bundle []byte
	var wrong verdict
	namespace := l.gateway.object.Namespace
	for _, ref := range validation.CACertificateRefs {
		name := types.NamespacedName{Namespace: string(deref(ref.Namespace, gwv1.Namespace(namespace))), Name: string(ref.Name)}
		switch {
		case ref.Group != "" || ref.Kind != "ConfigMap":
			wrong = wrong.orElse(verdict{string(gwv1.ListenerReasonInvalidCACertificateKind), "the certificates that clients are verified by are in a ConfigMap: other kinds are not supported"})
		case !t.grants.permit("Gateway", namespace, "ConfigMap", name):
			wrong = wrong.orElse(verdict{string(gwv1.ListenerReasonRefNotPermitted), fmt.Sprintf("no ReferenceGrant in the namespace %.64q allows the reference to the ConfigMap %.256q", name.Namespace, name.Name)})
		default:
			text, err := t.caBundle(name)
			if err != nil {
				wrong = wrong.orElse(verdict{string(gwv1.ListenerReasonInvalidCACertificateRef), plain(err)})
				continue
			}
			bundle = append(append(bundle, text...), '\n')
		}
	}
	l.resolved = l.resolved.orElse(wrong)
	if bundle == nil {
		l.accepted = l.accepted.orElse(verdict{string(gwv1.ListenerReasonNoValidCACertificate), wrong.message})
		return
	}
	l.clientCA = &config.PEM{Name: "client certificates of Gateway " + l.gateway.name().String(), Cert: bundle}
}

// clientCert is the certificate that a Gateway shows to backends with TLS.
type clientCert struct {
	pem     *config.PEM // nil while its Secret is wrong
	gateway types.NamespacedName
}

func (t *translator) clientCertOf(g *gwv1.Gateway) (*clientCert, verdict) {
	if g.Spec.TLS == nil || g.Spec.TLS.Backend == nil || g.Spec.TLS.Backend.ClientCertificateRef == nil {
		return nil, verdict{}
	}
	p, v := t.keyPair("Gateway", g.Namespace, *g.Spec.TLS.Backend.ClientCertificateRef, string(gwv1.GatewayReasonInvalidClientCertificateRef))
	return &clientCert{p, nameOf(g)}, v
}
