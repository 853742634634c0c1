package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
)

// readBackendTLS reads the files of pools that speak TLS to their backends. A pool
// whose files haven't changed keeps its client, and the sessions to resume. It changes
// nothing. The error is a config.Errors.
func (a *App) readBackendTLS(c *config.Config) (clients map[string]*backendtls.Client, err error) {
	clients = map[string]*backendtls.Client{}
	var bad config.Errors
	for i := range c.Pools {
		p := &c.Pools[i]
		if p.TLS == nil {
			continue
		}
		client, err := newBackendTLS(p, a.metrics, a.backendTLS[p.Name])
		if err != nil {
			bad = append(bad, backendError(p, err))
			continue
		}
		clients[p.Name] = client
	}
	if bad != nil {
		c.Locate(bad)
		return nil, bad
	}
	return clients, nil
}

// newBackendTLS makes the client of a pool with TLS, whose handshakes are counted by
// counter, or returns before if nothing has changed.
func newBackendTLS(p *config.Pool, counter backendtls.Counter, before *backendtls.Client) (*backendtls.Client, error) {
	o := backendtls.Options{
		Pool: p.Name, CA: p.TLS.CA, ServerName: p.TLS.ServerName, Cert: p.TLS.Cert, Key: p.TLS.Key, SANs: p.TLS.SANs,
		InsecureSkipVerify: p.TLS.InsecureSkipVerify, Counter: counter,
	}
	if d := p.TLS.CAData; d != nil {
		o.CA, o.CAText = d.Name, textOf(d.Cert)
	}
	if d := p.TLS.CertData; d != nil {
		o.Cert, o.CertText = d.Name, textOf(d.Cert)
		if len(d.Key) > 0 {
			o.Key, o.KeyText = d.Name, string(d.Key)
		}
	}
	return backendtls.New(o, before)
}

// textOf is what is instead of a file, which is a line of nothing if it is empty: "" would
// stand for a file.
func textOf(pem []byte) string {
	if len(pem) == 0 {
		return "\n"
	}
	return string(pem)
}

// backendError gives an error of newBackendTLS its path.
func backendError(p *config.Pool, err error) config.Error {
	path := config.PoolPath(p.Name).Key("tls")
	var file *backendtls.FileError
	if errors.As(err, &file) {
		return config.Error{Path: path.Key(file.Key), Msg: file.Text}
	}
	return config.Error{Path: path, Msg: err.Error()}
}

// expiring warns of the balancer's own certificates for backends that soon expire.
// Nothing else does, since they are read at a start and a reload only.
func expiring(clients map[string]*backendtls.Client, c *config.Config) (warnings []config.Error) {
	for _, p := range c.Pools {
		if client := clients[p.Name]; client != nil {
			if text := expiry(client); text != "" {
				warnings = append(warnings, config.Error{Path: config.PoolPath(p.Name).Key("tls").Key("cert"), Msg: text})
			}
		}
	}
	c.Locate(warnings)
	return warnings
}

// expiry is a warning of the client's own certificate, or "".
func expiry(client *backendtls.Client) string {
	cert := client.Certificate()
	if cert == nil {
		return ""
	}
	about := certs.Info{NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}
	if !about.Warn(time.Now()) {
		return ""
	}
	verb := "expires"
	if time.Until(cert.NotAfter) < 0 {
		verb = "has expired"
	}
	return fmt.Sprintf("the certificate %s at %s: renew it, and reload", verb, cert.NotAfter.UTC().Format(time.RFC3339))
}
