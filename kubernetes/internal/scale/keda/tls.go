package keda

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// Files returns a configuration with the certificate and the key of two PEM files. They are
// read again for a handshake after one of them has changed, as those of a Secret do. If they
// can't be used then, the last ones stay.
func Files(cert, key string) (*tls.Config, error) {
	f := &files{cert: cert, key: key}
	if _, err := f.certificate(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.certificate() }}, nil
}

type files struct {
	cert, key string

	mu   sync.Mutex // guards the following
	pair *tls.Certificate
	read [2]version // of both files, when pair was read
}

// version tells whether a file has changed. A Secret's files are replaced, so that one of
// the same length has another time.
type version struct {
	at   time.Time
	size int64
}

func versionOf(file string) (version, error) {
	info, err := os.Stat(file)
	if err != nil {
		return version{}, err
	}
	return version{info.ModTime(), info.Size()}, nil
}

func (f *files) certificate() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.versions()
	if err == nil && (f.pair == nil || now != f.read) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.pair, f.read = &pair, now
		}
	}
	if f.pair != nil {
		return f.pair, nil
	}
	return nil, err
}

func (f *files) versions() (now [2]version, err error) {
	for i, file := range []string{f.cert, f.key} {
		if now[i], err = versionOf(file); err != nil {
			return now, err
		}
	}
	return now, nil
}
