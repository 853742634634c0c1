// Package acme gets certificates from a certificate authority that speaks ACME (RFC
// 8555), such as Let's Encrypt, and renews them when the authority suggests it (ARI,
// RFC 9773) or a third of their time is left. Several balancers may share a storage
// folder: then one of them gets a certificate and all use it.
//
// Challenges are answered from memory, so that an event loop may ask: HTTP-01 (RFC 8555
// §8.3) by Answer, TLS-ALPN-01 (RFC 8737) by ChallengeCertificate.
//
// certmagic has the storage with its locks, and decides what must be renewed. Our own
// are the issuer, because certmagic's opens listeners, and what must end when a
// configuration changes: the goroutines, and the connections to the directory.
//
//	acme.go       a Manager: what it has
//	manage.go     obtaining and renewing
//	issuer.go     an order, from the account to the certificate
//	account.go    the account with the authority
//	challenge.go  challenges, also those of balancers that share the folder
//	advice.go     what to do about a failure, and when to try again
//	zaplog.go     certmagic's log
//	group.go      the managers of a configuration
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// LetsEncrypt is the directory that is used where none is given.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// TLSALPNProtocol is what a TLS server must offer by ALPN for TLS-ALPN-01. A
// connection that has agreed on it has no other purpose, and is closed.
const TLSALPNProtocol = "acme-tls/1"

// Account is with whom, and as whom, certificates are ordered. Accounts that are equal
// are the same.
type Account struct {
	Directory string // the URL; "" is LetsEncrypt
	Email     string // optional
	// Profile is the kind of certificate, of those that the directory offers (such as
	// Let's Encrypt's "shortlived"); "" leaves it to the authority.
	Profile string
	// CA is a file of certificates, in PEM, that the directory's own certificate is
	// verified by. "" is the system's.
	CA string
	// Storage is a folder for keys and certificates, which is made if it isn't there.
	// Balancers that share it share what is in it.
	Storage string
}

// options are those of a Manager.
type options struct {
	account Account
	roots   *x509.CertPool // of account.CA; nil is the system's
	log     *slog.Logger
	// changed is called after the certificates have changed, by goroutines of the
	// Manager. It must not call the Manager's close.
	changed func()
}

// manager has the certificates of one Account. Its methods may be called from any
// goroutine.
type manager struct {
	options
	config     *certmagic.Config
	cache      *certmagic.Cache
	issuer     *issuer
	challenges *challenges

	ctx  context.Context // ended by close
	end  context.CancelFunc
	work sync.WaitGroup // the goroutines, and orders
	wake chan struct{}  // has room for one; see maintain

	certificates atomic.Pointer[[]*tls.Certificate]
	// http01 means that there is a listener for plain HTTP, so that the challenge
	// HTTP-01 makes sense.
	http01 atomic.Bool

	mu      sync.Mutex                    // guards the following
	domains map[string]context.CancelFunc // ends the goroutine that gets the first certificate
	missing map[string]bool               // those without a certificate
	again   chan struct{}                 // closed when those are to be tried at once
	closed  bool
}

// newManager starts a manager without domains. It doesn't touch the storage before it
// has some. The caller ends it with close.
func newManager(o options) *manager {
	if o.account.Directory == "" {
		o.account.Directory = LetsEncrypt
	}
	m := &manager{options: o, wake: make(chan struct{}, 1), domains: map[string]context.CancelFunc{}, missing: map[string]bool{}, again: make(chan struct{})}
	m.ctx, m.end = context.WithCancel(context.Background())
	m.certificates.Store(new([]*tls.Certificate))
	log := newZap(o.log, m.ctx)
	storage := &certmagic.FileStorage{Path: o.account.Storage}
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.config, nil },
		RenewCheckInterval: longestInterval,
		Logger:             log,
	})
	// The authorities that matter have no OCSP any more, and stapling would make
	// loading a certificate wait for the network.
	m.config = certmagic.New(m.cache, certmagic.Config{
		Storage: storage, Logger: log, OnEvent: m.event,
		OCSP: certmagic.OCSPConfig{DisableStapling: true},
	})
	// certmagic's issuer only says which folder of the storage is whose.
	key := certmagic.NewACMEIssuer(m.config, certmagic.ACMEIssuer{CA: o.account.Directory, Logger: log}).IssuerKey()
	m.challenges = newChallenges(storage, "acme/"+certmagic.StorageKeys.Safe(key)+"/challenges", o.log)
	m.issuer = newIssuer(m, key, storage)
	m.config.Issuers = []certmagic.Issuer{m.issuer}
	m.work.Go(m.maintain)
	m.work.Go(func() { m.challenges.watch(m.ctx) })
	return m
}

// close ends all work and waits for it. A certificate that is just being ordered is
// ordered again by the next start, or by another balancer.
func (m *manager) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.end()
	m.work.Wait()
	m.cache.Stop()
	m.issuer.http.CloseIdleConnections()
}

// enter counts work that certmagic does on goroutines of its own. It reports whether
// the manager is still open; then the caller calls m.work.Done.
func (m *manager) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.work.Add(1)
	}
	return !m.closed
}

// setDomains sets the names to have certificates for. Names that stay keep what they
// have; those without a certificate are tried again at once.
func (m *manager) setDomains(names []string) {
	m.mu.Lock()
	var left []certmagic.SubjectIssuer
	for name, stop := range m.domains {
		if !slices.Contains(names, name) {
			stop()
			left = append(left, certmagic.SubjectIssuer{Subject: name})
			delete(m.domains, name)
			delete(m.missing, name)
		}
	}
	for _, name := range names {
		if m.domains[name] == nil {
			ctx, stop := context.WithCancel(m.ctx)
			m.domains[name], m.missing[name] = stop, true
			m.work.Go(func() { m.obtain(ctx, name) })
		}
	}
	close(m.again)
	m.again = make(chan struct{})
	m.mu.Unlock()
	m.cache.RemoveManaged(left)
	m.refresh()
}

// refresh publishes the certificates that there are.
func (m *manager) refresh() {
	m.mu.Lock()
	var all []*tls.Certificate
	for name := range m.domains {
		if c := m.newest(name); c != nil {
			all = append(all, c)
			delete(m.missing, name)
		}
	}
	slices.SortFunc(all, func(a, b *tls.Certificate) int { return strings.Compare(a.Leaf.DNSNames[0], b.Leaf.DNSNames[0]) })
	changed := !slices.EqualFunc(*m.certificates.Load(), all, func(a, b *tls.Certificate) bool { return a.Leaf.Equal(b.Leaf) })
	if changed {
		m.certificates.Store(&all)
	}
	m.mu.Unlock()
	if changed {
		m.changed()
	}
}

// newest returns the certificate of a name, nil if there is none.
func (m *manager) newest(name string) *tls.Certificate {
	var best *tls.Certificate
	for _, c := range m.cache.AllMatchingCertificates(name) {
		if len(c.Leaf.DNSNames) > 0 && (best == nil || c.Leaf.NotBefore.After(best.Leaf.NotBefore)) {
			best = &c.Certificate
		}
	}
	return best
}

// lacking lists the names that have no certificate yet.
func (m *manager) lacking() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.missing))
}

// readRoots reads a file of certificates.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the CA of the ACME directory: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("the CA of the ACME directory: " + file + " has no certificate in PEM")
	}
	return pool, nil
}

// newHTTPClient returns the client for a directory.
func newHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     30 * time.Second,
		MaxIdleConns:        4,
		ForceAttemptHTTP2:   true,
	}}
}
