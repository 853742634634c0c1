package admin

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/ops/api"
)

// Tokens are the bearer tokens (RFC 6750) that requests may have. The nil Tokens admits
// every request.
type Tokens struct {
	// Hashes have the same length, so that a comparison tells nothing of a token's.
	hashes [][sha256.Size]byte
}

const (
	minToken  = 16  // characters
	maxToken  = 512 // characters
	maxTokens = 100
)

// ParseTokens reads the text of a file: a token on each line, of which several are for a
// time in which one replaces another. Empty lines and those that begin with # don't count.
// The error doesn't show any token.
func ParseTokens(text []byte) (*Tokens, error) {
	t := new(Tokens)
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		token := strings.TrimSpace(line)
		if token == "" || token[0] == '#' {
			continue
		}
		switch {
		case strings.Trim(token, tokenChars) != "":
			return nil, fmt.Errorf("line %d has a character that no token may have: letters, digits and -._~+/= are allowed", n)
		case len(token) < minToken:
			return nil, fmt.Errorf("the token on line %d has %d characters, fewer than %d: make one with openssl rand -base64 24", n, len(token), minToken)
		case len(token) > maxToken:
			return nil, fmt.Errorf("the token on line %d has %d characters, more than %d", n, len(token), maxToken)
		case len(t.hashes) == maxTokens:
			return nil, fmt.Errorf("there are more than %d tokens", maxTokens)
		}
		t.hashes = append(t.hashes, sha256.Sum256([]byte(token)))
	}
	if len(t.hashes) == 0 {
		return nil, errors.New("there is no token: make one with openssl rand -base64 24")
	}
	return t, nil
}

// tokenChars are those of a token (RFC 6750 section 2.1).
const tokenChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="

// admits reports whether a request has one of the tokens; why not, if it hasn't.
func (t *Tokens) admits(r *http.Request) (why string) {
	if t == nil {
		return ""
	}
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return "no token"
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "no bearer token"
	}
	hash := sha256.Sum256([]byte(strings.TrimLeft(token, " ")))
	found := 0
	for i := range t.hashes {
		found |= subtle.ConstantTimeCompare(hash[:], t.hashes[i][:])
	}
	if found == 0 {
		return "wrong token"
	}
	return ""
}

// authorized lets requests through that come by a unix socket, whose permissions say who
// may connect, or that have a token, if there are some.
func (s *Server) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		why := s.refused(r)
		if why == "" {
			next.ServeHTTP(w, r)
			return
		}
		if why == noCertificate {
			w.Header().Set("Connection", "close") // a new one has another handshake
		}
		s.o.Log.Warn(Refused, "why", why, "from", r.RemoteAddr)
		// The challenge doesn't say Basic: browsers would ask for a name and a password.
		challenge := `Bearer realm="holdfast"`
		if why == "wrong token" {
			challenge += `, error="invalid_token"` // RFC 6750 section 3.1
		}
		w.Header().Set("WWW-Authenticate", challenge)
		detail := why + ": send one of admin.token_file as Authorization: Bearer TOKEN"
		if why == noCertificate {
			detail = why + " of admin.tls.client_ca: connect again with one"
		}
		s.fail(w, &api.Problem{Type: "about:blank", Title: http.StatusText(http.StatusUnauthorized), Status: http.StatusUnauthorized, Detail: detail})
	})
}

// refused says why a request has no access by what is configured now; "" if it has.
func (s *Server) refused(r *http.Request) (why string) {
	if local, _ := r.Context().Value(localKey{}).(bool); local {
		return ""
	}
	return cmp.Or(s.certified(r), s.tokens.Load().admits(r))
}

const noCertificate = "no client certificate"

// certified reports why a request's connection has no right certificate, if it needs one.
// The handshake has seen to that, but by what was configured then.
func (s *Server) certified(r *http.Request) (why string) {
	if s.o.Clients == nil || r.TLS == nil {
		return ""
	}
	cas := s.o.Clients()
	if cas == nil {
		return ""
	}
	given := r.TLS.PeerCertificates
	if len(given) == 0 {
		return noCertificate
	}
	between := x509.NewCertPool()
	for _, c := range given[1:] {
		between.AddCert(c)
	}
	if _, err := given[0].Verify(x509.VerifyOptions{Roots: cas, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return noCertificate
	}
	return ""
}

// Refused is the message of the log for a request without the right token.
const Refused = "the admin interface refused a request"

// localKey is the key of a request's context whose value is true for unix sockets.
type localKey struct{}
