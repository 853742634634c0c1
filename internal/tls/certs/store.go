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
	byName map[string][]*tls.Certificate // also "*.example.com", which is for one label
	// given has those with Spec.Names of the form "*.example.com", by the name behind
	// the wildcard, and those of "*" by "".
	given map[string][]*tls.Certificate
	// first are those for clients that ask for no name of the others: the first one,
	// and others for the same name with another kind of key.
	first []*tls.Certificate
}

// rebuild makes the index of the certificates that there are now.
func (s *Store) rebuild() {
	ix := &index{byName: map[string][]*tls.Certificate{}, given: map[string][]*tls.Certificate{}}
	var first *tls.Certificate
	var with func() []*tls.Certificate // those for the first name of first
	add := func(c *tls.Certificate, given []string) {
		own := given
		if given == nil {
			own = names(c.Leaf)
		}
		for i, name := range own {
			list, key := ix.byName, name
			if rest, ok := strings.CutPrefix(name, "*"); ok && given != nil {
				list, key = ix.given, strings.TrimPrefix(rest, ".")
			}
			list[key] = append(list[key], c)
			if i == 0 && first == nil {
				first, with = c, func() []*tls.Certificate { return list[key] }
			}
		}
	}
	for i, p := range s.pairs {
		var given []string
		if i < len(s.spec.Names) {
			given = s.spec.Names[i]
		}
		add(p.current.Load(), given)
	}
	if s.self != nil {
		add(s.self, nil)
	}
	if s.source != nil && len(s.spec.Domains) > 0 {
		for _, c := range s.source.Certificates() {
			if slices.ContainsFunc(names(c.Leaf), func(n string) bool { return slices.Contains(s.spec.Domains, n) }) {
				add(c, nil)
			}
		}
	}
	if first != nil {
		ix.first = []*tls.Certificate{first}
		for _, c := range with() {
			if c != first {
				ix.first = append(ix.first, c)
			}
		}
	}
	s.index.Store(ix)
}

// find returns the certificates for a name, nil if there are none.
func (ix *index) find(name string) []*tls.Certificate {
	if certs := ix.byName[name]; certs != nil {
		return fitting(certs, name)
	}
	for rest, one := name, true; ; one = false {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		rest = parent
		if certs := ix.byName["*."+parent]; certs != nil && one { // RFC 9525 §6.3: for one label
			return certs
		}
		if certs := ix.given[parent]; certs != nil {
			return fitting(certs, name)
		}
	}
	return fitting(ix.given[""], name)
}

// fitting returns those of certs that have the name, or all if none has it.
func fitting(certs []*tls.Certificate, name string) []*tls.Certificate {
	if len(certs) < 2 || name == "" {
		return certs
	}
	var fit []*tls.Certificate
	for _, c := range certs {
		if c.Leaf.VerifyHostname(name) == nil {
			fit = append(fit, c)
		}
	}
	if fit == nil {
		return certs
	}
	return fit
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
	certs := ix.find(name)
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
