package ingress

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
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
	v.pems, v.certNames = map[string]*config.PEM{}, map[*config.PEM][]string{}
	tls := *v.Cluster.HTTPS.TLS
	tls.Certificates = slices.Clone(tls.Certificates)
	https := v.Cluster.HTTPS
	https.TLS = &tls
	v.c.Listeners = []config.Listener{v.Cluster.HTTP, https}
	numbers := map[string]int{} // of Secrets among the certificates
	for _, s := range servers {
		if s.through {
			s.shut, s.through = s.host != "", s.host != ""
			s.throughBy.settings.refuse(s.throughBy.annotation("ssl-passthrough"), "the port terminates TLS, also for other hosts: use a TLSRoute of a Gateway")
		}
		if s.host == "" {
			continue
		}
		pem := v.certificateOf(s)
		for _, name := range v.namesOf(s) {
			if hostport.CheckName(strings.TrimPrefix(name, "*.")) != nil {
				continue // an alias that is an expression, or isn't a name
			}
			i := 0 // a name without a certificate has the default one, whatever wildcards others have
			if pem != nil && slices.ContainsFunc(v.certNames[pem], func(n string) bool { return covers(n, name) }) {
				if _, known := numbers[pem.Name]; !known {
					numbers[pem.Name] = len(tls.Certificates)
					tls.Certificates = append(tls.Certificates, config.Certificate{Data: pem})
				}
				i = numbers[pem.Name]
			} else if pem != nil && name == s.host {
				v.r.Refuse(s.cert.Place, "tls secretName "+s.cert.Secret, "the certificate isn't for %s: clients get the default certificate", hint.Quote(name))
			}
			tls.Certificates[i].Names = append(slices.Clip(tls.Certificates[i].Names), name)
		}
	}
	v.clusterAuthorities(&tls, servers)
}

// namesOf are the names by which clients ask for a host.
func (v *converter) namesOf(s *server) []string {
	names := append([]string{s.host}, s.aliases...)
	if from, _, ok := s.otherWWW(); ok && !v.hasHost(from) {
		names = append(names, from.String())
	}
	return names
}

// certificateOf is the certificate that a host should have; nil is the default one.
func (v *converter) certificateOf(s *server) *config.PEM {
	if s.cert == nil || s.cert.Secret == "" {
		return nil
	}
	directive := "tls secretName " + s.cert.Secret
	pem, err := v.pem(s.certBy.Namespace+"/"+s.cert.Secret, "tls.crt", "tls.key")
	v.noteOnce(directive+s.certBy.key(), func() {
		if err != nil {
			v.r.Refuse(s.cert.Place, directive, "%v: clients get the default certificate", err)
		} else {
			v.r.Carry(s.cert.Place, directive, "")
		}
	})
	return pem
}

// covers reports whether a certificate with a name is good for a host, which may be a
// wildcard itself.
func covers(name, host string) bool {
	_, domain, _ := strings.Cut(host, ".")
	return name == host || name == "*."+domain
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
			if s.clientBy.accepts(a.Name) {
				s.clientCert = nil
			} else {
				s.shut = true
			}
			s.clientBy.settings.refuse(a, format, args...)
		}
		if !s.tls || s.through {
			refuse("%s", s.noCertificate())
			continue
		}
		pem, err := v.pem(s.clientCert.secret, "ca.crt", "")
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

// pem is what a Secret has: a certificate with its key, or the certificates of authorities
// if private is "". What is read from the same Secret is the same *PEM.
func (v *converter) pem(key, cert, private string) (*config.PEM, error) {
	if p := v.pems[key+" "+cert]; p != nil {
		return p, nil
	}
	s := v.secrets[key]
	if s == nil {
		return nil, fmt.Errorf("there is no Secret %s", hint.Quote(key))
	}
	for _, name := range []string{cert, private} {
		if name != "" && len(s.Data[name]) == 0 {
			return nil, fmt.Errorf("the Secret %s has no %s", hint.Quote(key), name)
		}
	}
	p := &config.PEM{Name: "Secret " + key, Cert: s.Data[cert]}
	var err error
	if private == "" {
		err = v.Cluster.CheckAuthorities(p)
	} else {
		p.Key = s.Data[private]
		v.certNames[p], err = v.Cluster.CheckCertificate(p)
	}
	if err != nil {
		return nil, err // it names the Secret
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
		if t.CAData, err = v.pem(c.tls.secret, "ca.crt", ""); err != nil {
			c.settings.refuse(a, "%v", err)
		}
	}
	if s := v.secrets[c.tls.secret]; s == nil || len(s.Data["tls.crt"]) > 0 {
		if t.CertData, err = v.pem(c.tls.secret, "tls.crt", "tls.key"); err != nil {
			c.settings.refuse(a, "%v", err)
		}
	}
	return t
}
