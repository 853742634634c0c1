package backendtls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// FileError is a file that can't be used.
type FileError struct {
	Pool string
	Key  string // of tls of the pool: ca, cert or key
	Text string // what is wrong, and with which file
	Err  error  // the cause; may be nil
}

func (e *FileError) Error() string {
	return fmt.Sprintf("pools.%s.tls.%s: %s", e.Pool, e.Key, e.Text)
}
func (e *FileError) Unwrap() error { return e.Err }

// contents are those of the files, or what is instead of them, of Options, "" for those that aren't used.
type contents struct{ ca, cert, key string }

// maxFile bounds the size of a file, in bytes: a bundle of all public authorities has
// a quarter of a megabyte.
const maxFile = 8 << 20

func readFiles(o Options) (c contents, err error) {
	for _, f := range []struct {
		key, path, text string
		to              *string
	}{{"ca", o.CA, o.CAText, &c.ca}, {"cert", o.Cert, o.CertText, &c.cert}, {"key", o.Key, o.KeyText, &c.key}} {
		switch {
		case f.path == "":
			continue
		case f.text != "":
			*f.to = f.text
			continue
		}
		info, err := os.Stat(f.path)
		if err == nil && info.Size() > maxFile {
			err = fmt.Errorf("%s has more than %d MiB", hint.Quote(f.path), maxFile>>20)
		}
		var text []byte
		if err == nil {
			text, err = os.ReadFile(f.path)
		}
		if err != nil {
			return c, &FileError{o.Pool, f.key, fmt.Sprintf("cannot read the file: %v", plain(err)), err}
		}
		*f.to = string(text)
	}
	return c, nil
}

// plain is err in the usual words, with the path quoted.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", hint.Quote(p.Path), p.Err)
	}
	return err
}

// parseCA returns the certificates of the file ca, or nil for the system's.
func parseCA(o Options, text string) (*x509.CertPool, error) {
	if o.CA == "" {
		return nil, nil
	}
	bad := func(format string, args ...any) error {
		return &FileError{o.Pool, "ca", hint.Quote(o.CA) + ": " + fmt.Sprintf(format, args...), nil}
	}
	pool, n := x509.NewCertPool(), 0
	for rest := []byte(text); ; {
		var block *pem.Block
		line := 1 + bytes.Count([]byte(text)[:len(text)-len(rest)], []byte("\n"))
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue // some tools write the key, or the certificate in words, beside it
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, bad("the certificate after line %d is broken: %v", line, err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, bad("there is no certificate in it: want PEM, which begins with -----BEGIN CERTIFICATE-----")
	}
	return pool, nil
}

// parsePair returns the balancer's own certificate. An empty o.Key means that the key
// is in cert.
func parsePair(o Options, cert, key string) (*tls.Certificate, error) {
	keyFile := o.Key
	if keyFile == "" {
		keyFile, key = o.Cert, cert
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return nil, &FileError{o.Pool, "cert", fmt.Sprintf("the certificate %s and the key %s can't be used: %s",
			hint.Quote(o.Cert), hint.Quote(keyFile), strings.TrimPrefix(err.Error(), "tls: ")), err}
	}
	return &pair, nil
}
