package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// readTLS reads the files of CA, Cert and Key.
func (o *Options) readTLS() error {
	o.tls = &tls.Config{InsecureSkipVerify: o.Insecure, ServerName: o.ServerName}
	if o.CA != "" {
		text, err := os.ReadFile(o.CA)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		o.tls.RootCAs = x509.NewCertPool()
		if !o.tls.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("--ca %s: there is no certificate in it: want PEM, which begins with -----BEGIN CERTIFICATE-----", o.CA)
		}
	}
	switch {
	case o.Cert == "" && o.Key == "":
	case o.Cert == "" || o.Key == "":
		return errors.New("--cert and --key are one certificate: give both")
	default:
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return fmt.Errorf("--cert, --key: %w", err)
		}
		o.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// noTLS returns a finding for a TLS handshake that failed; ok is false if err is
// something else.
func noTLS(err error) (f finding, ok bool) {
	var (
		verify   *tls.CertificateVerificationError
		mismatch x509.HostnameError
		unknown  x509.UnknownAuthorityError
		plain    tls.RecordHeaderError
	)
	text := "TLS: " + strings.TrimPrefix(err.Error(), "tls: ")
	_, alert, rejected := strings.Cut(err.Error(), "remote error: tls: ")
	switch {
	case errors.As(err, &plain):
		return fix("TLS: it answered without TLS", "write ws:// for a server without TLS"), true
	case errors.As(err, &mismatch):
		return fix(text, "give a name of its certificate with --server-name, and to the balancer as tls.server_name of the pool"), true
	case errors.As(err, &unknown):
		return fix(text, "give the certificate of the authority that signed the server's with --ca, and to the balancer as tls.ca of the pool; or let the server send its whole chain"), true
	case errors.As(err, &verify):
		return fix(text, "renew the server's certificate, or see with --insecure what else there is to fix"), true
	case rejected:
		return fix(fmt.Sprintf("TLS: it ended the connection with the alert %q", alert), "if it wants a certificate of its clients, give one with --cert and --key, and to the balancer as tls.cert and tls.key of the pool"), true
	}
	return finding{}, false
}
