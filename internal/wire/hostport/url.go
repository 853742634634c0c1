package hostport

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// schemes are those of ParseURL, with their ports.
var schemes = map[string]uint16{"ws": 80, "http": 80, "wss": 443, "https": 443}

// Scheme returns the scheme of a URL in lower case, or "" for an address without one.
// It may be any word.
func Scheme(s string) string {
	scheme, _, ok := strings.Cut(s, "://")
	if !ok {
		return ""
	}
	return strings.ToLower(scheme)
}

// IsTLS reports whether a scheme stands for TLS.
func IsTLS(scheme string) bool { return scheme == "wss" || scheme == "https" }

// ParseURL reads an address with a host, a unix socket, or a URL with the scheme ws, http, wss or https
// and no path, such as "wss://chat.internal". A URL may have no port, which then is 80
// or 443. example is for errors.
func ParseURL(s, example string) (Address, error) {
	scheme := Scheme(s)
	if scheme == "" {
		return ParseListen(s, example)
	}
	bad := func(err error) (Address, error) {
		return Address{}, fmt.Errorf("bad address %s: %w", hint.Quote(s), err)
	}
	if scheme == "unix" {
		return bad(errors.New("write one slash, such as unix:/run/chat.sock"))
	}
	standard, ok := schemes[scheme]
	if !ok {
		return bad(errors.New("write host:port, or a URL with ws, wss, http or https"))
	}
	rest := strings.TrimSuffix(s[len(scheme)+len("://"):], "/")
	if strings.Contains(rest, "@") { // it may be a password, so it isn't shown
		return Address{}, errors.New("bad address: leave out what is before the @")
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		return bad(fmt.Errorf("leave out %s: the path is that of each request", hint.Quote(rest[i:])))
	}
	if !strings.Contains(rest[strings.LastIndexByte(rest, ']')+1:], ":") {
		rest = fmt.Sprintf("%s:%d", rest, standard)
	}
	a, err := parse(rest, example)
	if err == nil && a.HostString() == "" {
		err = errors.New("the host is missing, write for example " + scheme + "://chat.internal")
	}
	if err != nil {
		return bad(err)
	}
	return a, nil
}
