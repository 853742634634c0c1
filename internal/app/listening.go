package app

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/introduce"
	"github.com/holdfast-ws/holdfast/internal/stage/listener"
	"github.com/holdfast-ws/holdfast/internal/stage/secure"
	"github.com/holdfast-ws/holdfast/internal/tls/acme"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
	"github.com/holdfast-ws/holdfast/internal/tls/tickets"
)

// listening is what the listeners of a configuration need. Certificates and ticket
// keys that the configuration before had too are the same.
type listening struct {
	specs   []listener.Spec
	stores  []*certs.Store // of the listeners with TLS, and then admin
	admin   *certs.Store   // of the admin address; nil without TLS
	tokens  *admin.Tokens  // for the admin address; nil for none
	tickets map[ticketsID]*tickets.Keys
	acme    *acme.Plan
	// What systemd gave for admin.address and admin.health; nil without, and warnings about
	// what it gave and nobody uses.
	givenAdmin, givenHealth *transport.Given
	unused                  []string
}

// ticketsID says who shares ticket keys: those with the same secret, and without one
// those with the same name, which are the same listener before and after a reload.
type ticketsID struct{ listener, secret string }

// prepareListeners reads the files that the listeners of c need; set is who may come. It
// changes nothing,
// except that a certificate whose file has changed is used from now on.
func (a *App) prepareListeners(c *config.Config, set *authSet) (_ *listening, err error) {
	l := &listening{tickets: map[ticketsID]*tickets.Keys{}}
	if l.acme, err = acmePlan(c); err != nil {
		return nil, err
	}
	specs, paths := certSpecs(c)
	if l.stores, err = a.certs.Load(specs); err != nil {
		return nil, configErrors(c, err, paths)
	}
	if c.Admin.TLS != nil {
		l.admin = l.stores[len(l.stores)-1]
	}
	if l.tokens, err = adminTokens(c); err != nil {
		return nil, err
	}
	stores := l.stores
	for i := range c.Listeners {
		on := &c.Listeners[i]
		spec := listener.Spec{Name: on.Name, Address: on.Address.String(), SocketMode: on.Permissions(), MaxSessions: on.MaxSessions,
			Mode: listenerMode(on.Mode), Policy: listenerPolicy(on, set)}
		if on.ProxyProtocol != nil {
			proxies := &introduce.Proxies{Listener: on.Name}
			proxies.Trust, proxies.Unix = config.Networks(on.ProxyProtocol.Trust)
			spec.Proxies = proxies
		}
		if on.TLS != nil {
			spec.TLS = secure.New(secure.Options{
				Certificates: stores[0], Tickets: l.ticketsOf(on, a.listening),
				MinVersion: tlsVersion(on.TLS.MinVersion), RequireClient: on.TLS.ClientAuth == "required",
				Protocols: protocols(on), Challenge: challenge(c),
			})
			stores = stores[1:]
		}
		if on.Redirect == "https" {
			spec.RedirectHTTPS, spec.HTTPSPort = true, httpsPort(c)
		}
		l.specs = append(l.specs, spec)
	}
	a.assignSockets(l, &c.Admin)
	return l, nil
}

// ticketsOf returns the ticket keys of a listener: those of before, if there are some.
func (l *listening) ticketsOf(on *config.Listener, before *listening) *tickets.Keys {
	id := ticketsID{secret: on.TLS.TicketSecret}
	if id.secret == "" {
		id.listener = on.Name
	}
	if l.tickets[id] == nil && before != nil {
		l.tickets[id] = before.tickets[id]
	}
	if l.tickets[id] == nil {
		l.tickets[id] = tickets.New(id.secret, nil)
	}
	return l.tickets[id]
}

// untimely warns of certificates that aren't valid now, and are used because there is
// nothing better, and of files that are not used since they would be worse. The log has
// the former at a start, and both while the balancer runs.
func (l *listening) untimely(c *config.Config) (warnings []config.Error) {
	_, paths := certSpecs(c)
	now := time.Now()
	for i, s := range l.stores {
		for j, cert := range s.Certificates() {
			text := cert.Problem
			switch {
			case text != "":
				text += "; what was read before stays in use"
			case cert.Late(now):
				text = fmt.Sprintf("the certificate has expired at %s, and clients reject it: renew it; a running balancer takes the new file by itself", cert.NotAfter.UTC().Format(time.RFC3339))
			case cert.Early(now):
				text = fmt.Sprintf("the certificate is not valid before %s, and clients reject it: is the clock right?", cert.NotBefore.UTC().Format(time.RFC3339))
			default:
				continue
			}
			warnings = append(warnings, config.Error{Path: pairPath(paths[i], j).Key("cert"), Msg: text})
		}
	}
	c.Locate(warnings)
	return warnings
}

// useListeners follows the files of l from now on, and gets its certificates by ACME.
// The listeners are open, since they answer challenges.
func (a *App) useListeners(c *config.Config, l *listening) {
	a.listening = l
	stores := l.stores
	if a.admin.pending(&c.Admin) {
		stores = slices.DeleteFunc(slices.Clone(stores), func(s *certs.Store) bool { return s == l.admin })
		if before := a.admin.certs.Load(); before != nil {
			stores = append(stores, before)
		}
	}
	a.certs.Use(stores)
	a.useAdmin(&c.Admin, l)
	a.acme.Apply(l.acme)
}

// explainSelfSigned logs how clients can trust a certificate that was made in memory.
func (a *App) explainSelfSigned() {
	cert := a.certs.SelfSigned()
	if cert == nil {
		return
	}
	list := a.listeners.List() // without a file, all listeners are alike
	at := list[max(0, slices.IndexFunc(list, func(l listener.Info) bool { return l.Addr.Port() != 0 }))].Addr
	host := at.String()
	if at.Addr().IsUnspecified() || at.Addr().IsLoopback() {
		host = fmt.Sprintf("localhost:%d", at.Port())
	}
	a.slog.Warn("the certificate is self-signed, for trials: no client trusts it by itself, and each start makes another one",
		"names", strings.Join(cert.DNSNames, " "), "sha256", fmt.Sprintf("%x", sha256.Sum256(cert.Raw)),
		"to_trust_it", fmt.Sprintf("openssl s_client -connect %s </dev/null | openssl x509 >holdfast.pem; then name that file as an authority, as in curl --cacert holdfast.pem https://%s/", host, host))
}

// certSpecs are those of the listeners with TLS and of the admin address, with the paths of their tls.
func certSpecs(c *config.Config) (specs []certs.Spec, paths []config.Path) {
	for i := range c.Listeners {
		t := c.Listeners[i].TLS
		if t == nil {
			continue
		}
		s := certs.Spec{SelfSigned: t.SelfSigned, ClientCA: certs.CAFile{Path: t.ClientCA}, Strict: t.StrictSNI}
		if d := t.ClientCAData; d != nil {
			s.ClientCA = certs.CAFile{Path: d.Name, InMemory: true, Text: string(d.Cert)}
		}
		for i := range t.Certificates {
			s.Pairs = append(s.Pairs, pairOf(&t.Certificates[i]))
			s.Names = append(s.Names, t.Certificates[i].Names)
		}
		if t.ACME != nil {
			for _, d := range t.ACME.Domains {
				s.Domains = append(s.Domains, strings.ToLower(d))
			}
		}
		specs, paths = append(specs, s), append(paths, config.Path("listeners").Index(i).Key("tls"))
	}
	if t := c.Admin.TLS; t != nil {
		specs = append(specs, certs.Spec{Pairs: []certs.Pair{{Cert: t.Cert, Key: t.Key}}, Names: [][]string{nil}, ClientCA: certs.CAFile{Path: t.ClientCA}})
		paths = append(paths, adminTLS)
	}
	return specs, paths
}

const adminTLS = config.Path("admin.tls")

// pairPath is where the files of the i-th certificate are, of a section tls.
func pairPath(p config.Path, i int) config.Path {
	if p == adminTLS {
		return p
	}
	return p.Key("certificates").Index(i)
}

func pairOf(c *config.Certificate) certs.Pair {
	d := c.Data
	if d == nil {
		return certs.Pair{Cert: c.Cert, Key: c.Key}
	}
	p := certs.Pair{Cert: d.Name, InMemory: true, CertText: string(d.Cert), KeyText: string(d.Key)}
	if len(d.Key) > 0 {
		p.Key = d.Name
	}
	return p
}

func tlsVersion(word string) uint16 {
	if word == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// protocols are what a listener offers by ALPN. A browser opens a WebSocket by
// http/1.1, on another connection than those of h2 (RFC 8441 isn't offered).
func protocols(on *config.Listener) []string {
	if on.Opaque() {
		return nil // what the backend speaks is not known
	}
	if on.TLS.HTTP2 {
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// challenge is the protocol of TLS-ALPN-01, which all listeners answer if one of them has
// certificates by ACME.
func challenge(c *config.Config) string {
	if slices.ContainsFunc(c.Listeners, func(l config.Listener) bool { return l.TLS != nil && l.TLS.ACME != nil }) {
		return acme.TLSALPNProtocol
	}
	return ""
}

func listenerMode(word string) transport.Mode {
	switch word {
	case config.ModeTCP:
		return transport.TCP
	case config.ModePassthrough:
		return transport.TLSPassthrough
	}
	return transport.HTTP
}

// httpsPort is where a listener redirects to: 443 if it is there or nowhere, since it
// is the usual one, and otherwise the port of the first listener with TLS.
func httpsPort(c *config.Config) (port uint16) {
	const usual = 443
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.TLS != nil && !l.Opaque() && (port == 0 || l.Address.Port == usual) {
			port = l.Address.Port
		}
	}
	return cmp.Or(port, usual)
}

// configErrors gives the errors of certs.Watcher.Load their paths and places. paths are
// those of the Specs that it was called for.
func configErrors(c *config.Config, err error, paths []config.Path) (all config.Errors) {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, err := range list {
		e := config.Error{Msg: err.Error()}
		var f *certs.FileError
		if errors.As(err, &f) {
			e.Path = paths[f.Spec]
			switch f.Part {
			case certs.ClientCA:
				e.Path = e.Path.Key("client_ca")
			case certs.Key:
				e.Path = pairPath(e.Path, f.Pair).Key("key")
			case certs.Cert:
				e.Path = pairPath(e.Path, f.Pair).Key("cert")
			}
		}
		all = append(all, e)
	}
	c.Locate(all)
	return all
}
