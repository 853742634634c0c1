package acme

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"runtime/debug"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// issuer orders certificates for certmagic.
type issuer struct {
	m       *manager
	key     string // the folder in the storage
	storage certmagic.Storage
	http    *http.Client
	client  *acme.Client
}

var (
	_ certmagic.Issuer            = (*issuer)(nil)
	_ certmagic.RenewalInfoGetter = (*issuer)(nil)
)

func newIssuer(m *manager, key string, storage certmagic.Storage) *issuer {
	i := &issuer{m: m, key: key, storage: storage, http: newHTTPClient(m.roots)}
	i.client = &acme.Client{
		Directory: m.account.Directory, HTTPClient: i.http, UserAgent: "holdfast/" + version(),
		Logger: quiet(m.log),
	}
	return i
}

// orderer returns a client that answers the challenges which make sense now.
func (i *issuer) orderer() *acmez.Client {
	solvers := map[string]acmez.Solver{acme.ChallengeTypeTLSALPN01: i.m.challenges}
	if i.m.http01.Load() {
		solvers[acme.ChallengeTypeHTTP01] = i.m.challenges
	}
	return &acmez.Client{Client: i.client, ChallengeSolvers: solvers}
}

// version is that of the binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// IssuerKey implements certmagic.Issuer.
func (i *issuer) IssuerKey() string { return i.key }

// errClosed is what orders get that come while the manager ends.
var errClosed = errors.New("ACME has ended")

// enter counts a call that certmagic makes on a goroutine of its own, and ends it with
// the manager.
func (i *issuer) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	if !i.m.enter() {
		return nil, nil, errClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(i.m.ctx, cancel)
	return ctx, func() { stop(); cancel(); i.m.work.Done() }, nil
}

// Issue implements certmagic.Issuer.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	ctx, leave, err := i.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	account, err := i.loadAccount(ctx)
	if err != nil {
		return nil, err
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, err
	}
	order.Profile = i.m.account.Profile
	order.Replaces = i.replaced(ctx, csr.DNSNames, account)
	chains, err := i.orderer().ObtainCertificate(ctx, order)
	switch p, ok := problem(err); {
	case !ok:
	case p.Type == acme.ProblemTypeAccountDoesNotExist:
		// The authority has lost it, as one for tests does at each start.
		if err := i.forgetAccount(ctx); err != nil {
			return nil, err
		}
		if order.Account, err = i.loadAccount(ctx); err != nil {
			return nil, err
		}
		order.Replaces = nil
		chains, err = i.orderer().ObtainCertificate(ctx, order)
	case order.Replaces != nil && p.Resource == nil && p.Type != problemRateLimited:
		// Not a challenge: the authority may not like what the order replaces.
		order.Replaces = nil
		chains, err = i.orderer().ObtainCertificate(ctx, order)
	}
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, errors.New("the directory has sent no certificate")
	}
	// The others are alternatives for old clients.
	return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
}

// GetRenewalInfo implements certmagic.RenewalInfoGetter.
func (i *issuer) GetRenewalInfo(ctx context.Context, c certmagic.Certificate) (acme.RenewalInfo, error) {
	ctx, leave, err := i.enter(ctx)
	if err != nil {
		return acme.RenewalInfo{}, err
	}
	defer leave()
	return i.client.GetRenewalInfo(ctx, c.Leaf)
}

// replaced returns the certificate that an order replaces, which exempts it from rate
// limits (RFC 9773 §5). Only the account that has ordered it may say so. It is nil if
// there is none, or if the directory doesn't speak ARI.
func (i *issuer) replaced(ctx context.Context, names []string, account acme.Account) *x509.Certificate {
	if len(names) == 0 {
		return nil
	}
	if d, err := i.client.GetDirectory(ctx); err != nil || d.RenewalInfo == "" {
		return nil
	}
	text, err := i.storage.Load(ctx, certmagic.StorageKeys.SiteMeta(i.key, names[0]))
	if err != nil {
		return nil
	}
	var resource certmagic.CertificateResource
	var issued acme.Certificate
	if json.Unmarshal(text, &resource) != nil || json.Unmarshal(resource.IssuerData, &issued) != nil || issued.Account != account.Location {
		return nil
	}
	chain, err := i.storage.Load(ctx, certmagic.StorageKeys.SiteCert(i.key, names[0]))
	if err != nil {
		return nil
	}
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return leaf
}
