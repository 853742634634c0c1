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

	"go.yaml.in/yaml/v4"
)

// Affinity says how a client comes back to its backend. At most one of Cookie
// and Token is set; without either, it doesn't.
type Affinity struct {
	Cookie *Cookie
	Token  *Token
	// Fallback is what to do when that backend cannot be had: "balance"
	// chooses another, "refuse" refuses the client.
	Fallback string
}

// Cookie is a cookie of the balancer's own that names the backend.
type Cookie struct {
	Name     string        // a token
	Path     string        // begins with "/"
	Domain   string        // "" leaves the attribute out
	SameSite string        // "Lax", "Strict" or "None"
	Secure   string        // "auto", "always" or "never"
	MaxAge   time.Duration // whole seconds; 0 is until the browser is closed
	// Secret keys the cookie's signature, with 16 characters or more. Empty
	// means that it is signed with what anyone may know.
	Secret string
}

// Token is something of the client's own that stays the same.
type Token struct {
	// From has at least one of "query:NAME", "header:NAME", "cookie:NAME",
	// "subprotocol" and "subprotocol:PREFIX". The first that is there counts.
	From []string
}

// noSecret is a warning: without a secret, the key is made of the pool's name.
const noSecret = "who knows the pool's name can make cookies that choose a backend: add secret: with at least 16 characters"

func readAffinity(d *decoder, n *yaml.Node, p *poolDraft) {
	a := affinityDraft{Affinity: p.affinity}
	misspelt, ok := readMapping(d, n, "a mapping with cookie or token", d.at(n), affinityKeys, &a)
	switch {
	case a.Cookie != nil && a.Token != nil:
		d.fail(a.token, "cookie and token cannot both choose the backend (cookie is %s): leave one out", a.cookie.earlier())
	case ok && a.fallback != place{} && a.Cookie == nil && a.Token == nil &&
		!slices.Contains(misspelt, "cookie") && !slices.Contains(misspelt, "token"):
		d.fail(a.fallback, "fallback is for affinity by a cookie or a token: add cookie or token, or leave it out")
	}
	p.affinity = a.Affinity
}

type affinityDraft struct {
	Affinity
	cookie, token, fallback place // where they stand
}

var affinityKeys = []key[affinityDraft]{
	{name: "cookie", read: func(d *decoder, n *yaml.Node, a *affinityDraft) {
		a.cookie = d.at(n)
		a.Cookie = readCookie(d, n)
	}},
	{name: "token", read: func(d *decoder, n *yaml.Node, a *affinityDraft) {
		a.token = d.at(n)
		a.Token = &Token{}
		readMapping(d, n, "a mapping with from", a.token, tokenKeys, a.Token)
	}},
	{name: "fallback", read: func(d *decoder, n *yaml.Node, a *affinityDraft) {
		a.fallback = d.at(n)
		d.choice(n, &a.Fallback, "balance", "refuse")
	}},
}

var tokenKeys = []key[Token]{
	{name: "from", missing: "it isn't said where the token is: write for example from: [query:session]", read: func(d *decoder, n *yaml.Node, t *Token) {
		d.requestParts(n, &t.From, tokenParts)
	}},
}

func readCookie(d *decoder, n *yaml.Node) *Cookie {
	c := cookieDraft{Cookie: Cookie{Name: "holdfast", Path: "/", SameSite: "Lax", Secure: "auto", MaxAge: time.Hour}}
	at := d.at(n)
	c.name, c.sameSite = at, at
	readMapping(d, n, "a mapping with name and secret", at, cookieKeys, &c)
	if !c.secret {
		d.warn(at, noSecret)
	}
	if c.SameSite == "None" && c.Secure == "never" {
		d.fail(c.sameSite, "browsers refuse a cookie with same_site: None that isn't secure: write secure: always")
	}
	if err := checkPrefix(c.Cookie); err != nil {
		d.fail(c.name, "%v", err)
	}
	return &c.Cookie
}

type cookieDraft struct {
	Cookie
	name, sameSite place
	secret         bool // one was given, be it a wrong one
}

var cookieKeys = []key[cookieDraft]{
	{name: "name", read: func(d *decoder, n *yaml.Node, c *cookieDraft) {
		c.name = d.at(n)
		d.parsed(n, &c.Name, "the name of a cookie", parseCookieName)
	}},
	{name: "max_age", read: func(d *decoder, n *yaml.Node, c *cookieDraft) {
		if d.durationWithin(n, &c.MaxAge, true, time.Second, maxDuration) && c.MaxAge%time.Second != 0 {
			d.fail(d.at(n), "a cookie's age is counted in whole seconds: write for example %s", short(c.MaxAge.Truncate(time.Second)))
		}
	}},
	{name: "same_site", read: func(d *decoder, n *yaml.Node, c *cookieDraft) {
		c.sameSite = d.at(n)
		d.choice(n, &c.SameSite, "Lax", "Strict", "None")
	}},
	{name: "secure", read: func(d *decoder, n *yaml.Node, c *cookieDraft) {
		d.choice(n, &c.Secure, "auto", "always", "never")
	}},
	{name: "path", read: func(d *decoder, n *yaml.Node, c *cookieDraft) {
		d.parsed(n, &c.Path, "a path such as /", parseCookiePath)
	}},
	{name: "domain", read: func(d *decoder, n *yaml.Node, c *cookieDraft) {
		d.parsed(n, &c.Domain, "a domain such as example.com", parseCookieDomain)
	}},
	{name: "secret", read: func(d *decoder, n *yaml.Node, c *cookieDraft) {
		c.secret = true
		d.parsed(n, &c.Secret, "a text of at least 16 characters", parseSecret)
	}},
}

func parseCookieName(s string) (string, error) {
	if s == "" {
		return "", errors.New("the cookie's name is empty: write one, such as holdfast")
	}
	if err := checkToken(s); err != nil {
		return "", fmt.Errorf("bad cookie name %s: %w", quote(s), err)
	}
	return s, nil
}

// checkPrefix applies what browsers ask of cookies with these prefixes (RFC
// 6265bis section 4.1.3); they drop those that don't comply.
func checkPrefix(c Cookie) error {
	const secure, host = "__secure-", "__host-"
	name := strings.ToLower(c.Name)
	isHost := strings.HasPrefix(name, host)
	switch {
	case !isHost && !strings.HasPrefix(name, secure):
	case c.Secure == "never":
		return fmt.Errorf("browsers refuse a cookie named %s that isn't secure: write secure: always", quote(c.Name))
	case isHost && (c.Path != "/" || c.Domain != ""):
		return fmt.Errorf("browsers refuse a cookie named %s with a path other than / or with a domain: leave these out", quote(c.Name))
	}
	return nil
}

// parseCookiePath checks a cookie's path: path-value of RFC 6265 section 4.1.1,
// as far as it can be the beginning of a URL's path.
func parseCookiePath(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad path %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	if err := checkAnyPath(s); err != nil {
		return bad("%v", err)
	}
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(";?#", c) {
			return bad("%s is not allowed in a cookie's path", quote(string(c)))
		}
	}
	return s, nil
}

// parseCookieDomain checks a cookie's domain. It comes back in lower case.
func parseCookieDomain(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad domain %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "*.") {
		return bad("leave out what is before the name, hosts below it are always meant too")
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return bad("a cookie's domain cannot be an IP, leave it out")
	}
	if host, _, ok := strings.Cut(s, ":"); ok {
		return bad("write it without a port: %s", quote(host))
	}
	if err := checkHostname(s); err != nil {
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

// minSecret and maxSecret bound a secret, in characters.
const (
	minSecret = 16
	maxSecret = 1024
)

// parseSecret checks a secret. Its errors don't show it: they end up in logs.
func parseSecret(s string) (string, error) {
	n := utf8.RuneCountInString(s)
	switch {
	case n < minSecret:
		return "", fmt.Errorf("the secret has %d characters and needs at least %d: make one with openssl rand -base64 24", n, minSecret)
	case n > maxSecret:
		return "", fmt.Errorf("the secret is longer than %d characters", maxSecret)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", errors.New("the secret has control characters in it")
	}
	return s, nil
}
