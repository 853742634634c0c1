package certs

import (
	"cmp"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Store chooses the certificates of one listener. Its methods may be called by event
// loops, and don't block.
type Store struct {
	spec     Spec
	source   Source // nil without
	pairs    []*pair
	self     *tls.Certificate // self-signed; nil without
	clientCA *clientCA        // nil without
	index    atomic.Pointer[index]
}

// index has the certificates of a Store by their names. It never changes.
type index struct {
	byName map[string][]*tls.Certificate // also "*.example.com"
	// first are those for clients that ask for no name of byName: the first one,
	// and others for the same name with another kind of key.
	first []*tls.Certificate
}

// rebuild makes the index of the certificates that there are now.
func (s *Store) rebuild() {
	ix := &index{byName: map[string][]*tls.Certificate{}}
	var all []*tls.Certificate
	for _, p := range s.pairs {
		all = append(all, p.current.Load())
	}
	if s.self != nil {
		all = append(all, s.self)
	}
	if s.source != nil && len(s.spec.Domains) > 0 {
		for _, c := range s.source.Certificates() {
			if slices.ContainsFunc(names(c.Leaf), func(n string) bool { return slices.Contains(s.spec.Domains, n) }) {
				all = append(all, c)
			}
		}
	}
	for _, c := range all {
		for _, name := range names(c.Leaf) {
			ix.byName[name] = append(ix.byName[name], c)
		}
	}
	if len(all) > 0 {
		ix.first = all[:1]
		for _, c := range ix.byName[names(all[0].Leaf)[0]] {
			if c != all[0] {
				ix.first = append(ix.first[:len(ix.first):len(ix.first)], c)
			}
		}
	}
	s.index.Store(ix)
}

var (
	errNoneYet     = errors.New("there is no certificate yet: the ACME authority has not issued one")
	errNoChallenge = errors.New("no ACME challenge is open for this name")
)

// GetCertificate is for tls.Config.GetCertificate: it chooses by the name that the
// client asks for (SNI). If several certificates have the name, it is the first whose
// kind of key the client supports, of those that are valid now. Without an error and without a certificate,
// crypto/tls sends the alert unrecognized_name.
func (s *Store) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.source != nil {
		if c, is := s.source.ChallengeCertificate(hello); is {
			if c == nil {
				return nil, errNoChallenge
			}
			return c, nil
		}
	}
	ix := s.index.Load()
	name := canonical(hello.ServerName)
	certs := ix.byName[name]
	if certs == nil {
		if _, parent, ok := strings.Cut(name, "."); ok {
			certs = ix.byName["*."+parent] // RFC 9525 §6.3: for one label
		}
	}
	switch {
	case certs != nil:
		return supporting(certs, hello), nil
	case s.spec.Strict:
		return nil, nil
	case ix.first == nil:
		return nil, errNoneYet
	}
	return supporting(ix.first, hello), nil
}

// supporting returns the first of certs that the client supports, of those that are valid
// now if there are any, or else the first.
func supporting(certs []*tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	if len(certs) == 1 {
		return certs[0]
	}
	kind := *hello
	kind.ServerName = "" // the name has been compared
	var untimely *tls.Certificate
	for now, rest := time.Now(), certs; len(rest) > 0; rest = rest[1:] {
		switch c := rest[0]; {
		case kind.SupportsCertificate(c) != nil:
		case !now.Before(c.Leaf.NotBefore) && !now.After(c.Leaf.NotAfter):
			return c
		case untimely == nil:
			untimely = c
		}
	}
	return cmp.Or(untimely, certs[0])
}

// ClientCAs are the certificates that clients are verified by, nil if the Spec has
// none. They may be others at each call.
func (s *Store) ClientCAs() *ClientCAs {
	if s.clientCA == nil {
		return nil
	}
	return s.clientCA.current.Load()
}
