// Package certs has the certificates of the balancer's listeners: it reads them from
// files, chooses one for each client, and follows changes of the files without a
// restart. A program may give what would be in the files.
//
// A Watcher belongs to the process and survives reloads. It makes a Store for each
// listener. Stores share what they read of the same files.
//
//	watcher.go     reading at a start and at reloads, and following the files
//	store.go       which certificate a client gets
//	pair.go        a certificate and its key, and how they are replaced
//	clientca.go    the certificates that clients are verified by
//	parse.go       PEM
//	check.go       what makes a certificate unusable
//	expiry.go      when certificates expire, and the warnings
//	selfsigned.go  a certificate for trials
package certs

import (
	"crypto/tls"
	"fmt"
	"time"
)

// Pair names the files of a certificate, in PEM: a chain, the server's own certificate
// first, and its private key. Key is "" if the key is in Cert, too.
type Pair struct {
	Cert, Key string
	// InMemory means that there are no files: CertText and KeyText are what would be in
	// them. Cert and Key are then only names for errors, the log and the status.
	InMemory          bool
	CertText, KeyText string
	// Client means that a client shows it: it needs no names, and no key usage of servers.
	Client bool
}

// keyFile is the file that has the private key.
func (p Pair) keyFile() string {
	if p.Key == "" {
		return p.Cert
	}
	return p.Key
}

// Spec is what one listener has.
type Spec struct {
	// Pairs are the certificates; the first is for clients that ask for no name, or
	// for one that no certificate has.
	Pairs []Pair
	// Names are the names that a client asks for to get the certificate of Pairs with
	// the same index: names of hosts, "*.example.com" for those below it at any depth,
	// and "*" for all the rest and for clients that ask for no name. nil, and an index
	// that it hasn't, stand for the names in the certificate.
	Names [][]string
	// SelfSigned adds a certificate that is made in memory, for trials.
	SelfSigned bool
	// Domains are those of Options.Source that belong to this listener, in lower case.
	Domains []string
	// ClientCA is the file of the certificates that clients are verified by; its Path
	// is "" for none.
	ClientCA CAFile
	// Strict refuses clients that ask for no name, or for one that no certificate has.
	Strict bool
}

// CAFile is a file of certificates in PEM.
type CAFile struct {
	Path string
	// InMemory means that there is no file: Text is what would be in it, and Path is
	// only a name.
	InMemory bool
	Text     string
}

// Check reports what makes a certificate unusable, as Load does for one that has not
// expired. The error is a *FileError.
func Check(p Pair) error {
	if bad := newPair(p, true).check(time.Now()); bad != nil {
		return bad
	}
	return nil
}

// CheckCA is Check for Spec.ClientCA.
func CheckCA(f CAFile) error {
	if bad := newClientCA(f).check(time.Now()); bad != nil {
		return bad
	}
	return nil
}

// Source has certificates that are in no files. Its methods are called by event loops,
// and must not block.
type Source interface {
	// Certificates lists those that there are. Each has Leaf. They must not be changed.
	Certificates() []*tls.Certificate
	// ChallengeCertificate returns the answer to a TLS-ALPN-01 challenge (RFC 8737).
	// isChallenge is false for other hellos; without an answer c is nil.
	ChallengeCertificate(*tls.ClientHelloInfo) (c *tls.Certificate, isChallenge bool)
}

// Part says which file of a Spec is meant.
type Part uint8

const (
	Cert     Part = iota // Pair.Cert
	Key                  // Pair.Key
	ClientCA             // Spec.ClientCA
)

// FileError is what is wrong with a file of a Spec.
type FileError struct {
	Spec int // which of the Specs
	Pair int // which of its Pairs; 0 for ClientCA
	Part Part
	// Text says in which file and where, what is wrong, and what to do about it.
	Text string
	Err  error // the cause; may be nil
	// Untimely means that nothing is wrong but the time: the certificate has expired, or
	// is not valid yet.
	Untimely bool
}

func (e *FileError) Error() string { return e.Text }
func (e *FileError) Unwrap() error { return e.Err }

// at returns a FileError about a file. line is where, from 1; 0 means the whole file.
func at(part Part, file string, line int, format string, args ...any) *FileError {
	place := quote(file)
	if line > 0 {
		place += fmt.Sprintf(", line %d", line)
	}
	return &FileError{Part: part, Text: place + ": " + fmt.Sprintf(format, args...)}
}
