package origin

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Pattern says which origins are admitted. The zero Pattern admits none. Patterns can be
// compared.
type Pattern struct {
	kind   kind
	scheme string       // in lower case; "" is http and https
	host   pattern.Host // zero only in schemes without hosts
	port   int          // 0 is that of the scheme, anyPort every one
}

type kind uint8

const (
	none kind = iota
	listed
	everything
	sameSite
	opaque
)

const anyPort = -1

// The patterns that are words.
var (
	// Any admits every origin, and also what is none.
	Any = Pattern{kind: everything}
	// OwnSite admits the origins of the site that the request is for, see SameSite.
	OwnSite = Pattern{kind: sameSite}
	// Null admits the origin null, that of pages that belong to no host.
	Null = Pattern{kind: opaque}
)

var words = map[string]Pattern{"any": Any, "same_site": OwnSite, "null": Null}

// Parse reads a pattern: "any", "same_site", "null", or an origin such as
// https://app.example.com. Without a scheme, http and https are meant. The host may be
// "*.example.com", for all names below example.com at any depth. Without a port, the one
// of the scheme is meant, and the port "*" is every one.
func Parse(s string) (Pattern, error) {
	if p, ok := words[s]; ok {
		return p, nil
	}
	p, err := parse(s)
	if err != nil {
		return Pattern{}, fmt.Errorf("bad origin %s: %w", hint.Quote(s), err)
	}
	return p, nil
}

func parse(s string) (Pattern, error) {
	p := Pattern{kind: listed}
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "", s
	}
	p.scheme = strings.ToLower(scheme)
	switch {
	case s == "":
		return p, errors.New("it is empty")
	case s == "*":
		return p, fmt.Errorf("write %q to admit every origin", "any")
	case found && !isScheme(p.scheme):
		return p, errors.New("a scheme such as https stands before ://")
	case p.scheme == "ws" || p.scheme == "wss":
		return p, errors.New("it is the origin of the page that is meant: write http:// or https://")
	case strings.ContainsAny(rest, "/?#"):
		return p, errors.New("an origin has no path: write just scheme, host and port, without a slash at the end")
	case strings.Contains(rest, "@"):
		return p, errors.New("an origin has no user: write just scheme, host and port")
	}
	host, port, hasPort := cutPort(rest)
	switch n, err := strconv.ParseUint(port, 10, 16); {
	case !hasPort:
	case port == "*":
		p.port = anyPort
	case err != nil || n == 0 || port[0] == '+':
		return p, fmt.Errorf("%s is not a port: write a number from 1 to 65535, or * for every port", hint.Quote(port))
	case int(n) == defaultPort([]byte(p.scheme)): // browsers leave it out
	default:
		p.port = int(n)
	}
	if host == "" && p.scheme != "" && defaultPort([]byte(p.scheme)) == 0 && !hasPort {
		return p, nil // as in file://
	}
	if host == "" || host == "*" {
		return p, fmt.Errorf("the host is missing: write one, such as app.example.com or *.example.com, or the word %q for every origin", "any")
	}
	// As the host is written in its normal form.
	word := strings.ToLower(strings.TrimSuffix(s, "."))
	if near := hint.DidYouMean(word, []string{"same_site", "any", "null"}); near != "" && !found && !hasPort && !strings.Contains(word, ".") {
		return p, fmt.Errorf("it is the name of a host, which stands after http:// or https://%s", near)
	}
	var err error
	if p.host, err = pattern.ParseHost(host); err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ")
		return p, errors.New(why)
	}
	return p, nil
}

// cutPort cuts the port off. The colons of an IPv6 address are in brackets; pattern.ParseHost
// says so about others.
func cutPort(s string) (host, port string, found bool) {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') && (s[0] == '[' || strings.IndexByte(s, ':') == i) {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// String returns the pattern in its normal form, which Parse accepts and returns
// unchanged; "" for the zero Pattern.
func (p Pattern) String() string {
	for word, q := range words {
		if p == q {
			return word
		}
	}
	s := p.host.String()
	if p.scheme != "" {
		s = p.scheme + "://" + s
	}
	switch p.port {
	case 0:
		return s
	case anyPort:
		return s + ":*"
	}
	return s + ":" + strconv.Itoa(p.port)
}

// IsWide reports whether anyone can have an origin that p admits: its names end in a
// public suffix, such as those of https://*.github.io.
func (p Pattern) IsWide() bool {
	below, wildcard := strings.CutPrefix(p.host.String(), "*.")
	if !wildcard {
		return false
	}
	suffix, icann := publicsuffix.PublicSuffix("x." + below) // a rule may be *.below
	// Other names of one label, such as internal, aren't in the list of suffixes.
	return (suffix == below || suffix == "x."+below) && (icann || strings.Contains(suffix, "."))
}

// Admits reports whether p admits an origin. host is the one that the client asked for,
// as httphead.AppendHostname writes it. Any admits everything, also what Parse refuses.
func (p Pattern) Admits(o *Origin, host []byte) bool {
	switch p.kind {
	case everything:
		return true
	case sameSite:
		return !o.opaque && o.isWeb() && SameSite(o.host, host)
	case opaque:
		return o.opaque
	case listed:
		return !o.opaque && p.admitsScheme(o) && p.admitsPort(o) && p.admitsHost(o.host)
	}
	return false
}

func (p Pattern) admitsScheme(o *Origin) bool {
	if p.scheme == "" {
		return o.isWeb()
	}
	return httphead.EqualFold(o.scheme, p.scheme)
}

func (p Pattern) admitsPort(o *Origin) bool {
	switch p.port {
	case anyPort:
		return true
	case 0:
		return o.port == defaultPort(o.scheme)
	}
	return o.port == p.port
}

func (p Pattern) admitsHost(host []byte) bool {
	if p.host == (pattern.Host{}) {
		return len(host) == 0
	}
	return pattern.MatchHost(p.host, host)
}
