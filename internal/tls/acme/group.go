package acme

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Use is a wish for certificates: one for each of the domains.
type Use struct {
	Account
	Domains []string // names without wildcards; those that occur twice count once
}

// Group has the certificates of a configuration, and keeps them up to date. It
// survives reloads. Without a Use it costs nothing: no goroutine, no file is touched.
//
// Certificates, ChallengeCertificate and Answer don't block, and may be called by event
// loops.
type Group struct {
	log     *slog.Logger
	changed func()

	managers atomic.Pointer[[]*manager]

	mu        sync.Mutex // held while managers changes; guards the following
	byAccount map[Account]*manager
}

// NewGroup returns a Group without certificates. changed is called by goroutines of the
// Group after Certificates has changed. The caller calls Close at the end.
func NewGroup(log *slog.Logger, changed func()) *Group {
	g := &Group{log: log, changed: changed, byAccount: map[Account]*manager{}}
	g.managers.Store(new([]*manager))
	return g
}

// Plan is what Apply needs; made before, since it may fail.
type Plan struct {
	http01 bool
	wants  map[Account]*want
}

type want struct {
	roots   *x509.CertPool
	domains []string
}

// FileError is what is wrong with the file that a Use names as CA.
type FileError struct {
	Use int // its index
	Err error
}

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// NewPlan reads the files that the accounts name. http01 means that there is a listener
// for plain HTTP. The error is a FileError where a file is wrong.
func NewPlan(uses []Use, http01 bool) (*Plan, error) {
	p := &Plan{http01: http01, wants: map[Account]*want{}}
	for i, u := range uses {
		if u.Storage == "" {
			return nil, errors.New("acme.storage must be a folder: certificates have to outlive a restart")
		}
		w := p.wants[u.Account]
		if w == nil {
			w = &want{}
			p.wants[u.Account] = w
			var err error
			if w.roots, err = readRoots(u.CA); err != nil {
				return nil, &FileError{i, err}
			}
		}
		for _, d := range u.Domains {
			if d = strings.ToLower(d); !slices.Contains(w.domains, d) {
				w.domains = append(w.domains, d)
			}
		}
	}
	return p, nil
}

// Apply makes the Group have the certificates of p. It doesn't wait for them. A manager
// whose account stays keeps what it has, and tries again at once to get what it lacks.
func (g *Group) Apply(p *Plan) {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := map[Account]*manager{}
	for account, w := range p.wants {
		m := g.byAccount[account]
		if m == nil || !m.roots.Equal(w.roots) {
			m = newManager(options{account: account, roots: w.roots, log: g.log, changed: g.changed})
		}
		kept[account] = m
		m.http01.Store(p.http01)
		m.setDomains(w.domains)
	}
	old := g.byAccount
	g.byAccount = kept
	list := slices.SortedFunc(maps.Values(kept), func(a, b *manager) int {
		return cmp.Or(strings.Compare(a.account.Directory, b.account.Directory), strings.Compare(a.account.Storage, b.account.Storage),
			strings.Compare(a.account.Email, b.account.Email))
	})
	g.managers.Store(&list)
	for account, m := range old {
		if kept[account] != m {
			m.close()
		}
	}
}

// Close ends all goroutines. After it, nothing must be called.
func (g *Group) Close() { g.Apply(&Plan{}) }

// Certificates lists those that there are, by name. They must not be changed.
func (g *Group) Certificates() (all []*tls.Certificate) {
	for _, m := range *g.managers.Load() {
		all = append(all, *m.certificates.Load()...)
	}
	return all
}

// Lacking lists the domains that have no certificate yet. It may block for a moment.
func (g *Group) Lacking() (domains []string) {
	for _, m := range *g.managers.Load() {
		domains = append(domains, m.lacking()...)
	}
	return domains
}

// ChallengeCertificate returns the certificate that answers a TLS-ALPN-01 challenge:
// hello offers only "acme-tls/1" (RFC 8737 §3). Its isChallenge is false for other
// hellos, and the certificate nil if no challenge is open for the name, so that the
// handshake must fail.
func (g *Group) ChallengeCertificate(hello *tls.ClientHelloInfo) (c *tls.Certificate, isChallenge bool) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != TLSALPNProtocol {
		return nil, false
	}
	for _, m := range *g.managers.Load() {
		if c := m.challenges.serve(hello.ServerName); c != nil {
			return c, true
		}
	}
	return nil, true
}

// Answer returns the answer to a request with that host, without a port, and path, if
// it is an HTTP-01 challenge.
func (g *Group) Answer(host, path string) (answer string, ok bool) {
	for _, m := range *g.managers.Load() {
		if answer, ok := m.challenges.answer(host, path); ok {
			return answer, true
		}
	}
	return "", false
}
