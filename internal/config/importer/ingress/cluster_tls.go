package ingress

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// chooseCertificate sets the certificate of a host, which is that of the first Ingress with
// one. An entry with the host goes before one without hosts.
func (v *converter) chooseCertificate(s *server, c *conf) {
	if s.cert != nil || s.host == "" {
		return
	}
	for i := range c.TLS {
		if t := &c.TLS[i]; t.covers(s.host) && (s.cert == nil || len(s.cert.Hosts) == 0 && len(t.Hosts) > 0) {
			s.cert, s.certBy = t, c
		}
	}
}

// clusterListeners adds both listeners, with the certificates of all hosts.
func (v *converter) clusterListeners(servers []*server) {
	v.names = listenerNames{v.Cluster.HTTP.Name, v.Cluster.HTTPS.Name}
	v.https = true
	v.pems = map[string]*config.PEM{}
	tls := *v.Cluster.HTTPS.TLS
	tls.Certificates = slices.Clone(tls.Certificates)
	https := v.Cluster.HTTPS
	https.TLS = &tls
	v.c.Listeners = []config.Listener{v.Cluster.HTTP, https}
	numbers := map[string]int{} // of Secrets among the certificates
	for _, s := range servers {
		if s.through {
			s.shut = true
			s.by.settings.refuse(s.by.annotation("ssl-passthrough"), "the port terminates TLS, also for other hosts: use a TLSRoute of a Gateway")
		}
		if s.cert == nil || s.cert.Secret == "" {
			continue
		}
		key, directive := s.certBy.Namespace+"/"+s.cert.Secret, "tls secretName "+s.cert.Secret
		pem, err := v.keyPair(key)
		if err != nil {
			v.noteOnce(directive+s.certBy.key(), func() {
				v.r.Refuse(s.cert.Place, directive, "%v: clients get the default certificate", err)
			})
			continue
		}
		i, known := numbers[key]
		if !known {
			i = len(tls.Certificates)
			numbers[key] = i
			tls.Certificates = append(tls.Certificates, config.Certificate{Data: pem})
		}
		cert := &tls.Certificates[i]
		cert.Names = append(cert.Names, s.host)
		for _, alias := range s.aliases {
			if !strings.HasPrefix(alias, "~") {
				cert.Names = append(cert.Names, alias)
			}
		}
		v.noteOnce(directive+s.certBy.key(), func() { v.r.Carry(s.cert.Place, directive, "") })
	}
	v.clusterAuthorities(&tls, servers)
}

func (v *converter) noteOnce(key string, note func()) {
	if !v.noted[key] {
		v.noted[key] = true
		note()
	}
}

// clusterAuthorities sets by which authorities certificates of clients are verified. A
// listener has one list; routes say which hosts need one. A host with another authority
// isn't served: in one list, one authority could issue certificates in the name of the other.
func (v *converter) clusterAuthorities(t *config.ListenerTLS, servers []*server) {
	var first *server
	for _, s := range servers {
		if s.clientCert == nil {
			continue
		}
		a := s.clientBy.annotation("auth-tls-secret")
		refuse := func(format string, args ...any) {
			s.shut = true
			s.clientBy.settings.refuse(a, format, args...)
		}
		if !s.tls || s.through {
			refuse("the host %s has no certificate here, and clients without TLS need none: add tls to the Ingress", hint.Quote(s.host))
			continue
		}
		pem, err := v.authorities(s.clientCert.secret)
		switch {
		case err != nil:
			refuse("%v", err)
			continue
		case first != nil && string(t.ClientCAData.Cert) != string(pem.Cert):
			refuse("the listener verifies certificates by one authority, and an Ingress of the host %s has another one: use a Gateway for this host", hint.Quote(first.host))
			continue
		case first == nil:
			first = s
			t.ClientCAData, t.ClientAuth = pem, "optional"
		}
		v.clientHeaders(t, s.clientCert)
	}
}

// keyPair is a certificate with its key, of a Secret.
func (v *converter) keyPair(key string) (*config.PEM, error) {
	return v.pem(key, "tls.crt", "tls.key", v.Cluster.CheckCertificate)
}

// authorities are the certificates of authorities in a Secret.
func (v *converter) authorities(key string) (*config.PEM, error) {
	return v.pem(key, "ca.crt", "", v.Cluster.CheckAuthorities)
}

// pem is what a Secret has. What is read from the same Secret is the same *PEM.
func (v *converter) pem(key, cert, private string, check func(*config.PEM) error) (*config.PEM, error) {
	s := v.secrets[key]
	if s == nil {
		return nil, fmt.Errorf("there is no Secret %s", hint.Quote(key))
	}
	if p := v.pems[key+" "+cert]; p != nil {
		return p, nil
	}
	for _, name := range []string{cert, private} {
		if name != "" && len(s.Data[name]) == 0 {
			return nil, fmt.Errorf("the Secret %s has no %s", hint.Quote(key), name)
		}
	}
	p := &config.PEM{Name: "Secret " + key, Cert: s.Data[cert]}
	if private != "" {
		p.Key = s.Data[private]
	}
	if check != nil {
		if err := check(p); err != nil {
			return nil, fmt.Errorf("the Secret %s can't be used: %w", hint.Quote(key), err)
		}
	}
	v.pems[key+" "+cert] = p
	return p, nil
}

// clusterTLS says how the pods of an Ingress are reached by TLS.
func (v *converter) clusterTLS(c *conf) *config.PoolTLS {
	t := &config.PoolTLS{ServerName: c.tls.name, InsecureSkipVerify: !c.tls.verify}
	if c.tls.secret == "" {
		return t
	}
	a := c.annotation("proxy-ssl-secret")
	var err error
	if c.tls.verify {
		if t.CAData, err = v.authorities(c.tls.secret); err != nil {
			c.settings.refuse(a, "%v", err)
		}
	}
	if s := v.secrets[c.tls.secret]; s == nil || len(s.Data["tls.crt"]) > 0 {
		if t.CertData, err = v.keyPair(c.tls.secret); err != nil {
			c.settings.refuse(a, "%v", err)
		}
	}
	return t
}
