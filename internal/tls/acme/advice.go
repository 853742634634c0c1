package acme

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"strings"

	"github.com/mholt/acmez/v3/acme"
)

const problemRateLimited = acme.ProblemTypeRateLimited

// problem returns what the authority has answered, if it was reached.
func problem(err error) (p acme.Problem, ok bool) {
	ok = errors.As(err, &p)
	return p, ok
}

// reason is the text of err for the log, without what the libraries have put around
// the answer of an authority.
func reason(err error) string {
	if p, ok := problem(err); ok {
		text := strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace) + ": " + p.Detail
		for _, s := range p.Subproblems {
			text += "; " + s.Identifier.Value + ": " + s.Detail
		}
		return text
	}
	return err.Error()
}

// advice says what to do about err.
func (m *manager) advice(err error) string {
	if p, ok := problem(err); ok {
		_, isChallenge := p.Resource.(acme.Authorization)
		return adviceFor(strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace), isChallenge, m.http01.Load())
	}
	var unknown x509.UnknownAuthorityError
	var resolve *net.DNSError
	var file *fs.PathError
	var request *url.Error
	switch {
	case strings.Contains(err.Error(), "support for profiles"), strings.Contains(err.Error(), "unknown profile name"):
		return "the authority does not offer what acme.profile names: correct it or leave it out"
	case errors.As(err, &unknown):
		return "the directory's own certificate is not trusted: let acme.ca name the file with its root"
	case errors.As(err, &resolve):
		return "the host of acme.directory is not found in DNS: check the URL and this machine's DNS"
	case errors.As(err, &request):
		return "the directory was not reached: check acme.directory, and that this machine may connect to it (HTTPS_PROXY is obeyed)"
	case errors.As(err, &file), strings.Contains(err.Error(), "failed storage check"), strings.Contains(err.Error(), "lock file"):
		return "acme.storage must be a folder that the balancer may write to: check its owner and the space that is left"
	}
	return "see the log at the level debug for what was tried"
}

// adviceFor says what to do about a type of problem (RFC 8555 §6.7). isChallenge means
// that a challenge failed, whatever the type.
func adviceFor(kind string, isChallenge, http01 bool) string {
	switch kind {
	case "dns":
		return "the authority does not find the domain in DNS: let its records A and AAAA lead to this balancer"
	case "caa":
		return "a CAA record of the domain forbids this authority: change the record or acme.directory"
	case "rateLimited":
		return "the authority wants fewer orders: wait; share acme.storage between balancers, and keep it over restarts"
	case "rejectedIdentifier", "unsupportedIdentifier":
		return "the authority issues no certificates for this name: remove it from acme.domains or use another acme.directory"
	case "externalAccountRequired":
		return "the authority wants an account that was made with it before, which is not supported: use another acme.directory"
	case "invalidContact", "unsupportedContact":
		return "the authority does not accept acme.email: correct it or leave it out"
	case "userActionRequired":
		return "the authority wants a person to act, see the error"
	case "connection", "unauthorized", "incorrectResponse", "tls":
		isChallenge = true
	}
	if !isChallenge {
		return "see the authority's documentation for this error"
	}
	how := "port 443 of the domain must lead to a listener of this balancer with tls"
	if http01 {
		how = "port 80 of the domain must lead to a listener of this balancer without tls, or port 443 to one with tls"
	}
	return "the authority has not found this balancer at the domain: " + how + "; check the domain's DNS records (A and AAAA) and firewalls; a proxy in between must pass on /.well-known/acme-challenge/, or TLS without opening it"
}
