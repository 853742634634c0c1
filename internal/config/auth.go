package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/bearer"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Auth says who may come. With both JWT and Request, both must permit it.
type Auth struct {
	JWT     *JWT         `key:"jwt" want:"a mapping with jwks_url"`
	Request *AuthRequest `key:"request" want:"a mapping with url"`
	// None permits everyone on a route of a listener that has Auth.
	None bool `key:"none"`
}

// JWT says which tokens are accepted, and what is done with them. One of JWKSURL,
// JWKSFile, PublicKeyFile and SecretFile is set.
type JWT struct {
	JWKSURL string        `key:"jwks_url" as:"endpoint"`
	Refresh time.Duration `key:"refresh" range:"10s..24h"` // how often it is read
	CA      string        `key:"ca" as:"file"`             // verifies its certificate; "" is the system's

	JWKSFile      string `key:"jwks_file" as:"file"`
	PublicKeyFile string `key:"public_key_file" as:"file"` // PEM
	SecretFile    string `key:"secret_file" as:"file"`     // of an HMAC
	// KeyText is the content of the file, for a program that has it in memory: then the
	// path of the file, which must be absolute, is only its name. No file can set it.
	KeyText string

	Algorithms []string      `key:"algorithms" want:"a list of algorithms" item:"an algorithm such as RS256" some:"no algorithm is allowed"`
	Issuer     string        `key:"issuer" as:"text"`
	Audience   []string      `key:"audience" want:"a list of audiences" item:"an audience such as chat" some:"no audience is accepted"`
	Leeway     time.Duration `key:"leeway" range:"0|1ms..10m"`
	// RequiredClaims are names of claims and their values; "" is any value.
	RequiredClaims Headers `key:"required_claims" want:"a mapping from names of claims to values" item:"a value, or \"\" for any"`
	AllowNoExpiry  bool    `key:"allow_no_expiry"`

	Token           []bearer.Source `key:"token" item:"a source such as header:Authorization, without a space after the colon" some:"no source of the token"`
	ClaimsToHeaders Headers         `key:"claims_to_headers" want:"a mapping from names of headers to names of claims" item:"the name of a claim"`
	StripToken      bool            `key:"strip_token"`
	OnExpiry        string          `key:"on_expiry" words:"close keep"`
	SessionClaims   []string        `key:"session_claims" want:"a list of names of claims" item:"the name of a claim"`
}

// SetDefaults implements Defaulter.
func (j *JWT) SetDefaults() {
	j.Refresh, j.Leeway, j.OnExpiry = 15*time.Minute, 30*time.Second, "close"
	j.Token = []bearer.Source{bearer.Authorization}
}

// AuthRequest says how an HTTP endpoint is asked about a client.
type AuthRequest struct {
	URL         string   `key:"url" as:"endpoint"`
	CA          string   `key:"ca" as:"file"`                                                                                // verifies its certificate; "" is the system's
	Headers     []string `key:"headers" want:"a list of names of headers" item:"the name of a header such as Authorization"` // of the client, for the endpoint
	CopyHeaders []string `key:"copy_headers" want:"a list of names of headers" item:"the name of a header such as X-User"`   // of its answer, for the backend

	Timeout       time.Duration `key:"timeout" range:"1ms..1m"`
	Cache         time.Duration `key:"cache" range:"0|1ms..10m"` // of answers that permit; 0 is none
	MaxConcurrent int           `key:"max_concurrent" range:"1..100000"`
	OnError       string        `key:"on_error" words:"deny allow"`
}

// SetDefaults implements Defaulter.
func (r *AuthRequest) SetDefaults() {
	r.Headers = []string{"Authorization", "Cookie"}
	r.Timeout, r.MaxConcurrent, r.OnError = 2*time.Second, 1000, "deny"
}

// AuthOf returns who may come by a route on a listener, or nil for everyone.
func (c *Config) AuthOf(r *Route, l *Listener) *Auth {
	a := l.Auth
	if r.Auth != nil {
		a = r.Auth
	}
	if a == nil || a.JWT == nil && a.Request == nil {
		return nil
	}
	return a
}

// claimKeys warns of pools that choose by a claim of tokens that nobody verifies.
func (v *Validator) claimKeys(c *Config) {
	verified := func(a *Auth) bool { return a != nil && a.JWT != nil }
	byListener := slices.ContainsFunc(c.Listeners, func(l Listener) bool { return verified(l.Auth) })
	for i := range c.Pools {
		pool := &c.Pools[i]
		p := PoolPath(pool.Name)
		key, parts := p.Key("hash").Key("key"), pool.Hash.Key
		if pool.Affinity.Token != nil {
			key, parts = p.Key("affinity").Key("token").Key("from"), pool.Affinity.Token.From
		}
		if pool.Affinity.Learn != nil {
			key, parts = p.Key("affinity").Key("learn").Key("from"), pool.Affinity.Learn.From
		}
		if !slices.ContainsFunc(parts, requestkey.Part.IsClaim) {
			continue
		}
		has := len(c.Routes) == 0 && byListener || slices.ContainsFunc(c.Routes, func(r Route) bool {
			return r.leadsTo(pool.Name) && (verified(r.Auth) || r.Auth == nil && byListener)
		})
		if !has && v.OK(key) {
			v.Warn(key, "no request for this pool has a claim, since no route to it verifies tokens: add auth: {jwt: ...} to the route")
		}
	}
}

func (v *Validator) auth(p Path, a *Auth) {
	if a == nil || !v.OK(p) {
		return
	}
	some := a.JWT != nil || a.Request != nil
	switch none := p.Key("none"); {
	case a.None && some:
		v.Fail(none, "none is for everyone, and beside it is who may come: leave one of the two out")
	case !a.None && !some && v.OK(p.Key("jwt")) && v.OK(p.Key("request")):
		v.Fail(p, "auth says nothing: add jwt: or request:, or none: true if everyone may come")
	}
	if a.JWT != nil && v.OK(p.Key("jwt")) {
		v.jwt(p.Key("jwt"), a.JWT)
	}
	if a.Request != nil && v.OK(p.Key("request")) {
		v.authRequest(p.Key("request"), a.Request)
	}
}

// Algorithms of signatures (RFC 7518 section 3.1, RFC 8037), by public keys and by a
// secret. Those that are the default come first.
var (
	publicAlgorithms = []string{"RS256", "ES256", "EdDSA", "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512"}
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
)

func (v *Validator) jwt(p Path, j *JWT) {
	v.keySource(p, j)
	allowed, defaults := publicAlgorithms, publicAlgorithms[:3]
	if j.SecretFile != "" {
		allowed, defaults = secretAlgorithms, secretAlgorithms[:1]
	}
	if list := p.Key("algorithms"); len(j.Algorithms) == 0 && v.OK(list) {
		j.Algorithms = slices.Clone(defaults)
	}
	v.names(p.Key("algorithms"), "algorithm", j.Algorithms, func(s string) error {
		switch {
		case slices.Contains(allowed, s):
			return nil
		case slices.Contains(secretAlgorithms, s):
			return fmt.Errorf("the algorithm %s is for a secret that the issuer and the balancer share: give it by secret_file, or use RS256, ES256 or EdDSA", s)
		case slices.Contains(publicAlgorithms, s):
			return fmt.Errorf("the algorithm %s needs a public key, and secret_file has a secret: use HS256", s)
		case strings.EqualFold(s, "none"):
			return fmt.Errorf("the algorithm %s would accept tokens that anyone can make", hint.Quote(s))
		}
		return fmt.Errorf("unknown algorithm %s%s", hint.Quote(s), hint.DidYouMean(s, allowed))
	})
	v.names(p.Key("audience"), "audience", j.Audience, func(s string) error {
		if s == "" {
			return errors.New("the audience is empty, and no token could have it: write what the claim aud has, or leave it out to accept any")
		}
		return checkText(s)
	})
	if audience := p.Key("audience"); len(j.Audience) == 0 && v.OK(audience) && v.OK(p) {
		v.Warn(p, "every token of this issuer is accepted, also one for another service: add audience:")
	}
	v.pairs(p.Key("required_claims"), j.RequiredClaims, requestkey.CheckClaim, checkText)
	v.pairs(p.Key("claims_to_headers"), j.ClaimsToHeaders, checkOwnHeader, checkClaimName)
	token := p.Key("token")
	if len(j.Token) == 0 && !v.Given(token) {
		j.Token = []bearer.Source{bearer.Authorization}
	}
	v.distinct("source", token, len(j.Token), func(i int) string { return j.Token[i].String() })
	v.names(p.Key("session_claims"), "claim", j.SessionClaims, checkClaimName)
	if list := p.Key("session_claims"); len(j.SessionClaims) > maxSessionClaims && v.OK(list) {
		v.Fail(list, "more than %d claims: each session keeps them", maxSessionClaims)
	}
}

// maxSessionClaims bounds how many claims are shown with a session.
const maxSessionClaims = 8

// keySource checks that there is one source of keys.
func (v *Validator) keySource(p Path, j *JWT) {
	var given []Path
	for _, k := range []struct{ key, value string }{{"jwks_url", j.JWKSURL}, {"jwks_file", j.JWKSFile}, {"public_key_file", j.PublicKeyFile}, {"secret_file", j.SecretFile}} {
		key := p.Key(k.key)
		if !v.OK(key) {
			return
		}
		if k.value != "" {
			given = append(given, key)
		}
	}
	switch len(given) {
	case 0:
		v.Fail(p, "the keys for tokens are missing: write for example jwks_url: https://login.example.com/.well-known/jwks.json, or give jwks_file, public_key_file or secret_file")
	case 1:
	default:
		v.Fail(given[1], "the keys for tokens are given twice (first %s): leave one out", v.where(given[0]))
	}
	if j.JWKSURL == "" {
		for _, key := range []string{"refresh", "ca"} {
			if at := p.Key(key); v.Given(at) && v.OK(at) {
				v.Warn(at, "%s does nothing without jwks_url: leave it out", key)
			}
		}
	}
	v.plainEndpoint(p.Key("jwks_url"), j.JWKSURL, "anyone on the way can replace the keys, and then make tokens")
}

func (v *Validator) authRequest(p Path, r *AuthRequest) {
	var defaults AuthRequest
	defaults.SetDefaults()
	if r.MaxConcurrent == 0 && !v.Given(p.Key("max_concurrent")) { // of a program
		r.MaxConcurrent = defaults.MaxConcurrent
	}
	v.Require(p.Key("url"), r.URL != "", "the endpoint is missing: write for example url: http://127.0.0.1:9000/auth")
	v.headerNames(p.Key("headers"), r.Headers, checkHeaderName)
	v.headerNames(p.Key("copy_headers"), r.CopyHeaders, func(s string) error {
		if err := checkOwnHeader(s); err != nil {
			return fmt.Errorf("bad header %s: %w", hint.Quote(s), err)
		}
		return nil
	})
	v.plainEndpoint(p.Key("url"), r.URL, "anyone on the way can read what clients log in with, and let anyone in")
	if on := p.Key("on_error"); r.OnError == "allow" && v.OK(on) {
		v.Warn(on, "while the endpoint gives no answer, everyone is let in: write on_error: deny unless the backends check clients, too")
	}
}

// plainEndpoint warns of a URL that others can listen to.
func (v *Validator) plainEndpoint(p Path, s, danger string) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || !v.OK(p) {
		return
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsLoopback() || u.Hostname() == "localhost" {
		return
	}
	v.Warn(p, "the URL is without TLS, and not of this machine: %s; use https://", danger)
}

// withoutSecrets is a URL, which may be malformed, for messages: without what may be a
// password, before an @ or in the query.
func withoutSecrets(s string) string {
	s, _, query := strings.Cut(s, "?")
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		begin := 0
		if i := strings.Index(s[:at], "//"); i >= 0 {
			begin = i + 2
		}
		s = s[:begin] + "…" + s[at:]
	}
	if query {
		s += "?…"
	}
	return s
}

// headerNames checks a list of names of header fields, which must differ.
func (v *Validator) headerNames(p Path, list []string, check func(string) error) {
	v.each(p, list, check)
	if v.OK(p) {
		v.distinct("header", p, len(list), func(i int) string { return strings.ToLower(list[i]) })
	}
}

// names checks a list of names, which must differ; their case matters.
func (v *Validator) names(p Path, what string, list []string, check func(string) error) {
	v.each(p, list, check)
	if v.OK(p) {
		v.distinct(what, p, len(list), func(i int) string { return list[i] })
	}
}

// each checks the items of a list.
func (v *Validator) each(p Path, list []string, check func(string) error) {
	if !v.OK(p) {
		return
	}
	for i, s := range list {
		item := p.Index(i)
		if !v.OK(item) {
			continue
		}
		if err := check(s); err != nil {
			v.Fail(item, "%v", err)
		}
	}
}

// pairs checks a mapping.
func (v *Validator) pairs(p Path, list Headers, name, value func(string) error) {
	if !v.OK(p) {
		return
	}
	for i, pair := range list {
		if err := name(pair[0]); err != nil {
			v.Fail(p.Index(i), "bad name %s: %v", hint.Quote(pair[0]), err)
		}
		if at := p.Index(i).Key("value"); v.OK(at) {
			if err := value(pair[1]); err != nil {
				v.Fail(at, "%v", err)
			}
		}
	}
	v.distinct("name", p, len(list), func(i int) string { return strings.ToLower(list[i][0]) })
}

func checkClaimName(s string) error {
	if s == "" {
		return fmt.Errorf("the name of the claim is empty: write one, such as sub")
	}
	if err := requestkey.CheckClaim(s); err != nil {
		return fmt.Errorf("bad claim %s: %w", hint.Quote(s), err)
	}
	return nil
}

// checkOwnHeader checks the name of a header that says something about a client, and that
// clients can't send.
func checkOwnHeader(s string) error {
	if strings.EqualFold(s, "authorization") {
		return fmt.Errorf("this header field has another meaning already")
	}
	return clientcert.CheckName(s)
}

// checkEndpoint checks the URL of something that the balancer asks.
func checkEndpoint(s string) error {
	bad := func(why string) error { return fmt.Errorf("bad URL %s: %s", hint.Quote(withoutSecrets(s)), why) }
	u, err := url.Parse(s)
	switch {
	case len(s) > maxURL:
		return fmt.Errorf("the URL is longer than %d bytes", maxURL)
	case err != nil || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }):
		return bad("write a URL such as https://login.example.com/jwks.json")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("it begins with https:// or http://")
	case u.User != nil:
		return bad("it has a user or a password, which isn't sent: leave them out")
	case u.Hostname() == "" || u.Fragment != "":
		return bad("write a URL with a host, a path and perhaps a query, and nothing else")
	}
	if _, port, err := net.SplitHostPort(u.Host); err == nil && port == "" {
		return bad("the port after the colon is missing")
	}
	return nil
}
