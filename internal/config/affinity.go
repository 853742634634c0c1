package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Affinity says how a client comes back to its backend. At most one of Cookie
// and Token is set; without either, it doesn't.
type Affinity struct {
	Cookie *Cookie `key:"cookie" want:"a mapping with name and secret"`
	Token  *Token  `key:"token" want:"a mapping with from"`
	// Fallback is what happens if that backend is not available: "balance"
	// chooses another, "refuse" refuses the client.
	Fallback string `key:"fallback" words:"balance refuse"`
}

// Cookie is a cookie of the balancer's own that names the backend.
type Cookie struct {
	Name     string        `key:"name" as:"cookie name"`
	MaxAge   time.Duration `key:"max_age" as:"seconds"` // 0 is until the browser is closed
	SameSite string        `key:"same_site" words:"Lax Strict None"`
	Secure   string        `key:"secure" words:"auto always never"`
	Path     string        `key:"path" as:"cookie path"`     // begins with "/"
	Domain   string        `key:"domain" as:"cookie domain"` // "" leaves the attribute out
	// Secret is the key of the cookie's signature, with 16 characters or more.
	// Without one, the key is made of the pool's name.
	Secret string `key:"secret" as:"secret"`
}

// SetDefaults implements Defaulter.
func (c *Cookie) SetDefaults() {
	*c = Cookie{Name: "holdfast", Path: "/", SameSite: "Lax", Secure: "auto", MaxAge: time.Hour}
}

// Token is something of the client's own that stays the same.
type Token struct {
	// From has at least one, of requestkey.ParseToken. The first that is in a
	// request counts.
	From []requestkey.Part `key:"from" as:"token source" item:"a source such as query:session, without a space after the colon" some:"the token has no source"`
}

// sticky names what brings clients back to their backend; "" is nothing.
func (a Affinity) sticky() string {
	switch {
	case a.Cookie != nil:
		return "its cookie"
	case a.Token != nil:
		return "its token"
	}
	return ""
}

func (v *Validator) affinity(p Path, a *Affinity) {
	cookie, token, fallback := p.Key("cookie"), p.Key("token"), p.Key("fallback")
	switch {
	case a.Cookie != nil && a.Token != nil:
		v.Fail(token, "cookie and token cannot both choose the backend (cookie is %s): leave one out", v.where(cookie))
	case (a.Fallback == "refuse" || v.Given(fallback)) && a.sticky() == "" && v.OK(cookie) && v.OK(token):
		v.Fail(fallback, "fallback is for affinity by a cookie or a token: add cookie or token, or leave it out")
	}
	if a.Cookie != nil && v.OK(cookie) {
		v.cookie(cookie, a.Cookie)
	}
	if a.Token != nil {
		from := token.Key("from")
		v.Require(from, len(a.Token.From) > 0, "the source of the token is missing: write for example from: [query:session]")
		v.distinct("source", from, len(a.Token.From), func(i int) string { return a.Token.From[i].String() })
	}
}

func (v *Validator) cookie(p Path, c *Cookie) {
	secret := p.Key("secret")
	switch {
	case c.Secret == "" && !v.Given(secret):
		v.Warn(p, "anyone who knows the pool's name can make cookies that choose a backend: add secret: with at least 16 characters")
	case c.Secret != "" && v.OK(secret) && isPlaceholder(c.Secret):
		v.Warn(secret, "the secret looks like a placeholder: anyone who knows it can make cookies that choose a backend: make one with openssl rand -base64 24")
	}
	if c.SameSite == "None" && c.Secure == "never" {
		v.Fail(p.Key("same_site"), "browsers refuse a cookie with same_site: None that isn't secure: write secure: always")
	}
	// Browsers drop cookies with these prefixes that don't comply (RFC 6265bis
	// section 4.1.3).
	name := strings.ToLower(c.Name)
	isHost := strings.HasPrefix(name, "__host-")
	switch {
	case !isHost && !strings.HasPrefix(name, "__secure-") || !v.OK(p.Key("name")):
	case c.Secure == "never":
		v.Fail(p.Key("name"), "browsers refuse a cookie named %s that isn't secure: write secure: always", hint.Quote(c.Name))
	case isHost && (c.Path != "/" && v.OK(p.Key("path")) || c.Domain != "" && v.OK(p.Key("domain"))):
		v.Fail(p.Key("name"), "browsers refuse a cookie named %s with a path other than / or with a domain: leave these out", hint.Quote(c.Name))
	}
}

func checkCookieName(s string) error {
	if s == "" {
		return errors.New("the cookie's name is empty: write one, such as holdfast")
	}
	if err := requestkey.CheckToken(s); err != nil {
		return fmt.Errorf("bad cookie name %s: %w", hint.Quote(s), err)
	}
	return nil
}

// checkCookiePath checks a cookie's path: path-value of RFC 6265 section 4.1.1,
// as far as it can be the beginning of a URL's path.
func checkCookiePath(s string) error {
	if err := pattern.CheckAnyPath(s); err != nil {
		return fmt.Errorf("bad path %s: %w", hint.Quote(s), err)
	}
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(";?#", c) {
			return fmt.Errorf("bad path %s: %s is not allowed in a cookie's path", hint.Quote(s), hint.Quote(string(c)))
		}
	}
	return nil
}

// parseCookieDomain reads a cookie's domain and returns it in lower case,
// without a final dot.
func parseCookieDomain(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad domain %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "*.") {
		return bad("leave out what is before the name, hosts below it are always meant too")
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return bad("a cookie's domain cannot be an IP, leave it out")
	}
	if host, _, ok := strings.Cut(s, ":"); ok {
		return bad("write it without a port: %s", hint.Quote(host))
	}
	if err := hostport.CheckName(s); err != nil {
		return bad("%v", err)
	}
	domain := strings.ToLower(strings.TrimSuffix(s, "."))
	switch {
	case strings.Contains(domain, "_"):
		return bad("browsers know no domain with %q in it", "_")
	case !strings.Contains(domain, "."):
		return bad("browsers refuse a cookie for a whole top-level domain, leave it out to have it for one host")
	}
	return domain, nil
}

// Bounds of a secret, in characters.
const (
	minSecret = 16
	maxSecret = 1024
)

// checkSecret checks a secret. Its errors don't show it, since logs have them.
func checkSecret(s string) error {
	n := utf8.RuneCountInString(s)
	switch {
	case n < minSecret:
		return fmt.Errorf("the secret has %d characters and needs at least %d: make one with openssl rand -base64 24", n, minSecret)
	case n > maxSecret:
		return fmt.Errorf("the secret is longer than %d characters", maxSecret)
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("the secret has control characters in it")
	}
	return nil
}
