package nginx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// listenerTLS sets the TLS of a listener from all servers of its socket.
func (cv *converter) listenerTLS(k *socket, l *config.Listener) {
	if !k.ssl {
		if k.http2 {
			cv.differ(k.from, "holdfast speaks HTTP/2 with TLS only")
		}
		return
	}
	t := new(config.ListenerTLS)
	t.SetDefaults()
	t.HTTP2 = k.http2
	p := config.Path("listeners").Index(k.index).Key("tls")
	servers := slices.Clone(k.servers)
	if i := slices.Index(servers, k.fallback); i > 0 { // its certificate is for other names
		servers[0], servers[i] = servers[i], servers[0]
	}
	seen := map[string]bool{}
	for _, s := range servers {
		cv.certificates(s, t, p, seen)
	}
	cv.versions(k.fallback, servers, t, p)
	cv.clientCertificates(k, servers, t, p)
	if cv.on(k.fallback.lv, "ssl_reject_handshake") {
		t.StrictSNI = true
		cv.differ(k.fallback.lv.one("ssl_reject_handshake"), "a client is refused if no certificate has the name that it asks for").at(p.Key("strict_sni"))
	}
	l.TLS = t
}

// certificates adds those of a server.
func (cv *converter) certificates(s *server, t *config.ListenerTLS, p config.Path, seen map[string]bool) {
	certs, keys := s.lv.all("ssl_certificate"), s.lv.all("ssl_certificate_key")
	for i, d := range certs {
		if len(d.Args) != 1 {
			cv.refuse(d, "the file is missing")
			continue
		}
		if i >= len(keys) || len(keys[i].Args) != 1 {
			cv.refuse(d, "its ssl_certificate_key is missing")
			continue
		}
		cert, err := cv.file(d.Args[0])
		if err != nil {
			cv.refuse(d, err.Error())
			continue
		}
		key, err := cv.file(keys[i].Args[0])
		if err != nil {
			cv.refuse(keys[i], err.Error())
			continue
		}
		at := p.Key("certificates").Index(len(t.Certificates))
		cv.carry(d).at(at.Key("cert"))
		cv.carry(keys[i]).at(at.Key("key"))
		if seen[cert] {
			continue
		}
		seen[cert] = true
		if key == cert {
			key = ""
		}
		cv.r.Locate(at, place(d.Pos))
		t.Certificates = append(t.Certificates, config.Certificate{Cert: cert, Key: key})
	}
}

// versions sets the lowest version. nginx takes that of the default server.
func (cv *converter) versions(fallback *server, servers []*server, t *config.ListenerTLS, p config.Path) {
	for _, s := range servers {
		list := s.lv.all("ssl_protocols")
		if len(list) == 0 {
			continue
		}
		d := list[0]
		n := cv.carry(d)
		old := slices.ContainsFunc(d.Args, func(v string) bool { return v == "TLSv1" || v == "TLSv1.1" || strings.HasPrefix(v, "SSL") })
		switch has12, has13 := slices.Contains(d.Args, "TLSv1.2"), slices.Contains(d.Args, "TLSv1.3"); {
		case has13 && !has12:
			if s == fallback {
				t.MinVersion = "1.3"
			} else if t.MinVersion != "1.3" {
				n = cv.differ(d, "the versions are those of the listener, whose lowest is TLS 1.2")
			}
		case old:
			n = cv.differ(d, "TLS 1.2 is the lowest version: older ones are broken")
		case !has13:
			n = cv.differ(d, "TLS 1.3 is used, too")
		}
		n.at(p.Key("min_version"))
	}
}

// clientCertificates asks clients for certificates. holdfast does so for a whole
// listener; servers that need one say so with a route, see needsCertificate.
func (cv *converter) clientCertificates(k *socket, servers []*server, t *config.ListenerTLS, p config.Path) {
	required := 0
	for _, s := range servers {
		d := s.lv.one("ssl_verify_client")
		if d == nil || d.Args[0] == "off" {
			if d != nil {
				cv.carry(d)
			}
			continue
		}
		if d.Args[0] != "on" && d.Args[0] != "optional" {
			cv.refuse(d, "only certificates that a known authority has issued are accepted: write on or optional")
			continue
		}
		ca := s.lv.one("ssl_client_certificate")
		if ca == nil {
			ca = s.lv.one("ssl_trusted_certificate")
		}
		if ca == nil {
			cv.refuse(d, "the authority is missing: add ssl_client_certificate")
			continue
		}
		file, err := cv.file(ca.Args[0])
		switch {
		case err != nil:
			cv.refuse(ca, err.Error())
			continue
		case t.ClientCA != "" && t.ClientCA != file:
			cv.refuse(ca, "all servers of a listener verify clients by the same file: put both authorities into one file, or use another port")
			continue
		}
		t.ClientCA = file
		cv.carry(ca).at(p.Key("client_ca"))
		cv.carry(d).at(p.Key("client_auth"))
		if d.Args[0] == "on" {
			required++
		}
	}
	if t.ClientCA == "" {
		return
	}
	if required == len(servers) {
		for _, s := range servers {
			cv.differ(s.lv.one("ssl_verify_client"), "a client without a certificate is refused in the TLS handshake: nginx answers 400")
		}
		return
	}
	t.ClientAuth = "optional"
	for _, s := range servers {
		if d := s.lv.one("ssl_verify_client"); d != nil && d.Args[0] == "on" {
			k.certified = append(k.certified, s)
			cv.differ(d, "a certificate that isn't valid is refused in the TLS handshake; without one, the answer is 400")
		}
	}
}

// needsCertificate makes a route that answers clients without a certificate.
func (sc *scope) needsCertificate() []*route {
	if !slices.Contains(sc.socket.certified, sc.server) {
		return nil
	}
	none := false
	r := sc.route(sc.server.lv.one("ssl_verify_client"))
	r.Match.ClientCert = &config.ClientCert{Verified: &none}
	r.Respond = &config.Respond{Status: 400, Body: "A client certificate is required.\n", ContentType: "text/plain"}
	return []*route{r}
}

// proxyTLS is how backends are reached by TLS; nil is without.
func (sc *scope) proxyTLS(lv *level) *config.PoolTLS {
	if !sc.proxy.tls {
		return nil
	}
	t, cv := new(config.PoolTLS), sc.cv
	file := func(name string, to *string) {
		d := lv.one(name)
		if d == nil {
			return
		}
		path, err := cv.file(d.Args[0])
		if err != nil {
			cv.refuse(d, err.Error())
			return
		}
		cv.carry(d)
		*to = path
	}
	file("proxy_ssl_certificate", &t.Cert)
	file("proxy_ssl_certificate_key", &t.Key)
	if t.InsecureSkipVerify = !cv.on(lv, "proxy_ssl_verify"); !t.InsecureSkipVerify {
		file("proxy_ssl_trusted_certificate", &t.CA)
	} else if d := lv.one("proxy_ssl_trusted_certificate"); d != nil {
		cv.skip(d, "without proxy_ssl_verify on, nothing is verified by it")
	}
	cv.on(lv, "proxy_ssl_server_name")
	t.ServerName = hostOnly(sc.proxy.host)
	if d := lv.one("proxy_ssl_name"); d != nil {
		name, err := sc.literal(d.Args[0])
		if err != nil {
			cv.refuse(d, fmt.Sprintf("the name must be known beforehand: %v", err))
			return t
		}
		cv.carry(d)
		t.ServerName = hostOnly(name)
	}
	if t.ServerName != "" && sc.proxy.up.lv == nil && t.ServerName == hostOnly(sc.proxy.up.address) || strings.Contains(t.ServerName, "_") {
		t.ServerName = "" // it is the backend's address
	}
	return t
}

// hostOnly is a host without its port and without brackets.
func hostOnly(s string) string {
	if port := hostPort(s); port != "" {
		s = strings.TrimSuffix(s, ":"+port)
	}
	return strings.Trim(s, "[]")
}
