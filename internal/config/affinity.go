package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Affinity says how a client comes back to its backend. At most one of Cookie, Token
// and Learn is set; without any, it doesn't.
type Affinity struct {
	Cookie *Cookie `key:"cookie" want:"a mapping with name and secret"`
	Token  *Token  `key:"token" want:"a mapping with from"`
	Learn  *Learn  `key:"learn" want:"a mapping with from"`
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
	// Value is "name" if the value is the backend's name, which isn't signed.
	Value string `key:"value" words:"signed name"`
	// Secret is the key of the cookie's signature, with 16 characters or more.
	// Without one, the key is made of the pool's name. With Value "name" there is none.
	Secret string `key:"secret" as:"secret"`
}

// SetDefaults implements Defaulter.
func (c *Cookie) SetDefaults() {
	*c = Cookie{Name: "holdfast", Path: "/", SameSite: "Lax", Secure: "auto", Value: "signed", MaxAge: time.Hour}
}

// Token is something of the client's own that stays the same.
type Token struct {
	// From has at least one, of requestkey.ParseToken. The first that is in a
	// request counts.
	From []requestkey.Part `key:"from" as:"token source" item:"a source such as query:session, without a space after the colon" some:"the token has no source"`
}

// Learn is a table in memory, of keys and the backends that they belong to.
type Learn struct {
	// From has at least one, of requestkey.ParseToken. The first that is in a request and
	// in the table counts.
	From []requestkey.Part `key:"from" as:"token source" item:"a source such as cookie:JSESSIONID, without a space after the colon" some:"the key has no source"`
	// Answer has what a backend's answer is searched for, of requestkey.ParseAnswer.
	// Without any, a key belongs to the backend that it got first.
	Answer []requestkey.Part `key:"answer" as:"answer source" item:"a source such as cookie:JSESSIONID, without a space after the colon" some:"the answer has no source"`
	// Expire is how long a key is kept that isn't used.
	Expire time.Duration `key:"expire" range:"1s..8760h"`
	// Max bounds the table. What wasn't used for the longest time makes room.
	Max int `key:"max" range:"1..10000000"`
}

// SetDefaults implements Defaulter.
func (l *Learn) SetDefaults() { l.Expire, l.Max = 30*time.Minute, 100_000 }

// sticky names what brings clients back to their backend; "" is nothing.
func (a Affinity) sticky() string {
	switch {
	case a.Cookie != nil:
		return "its cookie"
	case a.Token != nil:
		return "its token"
	case a.Learn != nil:
		return "what is learned"
	}
	return ""
}

func (v *Validator) affinity(p Path, a *Affinity) {
	cookie, token, learn, fallback := p.Key("cookie"), p.Key("token"), p.Key("learn"), p.Key("fallback")
	switch {
	case a.Cookie != nil && a.Token != nil:
		v.Fail(token, "cookie and token cannot both choose the backend (cookie is %s): leave one out", v.where(cookie))
	case a.Cookie != nil && a.Learn != nil:
		v.Fail(learn, "cookie and learn cannot both choose the backend (cookie is %s): leave one out", v.where(cookie))
	case a.Token != nil && a.Learn != nil:
		v.Fail(learn, "token and learn cannot both choose the backend (token is %s): leave one out", v.where(token))
	case (a.Fallback == "refuse" || v.Given(fallback)) && a.sticky() == "" && v.OK(cookie) && v.OK(token) && v.OK(learn):
		v.Fail(fallback, "fallback is for affinity by a cookie, a token or what is learned: add cookie, token or learn, or leave it out")
	}
	if a.Cookie != nil && v.OK(cookie) {
		v.cookie(cookie, a.Cookie)
	}
	if a.Token != nil {
		from := token.Key("from")
		v.Require(from, len(a.Token.From) > 0, "the source of the token is missing: write for example from: [query:session]")
		v.distinct("source", from, len(a.Token.From), func(i int) string { return a.Token.From[i].String() })
	}
	if a.Learn != nil && v.OK(learn) {
		v.learned(learn, a.Learn)
	}
}

// learned checks a table of learned keys.
func (v *Validator) learned(p Path, l *Learn) {
	from, answer := p.Key("from"), p.Key("answer")
	v.Require(from, len(l.From) > 0, "the source of the key is missing: write for example from: [cookie:JSESSIONID]")
	v.distinct("source", from, len(l.From), func(i int) string { return l.From[i].String() })
	v.distinct("source", answer, len(l.Answer), func(i int) string { return l.Answer[i].String() })
	if len(l.Answer) > 0 && slices.Contains(l.From, requestkey.ClientIP) && v.OK(from) && v.OK(answer) {
		v.Fail(from, "no answer has client_ip in it, which would never be learned: leave it out, or leave answer out to keep the first backend of an address")
	}
}

func (v *Validator) cookie(p Path, c *Cookie) {
	secret := p.Key("secret")
	switch {
	case c.Value == "name" && (c.Secret != "" || v.Given(secret)) && v.OK(secret):
		v.Fail(secret, "a cookie with value: name isn't signed, so that secret does nothing: leave one of the two out")
	case c.Value == "name" || !v.OK(p.Key("value")):
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
