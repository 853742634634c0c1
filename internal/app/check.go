package app

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
)

// CheckFiles reads the files of TLS and of auth that c names, as Start does, and looks for the folder of the log. It returns
// what is wrong with them, and warnings, both with their places and in their order. A listener's
// certificate that has expired is wrong here, while Start and Reload only warn of it.
func CheckFiles(c *config.Config) (errs config.Errors, warnings []config.Error) {
	specs, paths := certSpecs(c)
	stores, err := certs.New(certs.Options{RefuseUntimely: true}).Load(specs)
	if err != nil {
		errs = configErrors(c, err, paths)
	}
	for i, s := range stores {
		for j, cert := range s.Certificates() {
			if cert.Warn(time.Now()) {
				warnings = append(warnings, config.Error{Path: pairPath(paths[i], j).Key("cert"),
					Msg: fmt.Sprintf("the certificate expires at %s: renew it; a running balancer takes the new file by itself", cert.NotAfter.UTC().Format(time.RFC3339))})
			}
		}
	}
	errs = append(errs, authErrors(c)...)
	errs = append(errs, checkLogFile(c)...)
	var more config.Errors
	if _, err := adminTokens(c); errors.As(err, &more) {
		errs = append(errs, more...)
	}
	if _, err := loadTracing(c); errors.As(err, &more) {
		errs = append(errs, more...)
	}
	if _, err := acmePlan(c); errors.As(err, &more) {
		errs = append(errs, more...)
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		if p.TLS == nil {
			continue
		}
		client, err := newBackendTLS(p, nil, nil)
		if err != nil {
			errs = append(errs, backendError(p, err))
			continue
		}
		if text := expiry(client); text != "" {
			warnings = append(warnings, config.Error{Path: config.PoolPath(p.Name).Key("tls").Key("cert"), Msg: text})
		}
	}
	for _, list := range [][]config.Error{errs, warnings} {
		c.Locate(list)
		slices.SortStableFunc(list, func(a, b config.Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
		})
	}
	return errs, warnings
}

// CheckPEM reports why a listener couldn't use a certificate that a program has. One
// that has expired can be used.
func CheckPEM(p *config.PEM) error {
	return certs.Check(pairOf(&config.Certificate{Data: p}))
}

// CheckClientPEM reports why p can't be the balancer's own certificate for backends.
func CheckClientPEM(p *config.PEM) error {
	pair := pairOf(&config.Certificate{Data: p})
	pair.Client = true
	return certs.Check(pair)
}

// CheckCAPEM reports why a listener, or a pool, couldn't verify certificates by p.
func CheckCAPEM(p *config.PEM) error {
	return certs.CheckCA(certs.CAFile{Path: p.Name, InMemory: true, Text: string(p.Cert)})
}
