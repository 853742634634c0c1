package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
	"github.com/holdfast-ws/holdfast/internal/wire/bearer"
)

// JWTOptions say which tokens a route accepts, and what is done with them.
type JWTOptions struct {
	Keys       *jwtkeys.Source
	Algorithms []string        // of RFC 7518 section 3.1, at least one
	Sources    []bearer.Source // at least one
	Issuer     string          // "" accepts any
	Audience   []string        // one of them must be the token's; none accepts any
	Leeway     time.Duration   // for the clocks of issuers
	// Required are claims and the values that they must have; "" is any value.
	Required [][2]string
	// Headers are fields for the backend with values of claims.
	Headers []HeaderOf
	Strip   bool     // the token is removed from the request for the backend
	Session []string // claims that are shown with the session
	// CloseOnExpiry ends the session when the token expires.
	CloseOnExpiry bool
	// NoExpiry accepts tokens that never expire.
	NoExpiry bool
}

// HeaderOf is a header field with the value of a claim.
type HeaderOf struct{ Name, Claim string }

// JWT verifies tokens.
type JWT struct {
	o      JWTOptions
	parser *jwt.Parser
}

// NewJWT makes a JWT.
func NewJWT(o JWTOptions) *JWT {
	return &JWT{o, jwt.NewParser(jwt.WithValidMethods(o.Algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())}
}

// maxToken bounds a token, in bytes. Heads of requests may be larger.
const maxToken = 16 << 10

func (j *JWT) permit(r *Asked, wait Waiter, g *Grant) error {
	token, at, err := bearer.Find(j.o.Sources, r)
	switch {
	case err != nil:
		return refuse(failure.TokenInvalid, invalidRequest, "the request has more than one token", "in "+at.String())
	case token == "":
		return refuse(failure.TokenMissing, "", "a token is needed", "")
	case len(token) > maxToken:
		return refuse(failure.TokenInvalid, invalidToken, "the token is too long", "")
	case j.o.Keys.Keys() == nil:
		// At the start, the keys may be on their way.
		if err := j.refresh(wait); err != nil {
			return err
		}
		if j.o.Keys.Keys() == nil {
			return failure.New(failure.NoTokenKeys, "no keys for tokens were ever read")
		}
	}
	p, err := j.verify(token)
	if errors.Is(err, errUnknownKey) {
		if err := j.refresh(wait); err != nil {
			return err
		}
		p, err = j.verify(token)
	}
	if err != nil {
		return classify(err)
	}
	if err := j.check(p, time.Now()); err != nil {
		return err
	}
	j.fill(g, p, at)
	return nil
}

// refresh has the keys read again, and waits for that.
func (j *JWT) refresh(wait Waiter) error {
	refused := false
	err := wait(func(done func()) {
		if refused = !j.o.Keys.Refresh(done); refused {
			done()
		}
	})
	if refused {
		return nil
	}
	return waited(err)
}

var (
	errUnknownKey = errors.New("its key is not known")
	errCritical   = errors.New("it has critical extensions") // RFC 7515 section 4.1.11
	errKeyID      = errors.New("its kid is not a text")
)

// verify checks a token's form and its signature.
func (j *JWT) verify(token string) (*payload, error) {
	p := new(payload)
	_, err := j.parser.ParseWithClaims(token, p, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok {
			return nil, errCritical
		}
		kid := ""
		if id, ok := t.Header["kid"]; ok {
			if kid, ok = id.(string); !ok {
				return nil, errKeyID
			}
		}
		keys, known := j.o.Keys.Keys().Find(kid, t.Method.Alg())
		if !known {
			return nil, errUnknownKey
		}
		set := jwt.VerificationKeySet{Keys: make([]jwt.VerificationKey, len(keys))}
		for i := range keys {
			set.Keys[i] = keys[i].Public
		}
		if len(keys) == 0 {
			return nil, errWrongKey
		}
		return set, nil
	})
	if err == nil && !p.parsed { // it is the word null
		err = errPayload
	}
	return p, err
}

var errWrongKey = errors.New("its key is not for its algorithm")

// classify makes the answer to a token that isn't valid. What is said of it are texts of
// our own: a library's may quote the token.
func classify(err error) error {
	reason := ""
	switch {
	case errors.Is(err, errUnknownKey):
		reason = "the token is signed with an unknown key"
	case errors.Is(err, errWrongKey):
		reason = "the key of the token is not for its algorithm"
	case errors.Is(err, errCritical):
		reason = "the token has critical extensions, which are not understood"
	case errors.Is(err, errKeyID), errors.Is(err, errPayload), errors.Is(err, jwt.ErrTokenMalformed):
		reason = "the token is malformed"
		for _, known := range []error{errPayload, errDuplicate, errDeep, errDate} {
			if errors.Is(err, known) {
				reason += ": " + known.Error()
			}
		}
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		reason = "the token is signed with an unknown algorithm"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		reason = "the signature of the token is wrong, or its algorithm is not allowed"
	default:
		reason = "the token is not valid"
	}
	return refuse(failure.TokenInvalid, invalidToken, reason, "")
}

// check checks the claims of a token whose signature is right.
func (j *JWT) check(p *payload, now time.Time) error {
	bad := func(reason, more string) error { return refuse(failure.TokenInvalid, invalidToken, reason, more) }
	switch {
	case p.expires == nil && !j.o.NoExpiry:
		return bad("the token has no date of expiry", "")
	case p.expires != nil && !now.Before(date(*p.expires).Add(j.o.Leeway)):
		ago := now.Sub(date(*p.expires)).Round(time.Second)
		return refuse(failure.TokenExpired, invalidToken, "the token has expired", fmt.Sprintf("%v ago", ago))
	case p.begins != nil && now.Before(date(*p.begins).Add(-j.o.Leeway)):
		return bad("the token is not valid yet", "compare the clocks")
	}
	if j.o.Issuer != "" {
		if c := p.find("iss"); c == nil || c.list || c.value != j.o.Issuer {
			return bad("the token is of another issuer", "")
		}
	}
	if len(j.o.Audience) > 0 {
		c := p.find("aud")
		if c == nil || !slices.ContainsFunc(j.o.Audience, c.has) {
			return bad("the token is for another audience", "")
		}
	}
	for _, required := range j.o.Required {
		name, value := required[0], required[1]
		if c := p.find(name); c == nil || value != "" && !c.has(value) {
			return refuse(failure.ClaimsRefused, insufficientScope, "the token doesn't permit this", "its claim "+name+" is missing or different")
		}
	}
	return nil
}

func (j *JWT) fill(g *Grant, p *payload, at bearer.Source) {
	g.Claims = p.claims()
	g.Session = sessionClaims(g, j.o.Session)
	for _, h := range j.o.Headers {
		if value, ok := g.Claims.Get(h.Claim); ok {
			g.Fields = append(g.Fields, [2]string{h.Name, fieldValue(value)})
		}
	}
	if j.o.CloseOnExpiry && p.expires != nil {
		g.Expires = date(*p.expires).Add(j.o.Leeway)
	}
	g.sources, g.strip, g.word = j.o.Sources, j.o.Strip, at.Subprotocol()
}

// The error codes of RFC 6750 section 3.1.
const (
	invalidRequest    = "invalid_request"
	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
)

// refuse makes the error of a client that is not permitted. word is one of the codes
// above; "" for a client that has sent no token, which is told nothing more. more is for
// the log alone.
func refuse(code failure.Code, word, reason, more string) error {
	status, challenge := 401, `Bearer realm="holdfast"`
	switch word {
	case invalidRequest:
		status = 400
	case insufficientScope:
		status = 403
	}
	if word != "" {
		challenge += `, error="` + word + `", error_description="` + reason + `"`
	}
	r := &failure.Refusal{Status: status, Message: strings.ToUpper(reason[:1]) + reason[1:] + ".", Header: [][2]string{{"WWW-Authenticate", challenge}}}
	if more != "" {
		reason += ": " + more
	}
	return &failure.Error{Code: code, Refusal: r, Reason: reason}
}
