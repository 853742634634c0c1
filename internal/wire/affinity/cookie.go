package affinity

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// Cookie describes how the cookie is set (RFC 6265 §4.1). It is always HttpOnly.
type Cookie struct {
	Name     string        // a token
	Path     string        // where clients send it; "" means /
	SameSite string        // Lax, Strict or None, in any case; "" means Lax
	Domain   string        // a host name, valid for all names below it, too; "" means the requested host
	MaxAge   time.Duration // whole seconds, at most 400 days; 0 means until the browser is closed
	Secure   Secure
	Named    bool   // the value is the backend's name, and not signed
	Secret   string // that the keys are derived from, at least 16 bytes; "" means the pool's name
}

// Secure says when the cookie has the attribute Secure.
type Secure uint8

const (
	Auto   Secure = iota // if it is set over TLS
	Always               // even if TLS ends at a proxy that doesn't say so
	Never
)

const (
	minSecret = 16
	maxAge    = 400 * 24 * time.Hour // browsers keep cookies no longer (RFC 6265bis §5.5)
)

// Validate reports what in c can't be sent or would be rejected by browsers. The error
// begins with the name of the configuration key, and never contains the secret.
func (c Cookie) Validate() error {
	for _, check := range []func() error{c.checkName, c.checkPath, c.checkDomain, c.checkSameSite, c.checkPrefix} {
		if err := check(); err != nil {
			return err
		}
	}
	switch {
	case c.MaxAge < 0:
		return fmt.Errorf("max_age: %v is negative: write 0 for a cookie that lasts until the browser is closed", c.MaxAge)
	case c.MaxAge%time.Second != 0:
		return fmt.Errorf("max_age: %v is not a whole number of seconds", c.MaxAge)
	case c.MaxAge > maxAge:
		return fmt.Errorf("max_age: %v is more than 400 days (9600h), and browsers keep no cookie longer", c.MaxAge)
	case c.Secret != "" && len(c.Secret) < minSecret:
		return fmt.Errorf("secret: %d bytes are too few, at least %d are needed; get one with: openssl rand -base64 24", len(c.Secret), minSecret)
	case c.Secure > Never:
		return fmt.Errorf("secure: want auto, always or never")
	}
	return nil
}

func (c Cookie) checkName() error {
	if !requestkey.IsToken(c.Name) {
		return fmt.Errorf("name: %q is not a cookie name: only letters, digits and !#$%%&'*+-.^_`|~ are allowed", c.Name)
	}
	return nil
}

func (c Cookie) checkPath() error {
	if c.Path == "" {
		return nil
	}
	if c.Path[0] != '/' {
		return fmt.Errorf("path: %q must begin with %q", c.Path, "/")
	}
	for _, r := range c.Path {
		if r <= ' ' || r >= 0x7f || r == ';' {
			return fmt.Errorf("path: %q cannot have %q in it; write it percent-encoded, as browsers do before they compare", c.Path, r)
		}
	}
	return nil
}

func (c Cookie) checkDomain() error {
	d := c.Domain
	switch {
	case d == "":
		return nil
	case d[0] == '.':
		return fmt.Errorf("domain: %q: leave out the leading dot: a domain includes all names below it anyway", d)
	case len(d) > 253:
		return errors.New("domain: longer than 253 bytes")
	}
	if _, err := netip.ParseAddr(strings.Trim(d, "[]")); err == nil {
		return fmt.Errorf("domain: %q is an address, not a domain: leave domain out", d)
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notInLabel) {
			return fmt.Errorf("domain: %q is not a host name: letters, digits, - and _ between dots, other letters in punycode (xn--...)", d)
		}
	}
	return nil
}

func notInLabel(r rune) bool {
	return r != '-' && r != '_' && !('0' <= r && r <= '9') && !('a' <= r|0x20 && r|0x20 <= 'z')
}

func (c Cookie) checkSameSite() error {
	switch site, ok := c.sameSite(); {
	case !ok:
		return fmt.Errorf("same_site: %q: want Lax, Strict or None", c.SameSite)
	case site == "None" && c.Secure == Never:
		return errors.New("same_site: browsers refuse None with secure: never; write secure: auto or always, or same_site: Lax")
	}
	return nil
}

// checkPrefix checks the rules of browsers for names with certain prefixes, in any case
// (RFC 6265bis §4.1.3).
func (c Cookie) checkPrefix() error {
	name := strings.ToLower(c.Name)
	host := strings.HasPrefix(name, "__host-")
	switch {
	case !host && !strings.HasPrefix(name, "__secure-"):
		return nil
	case c.Secure == Never:
		return fmt.Errorf("name: browsers refuse %q with secure: never", c.Name)
	case host && c.Domain != "":
		return fmt.Errorf("name: browsers refuse %q with a domain", c.Name)
	case host && c.Path != "" && c.Path != "/":
		return fmt.Errorf("name: browsers refuse %q with a path other than /", c.Name)
	}
	return nil
}

func (c Cookie) sameSite() (string, bool) {
	if c.SameSite == "" {
		return "Lax", true
	}
	for _, site := range []string{"Lax", "Strict", "None"} {
		if strings.EqualFold(site, c.SameSite) {
			return site, true
		}
	}
	return "", false
}

// attributes is what follows the value in Set-Cookie. If c is valid, nothing in it can
// end an attribute.
func (c Cookie) attributes(secure bool) string {
	var b strings.Builder
	b.WriteString("; Path=")
	b.WriteString(orString(c.Path, "/"))
	if c.Domain != "" {
		b.WriteString("; Domain=" + c.Domain)
	}
	if c.MaxAge > 0 {
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64(c.MaxAge/time.Second), 10))
	}
	b.WriteString("; HttpOnly")
	// Browsers reject None without Secure. Over plain HTTP the cookie is at least
	// kept if SameSite is left out; most browsers assume Lax.
	if site, _ := c.sameSite(); site != "None" || secure {
		b.WriteString("; SameSite=" + site)
	}
	if secure {
		b.WriteString("; Secure")
	}
	return b.String()
}

func orString(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
