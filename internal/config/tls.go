package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// ListenerTLS says how a listener speaks TLS.
type ListenerTLS struct {
	// Certificates are chosen by the name that a client asks for (SNI); the first
	// is for the others. It may be empty only with ACME or SelfSigned.
	Certificates []Certificate `key:"certificates" want:"a list of certificates" item:"a certificate with cert and key"`
	// ACME gets certificates from an authority; nil gets none.
	ACME       *ACME  `key:"acme" want:"a mapping with domains"`
	MinVersion string `key:"min_version" words:"1.2 1.3"`
	// ClientCA is a file of certificates that client certificates are verified by;
	// "" asks for none.
	ClientCA   string `key:"client_ca" as:"file"`
	ClientAuth string `key:"client_auth" words:"required optional"`
	// ClientHeaders are names of header fields for backends, and the facts of the
	// client's certificate in them, of clientcert.ParseFact.
	ClientHeaders Headers `key:"client_headers" want:"a mapping from names of headers to facts" item:"a fact such as subject"`
	// StrictSNI refuses clients that ask for no name, or for one that no certificate has.
	StrictSNI bool `key:"strict_sni"`
	// Isolate has hosts that clients ask for by connections of their own: a request for
	// another host than the one that the connection was made for is refused.
	Isolate []pattern.Host `key:"isolate" want:"a list of hosts such as [a.example.com, \"*.example.com\"]" item:"a host such as a.example.com" some:"the list of hosts is empty"`
	// TicketSecret makes the keys of session tickets; "" makes random ones.
	TicketSecret string `key:"ticket_secret" as:"secret"`
	// HTTP2 offers HTTP/2 for plain HTTP.
	HTTP2 bool `key:"http2"`

	// SelfSigned makes a certificate at the start, for trials. No file can set it.
	SelfSigned bool
	// ClientCAData is used instead of ClientCA; nil is none. It has no Key.
	ClientCAData *PEM
}

// VerifiesClients reports whether clients are asked for certificates.
func (t *ListenerTLS) VerifiesClients() bool { return t.ClientCA != "" || t.ClientCAData != nil }

// SetDefaults implements Defaulter.
func (t *ListenerTLS) SetDefaults() {
	t.MinVersion, t.ClientAuth, t.HTTP2 = "1.2", "required", true
}

// Certificate is two PEM files: a chain, the server's own certificate first, and
// its private key. Key may be "" if the key is in Cert, too.
type Certificate struct {
	Cert string `key:"cert" as:"file"`
	Key  string `key:"key" as:"file"`
	// Data is used instead of files; nil is none. No file can set it.
	Data *PEM
	// Names are the names by which clients get the certificate, instead of those in it:
	// names of hosts, "*.example.com" for all names below it, and "*" for all other
	// names and for clients that ask for none. nil stands for the names in the
	// certificate. No file can set it.
	Names []string
}

// ACME gets certificates from a certificate authority (RFC 8555).
type ACME struct {
	// Domains are unique names in lower case, at least one.
	Domains   []string `key:"domains" want:"a list of names such as [ws.example.com]" item:"a name such as ws.example.com"`
	Email     string   `key:"email" as:"email"`
	Directory string   `key:"directory" as:"directory"` // an https URL
	// Profile is the kind of certificate, of those that the authority offers; "" leaves
	// it to the authority.
	Profile string `key:"profile" as:"profile"`
	CA      string `key:"ca" as:"file"` // verifies the directory's own certificate; "" is the system's
	Storage string `key:"storage" as:"folder"`
}

// SetDefaults implements Defaulter.
func (a *ACME) SetDefaults() {
	a.Directory, a.Storage = "https://acme-v02.api.letsencrypt.org/directory", "/var/lib/holdfast/acme"
}

// PoolTLS says how a pool's backends are reached by TLS.
type PoolTLS struct {
	CA         string `key:"ca" as:"file"`                 // "" is the system's
	ServerName string `key:"server_name" as:"server name"` // "" is the host of the backend's address
	Cert       string `key:"cert" as:"file"`               // for mutual TLS
	Key        string `key:"key" as:"file"`                // "" if the key is in Cert, too
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool `key:"insecure_skip_verify"`

	// CAData and CertData are used instead of CA, and of Cert and Key; nil is none. No
	// file can set them.
	CAData, CertData *PEM
	// SANs are DNS names and URIs, one of which the certificate of a backend must have.
	// ServerName is then only what backends are asked for. Empty means that the
	// certificate must have ServerName. No file can set them.
	SANs []string
}

// listenerTLS checks how the keys of a listener's tls go together.
func (v *Validator) listenerTLS(p Path, t *ListenerTLS) {
	if !v.OK(p) {
		return
	}
	certificates := p.Key("certificates")
	if len(t.Certificates) == 0 && t.ACME == nil && !t.SelfSigned && v.OK(certificates) && v.OK(p.Key("acme")) {
		v.Fail(certificates, "the listener has no certificate: write for example certificates: [{cert: cert.pem, key: key.pem}], or get one by acme: {domains: [ws.example.com]}")
	}
	v.isolate(p, t)
	files := map[string]Path{}
	for i, c := range t.Certificates {
		cert := certificates.Index(i).Key("cert")
		v.certificateNames(certificates.Index(i), c.Names)
		if c.Data != nil {
			v.pem(certificates.Index(i), c.Data, c.Cert != "" || c.Key != "")
			continue
		}
		v.Require(cert, c.Cert != "", "the file of the certificate is missing: write for example cert: cert.pem")
		if c.Cert == "" || !v.OK(cert) {
			continue
		}
		if before, ok := files[c.Cert]; ok {
			text, _ := v.source.Text(cert)
			v.Fail(cert, "duplicate certificate %s (first %s)", hint.Quote(cmp.Or(text, c.Cert)), v.where(before))
		}
		files[c.Cert] = cert
	}
	if t.ACME != nil && v.OK(p.Key("acme")) {
		v.acme(p.Key("acme"), t.ACME)
	}
	if t.ClientCAData != nil {
		v.pem(p.Key("client_ca"), t.ClientCAData, t.ClientCA != "")
	}
	if !t.VerifiesClients() && v.OK(p.Key("client_ca")) {
		const without = "%s is for client certificates: add client_ca: with the file of the authority that has issued them, or leave it out"
		if auth := p.Key("client_auth"); (t.ClientAuth == "optional" || v.Given(auth)) && v.OK(auth) {
			v.Fail(auth, without, "client_auth")
		}
		if headers := p.Key("client_headers"); len(t.ClientHeaders) > 0 && v.OK(headers) {
			v.Fail(headers, without, "client_headers")
		}
	}
	v.clientHeaders(p.Key("client_headers"), t.ClientHeaders)
	if secret := p.Key("ticket_secret"); t.TicketSecret != "" && v.OK(secret) && isPlaceholder(t.TicketSecret) {
		v.Warn(secret, "the secret looks like a placeholder: anyone who knows it can forge sessions, and decrypt recorded connections of TLS 1.2: make one with openssl rand -base64 24")
	}
}

func (v *Validator) clientHeaders(p Path, headers Headers) {
	if !v.OK(p) {
		return
	}
	for i, h := range headers {
		if err := clientcert.CheckName(h[0]); err != nil {
			v.Fail(p.Index(i), "bad header %s: %v", hint.Quote(h[0]), err)
		}
		if value := p.Index(i).Key("value"); v.OK(value) {
			if err := CheckWord(clientcert.Facts(), h[1]); err != nil {
				v.Fail(value, "%v", err)
			}
		}
	}
	v.distinct("header", p, len(headers), func(i int) string { return strings.ToLower(headers[i][0]) })
}

func (v *Validator) acme(p Path, a *ACME) {
	domains := p.Key("domains")
	v.Require(domains, len(a.Domains) > 0, "the names for the certificates are missing: write for example domains: [ws.example.com]")
	for i := range a.Domains {
		if item := domains.Index(i); v.OK(item) {
			domain, err := parseDomain(a.Domains[i])
			if err != nil {
				v.Fail(item, "%v", err)
				continue
			}
			a.Domains[i] = domain
		}
	}
	v.distinct("domain", domains, len(a.Domains), func(i int) string { return a.Domains[i] })
	var defaults ACME
	defaults.SetDefaults()
	if a.Directory == "" && v.OK(p.Key("directory")) { // of a program
		a.Directory = defaults.Directory
	}
	if a.Storage == "" && v.OK(p.Key("storage")) {
		a.Storage = defaults.Storage
	}
}

// challengePorts warns if the authority can't reach any listener: it connects to port 80
// for HTTP-01 (RFC 8555 section 8.3), and to 443 for TLS-ALPN-01 (RFC 8737 section 3).
func (v *Validator) challengePorts(c *Config) {
	closed := -1 // a listener that has the port, and keeps the authority out
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.TLS == nil && l.Address.Port == 80 && !l.Opaque() || l.TLS != nil && l.Address.Port == 443 {
			if l.Allow == nil {
				return
			}
			closed = i
		}
	}
	for i := range c.Listeners {
		p := Path("listeners").Index(i).Key("tls").Key("acme")
		if t := c.Listeners[i].TLS; t != nil && t.ACME != nil && closed >= 0 && v.OK(p) {
			v.Warn(Path("listeners").Index(closed).Key("allow"), "the authority connects to port 80 or 443 of each domain, from addresses that it doesn't publish: with allow it can't reach this listener, so put allow into the routes")
			return
		} else if t != nil && t.ACME != nil && v.OK(p) {
			v.Warn(p, "the authority connects to port 80 or 443 of each domain, and no listener without tls has port 80 and none with tls 443: make sure that one of these ports leads to a listener here")
			return
		}
	}
}

// parseDomain reads a name to have a certificate for.
func parseDomain(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad domain %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	if strings.HasPrefix(s, "*") {
		return bad("a certificate for a wildcard needs the challenge DNS-01, which is not supported: list the names, or get the certificate in another way and give its files under certificates")
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return bad("a certificate for an IP address is not supported here: write a name")
	}
	name, err := parseDNSName(s)
	if err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ")
		return bad("%s", why)
	}
	if strings.Contains(name, "_") {
		return bad("no certificate has a name with %q in it", "_")
	}
	return strings.TrimSuffix(name, "."), nil
}

// parseServerName reads the name or IP address that a certificate must have.
func parseServerName(s string) (string, error) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad name %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	switch name, _, port := strings.Cut(s, ":"); {
	case s == "":
		return "", errors.New("the name is empty: leave the key out to verify the host of each backend's address")
	case strings.HasPrefix(s, "*"):
		return bad("a connection is for one name, write which")
	case strings.Contains(s, "://"):
		return bad("write just the name, without scheme and path")
	case port:
		return bad("write it without a port: %s", hint.Quote(name))
	}
	if err := hostport.CheckName(s); err != nil {
		return bad("%v", err)
	}
	return strings.ToLower(strings.TrimSuffix(s, ".")), nil
}

// checkEmail checks an address roughly: only the authority knows whether it is right.
func checkEmail(s string) error {
	user, host, ok := strings.Cut(s, "@")
	if !ok || user == "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`,;:<>()[]\"`, c) }) || hostport.CheckName(host) != nil {
		return fmt.Errorf("bad email address %s: write for example ops@example.com, or leave the key out", hint.Quote(s))
	}
	return nil
}

// checkProfile checks the name of a profile, which is a key in the authority's directory.
func checkProfile(s string) error {
	if s == "" {
		return errors.New("the profile is empty: leave the key out to have that of the authority")
	}
	if len(s) > maxName || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fmt.Errorf("bad profile %s: write a word that the authority's documentation lists, such as shortlived", hint.Quote(s))
	}
	return nil
}

// maxURL bounds the URL of a directory, in bytes.
const maxURL = 2048

// checkDirectory checks the URL of an authority's directory, which must be https (RFC
// 8555 section 6.1).
func checkDirectory(s string) error {
	bad := func(why string) error {
		return fmt.Errorf("bad directory %s: %s", hint.Quote(withoutSecrets(s)), why)
	}
	u, err := url.Parse(s)
	switch {
	case len(s) > maxURL:
		return fmt.Errorf("the URL is longer than %d bytes", maxURL)
	case err != nil || u.Host == "" && u.Scheme == "" || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }):
		return bad("write a URL such as https://acme-v02.api.letsencrypt.org/directory")
	case u.Scheme != "https":
		return bad("its URL begins with https://")
	case u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return bad("write a URL with a host and a path, and nothing else")
	}
	return nil
}

// poolTLS checks how the keys of a pool's tls go together.
func (v *Validator) poolTLS(p Path, t *PoolTLS) {
	if !v.OK(p) {
		return
	}
	if cert := p.Key("cert"); t.Key != "" {
		v.Require(cert, t.Cert != "", "the certificate of this key is missing: add cert: with its file, or leave key out")
	}
	if t.CAData != nil {
		v.pem(p.Key("ca"), t.CAData, t.CA != "")
	}
	if t.CertData != nil {
		v.pem(p.Key("cert"), t.CertData, t.Cert != "" || t.Key != "")
	}
	for _, san := range t.SANs {
		if err := checkSAN(san); err != nil {
			v.Fail(p.Key("server_name"), "%v", err)
		}
	}
	if insecure := p.Key("insecure_skip_verify"); t.InsecureSkipVerify && v.OK(insecure) {
		v.Warn(insecure, "any server that answers in place of a backend is accepted: use this for trials only")
		if ca := p.Key("ca"); t.CA != "" && v.OK(ca) {
			v.Warn(ca, "ca does nothing with insecure_skip_verify: leave one of them out")
		}
	}
}

// schemes looks at backends that were given as URLs: wss:// and https:// stand for TLS.
// All backends of a pool are reached in the same way, since those that are discovered
// have no scheme.
func (v *Validator) schemes(p Path, pool *Pool) {
	var secure, plain Path // the first of each
	for i := range pool.Backends {
		address := p.Key("backends").Index(i).Key("address")
		text, _ := v.source.Text(address)
		switch scheme := hostport.Scheme(text); {
		case !v.OK(address):
			return
		case hostport.IsTLS(scheme):
			if secure == "" {
				secure = address
			}
		case plain == "" && (scheme != "" || pool.TLS == nil):
			plain = address
		}
	}
	switch {
	case plain != "" && pool.TLS != nil:
		text, _ := v.source.Text(plain)
		v.Fail(plain, "%s is without TLS, and the pool has tls (%s): write wss:// or https://, or leave tls out", hint.Quote(text), v.where(p.Key("tls")))
	case plain != "" && secure != "":
		v.Fail(plain, "this backend is without TLS, and another one of the pool has it (%s): write wss:// or https:// here, too, or put it into another pool", v.where(secure))
	case secure != "" && pool.TLS == nil:
		pool.TLS = new(PoolTLS)
	}
}
