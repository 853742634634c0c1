package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"sync/atomic"
	"time"
)

// ClientCAs are the certificates that clients are verified by.
type ClientCAs struct {
	Pool *x509.CertPool
	// Sum identifies them: it is the same wherever the same certificates are used.
	Sum [sha256.Size]byte
}

// clientCA is the file of ClientCAs.
type clientCA struct {
	path CAFile
	file
	current atomic.Pointer[ClientCAs]
}

func newClientCA(f CAFile) *clientCA {
	path := f.Path
	r := &clientCA{path: f, file: newFile(filePart{part: ClientCA, path: path, inMemory: f.InMemory, text: f.Text})}
	r.parse = func(texts [][]byte, _ time.Time) *FileError {
		all, bad := blocks(ClientCA, path, texts[0])
		if bad != nil {
			return bad
		}
		certs, bad := certificates(ClientCA, path, all)
		if bad != nil {
			return bad
		}
		c := &ClientCAs{Pool: x509.NewCertPool()}
		sum := sha256.New()
		for _, x := range certs {
			c.Pool.AddCert(x)
			sum.Write(x.Raw)
		}
		sum.Sum(c.Sum[:0])
		r.current.Store(c)
		return nil
	}
	return r
}
