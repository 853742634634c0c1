package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

const (
	unixScheme = "unix:"
	// maxPath is the length of the longest path of a socket on Linux, in bytes.
	maxPath = 107
)

// UnixPeer stands for the other end of a connection by a unix socket, which has no IP
// address: a process of this machine. No connection of TCP has the port 0.
var UnixPeer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)

// IsUnix reports whether s is the address of a unix socket, such as "unix:/run/x.sock". A
// host may have the name "unix".
func IsUnix(s string) bool { return strings.HasPrefix(s, unixScheme+"/") }

// ParseListen reads an address to listen on: "host:port", of which the host may be left
// out, or "unix:/path". example is for errors.
func ParseListen(s, example string) (Address, error) {
	if IsUnix(s) {
		return parseUnix(s)
	}
	return ParseLike(s, example)
}

func parseUnix(s string) (Address, error) {
	p := strings.TrimPrefix(s, unixScheme)
	bad := func(err error) (Address, error) {
		return Address{}, fmt.Errorf("bad address %s: %w", hint.Quote(s), err)
	}
	switch {
	case strings.ContainsFunc(p, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }):
		return bad(errors.New("the path has spaces or invisible characters in it"))
	case len(p) > maxPath:
		return bad(fmt.Errorf("the path of a socket has at most %d bytes", maxPath))
	case path.Clean(p) != p && path.Clean(p) != "/":
		return bad(errors.New("write " + hint.Quote(unixScheme+path.Clean(p))))
	case path.Clean(p) == "/":
		return bad(errors.New("the name of the socket is missing, write for example unix:/run/holdfast/ws.sock"))
	}
	return Address{Path: p}, nil
}

// Endpoint is what a connection is made to, without any name left to look up: an IP
// address and a port, or a unix socket. Endpoints can be compared. The zero Endpoint is
// none.
type Endpoint struct {
	TCP  netip.AddrPort
	Path string // of a unix socket; then TCP is zero
}

// At is the Endpoint with an IP address.
func At(a netip.AddrPort) Endpoint { return Endpoint{TCP: a} }

// Endpoint returns what a leads to; ok is false if it has a name or no host.
func (a Address) Endpoint() (_ Endpoint, ok bool) {
	if a.Path != "" {
		return Endpoint{Path: a.Path}, true
	}
	return At(netip.AddrPortFrom(a.IP, a.Port)), a.IP.IsValid()
}

// IsUnix reports whether e is a unix socket.
func (e Endpoint) IsUnix() bool { return e.Path != "" }

// String is e in the form of an Address.
func (e Endpoint) String() string {
	if e.IsUnix() {
		return unixScheme + e.Path
	}
	return e.TCP.String()
}

// MarshalText is String for encoding/json.
func (e Endpoint) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// DialArgs are the network and the address for Go's net package.
func (e Endpoint) DialArgs() (network, address string) {
	if e.IsUnix() {
		return "unix", e.Path
	}
	return "tcp", e.TCP.String()
}
