// Package hostport parses the addresses "host:port" and "unix:/path" that users write:
// those that listeners accept on, and those of backends and other servers. Whoever
// reads an address from a file, a flag or the network parses it here once and
// passes on the Address. Names are not looked up.
package hostport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Address is a parsed "host:port", or the path of a unix socket. The zero Address stands
// for none.
type Address struct {
	Host string     // a DNS name in lower case; "" if IP is set or the host was left out
	IP   netip.Addr // an IP literal, never an IPv4 address mapped to IPv6; invalid if there is none
	Port uint16
	Path string // of a unix socket; then the others are zero
}

// String returns the address in its normal form, which Parse accepts and
// returns unchanged: names in lower case, IP addresses in their shortest form.
func (a Address) String() string {
	if a.Path != "" {
		return unixScheme + a.Path
	}
	return net.JoinHostPort(a.HostString(), strconv.Itoa(int(a.Port)))
}

// HostString returns the name or IP literal without brackets.
func (a Address) HostString() string {
	if a.IP.IsValid() {
		return a.IP.String()
	}
	return a.Host
}

// HostOf returns the name or IP literal of an address in its normal form, "localhost" for
// a unix socket, and "" if s is none.
func HostOf(s string) string {
	if IsUnix(s) {
		return "localhost"
	}
	host, _, err := net.SplitHostPort(s)
	if err != nil {
		return ""
	}
	return host
}

// IsZero reports whether a is the zero Address.
func (a Address) IsZero() bool { return a == Address{} }

// MustParse is Parse for addresses that are known to be good. It panics if s
// is not.
func MustParse(s string) Address {
	a, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}

// Parse reads "host:port" for any use: the host may be empty and the port 0.
func Parse(s string) (Address, error) { return ParseLike(s, "10.0.0.1:3000") }

// ParseBackend reads an address to connect to: it has a host and a port, or is a unix
// socket.
func ParseBackend(s string) (Address, error) {
	a, err := ParseListen(s, "10.0.0.1:3000")
	if err == nil {
		err = a.CheckTarget("backend")
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// ParseLike is Parse with an example of the right form for its errors.
func ParseLike(s, example string) (Address, error) {
	a, err := parse(s, example)
	if err != nil {
		return Address{}, fmt.Errorf("bad address %s: %w", hint.Quote(s), err)
	}
	return a, nil
}

// CheckTarget returns an error if a can't be connected to. what names its
// server in the error.
func (a Address) CheckTarget(what string) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("bad address %s: %s", hint.Quote(a.String()), fmt.Sprintf(format, args...))
	}
	switch {
	case a.Path != "":
		return nil
	case a.Host == "" && !a.IP.IsValid():
		return bad("the host is missing, write for example 127.0.0.1:%d", a.Port)
	case a.IP.IsValid() && a.IP.IsUnspecified():
		return bad("%s is for listening, a %s needs the address it is reached at", a.IP, what)
	case a.Port == 0:
		return bad("a %s's port is 1 to 65535", what)
	}
	return nil
}

func parse(s, example string) (a Address, err error) {
	likely := example[strings.LastIndexByte(example, ':')+1:]
	if IsUnix(s) {
		return a, errors.New("a unix socket can't be used here")
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return a, fmt.Errorf("leave out %s and any path, write just host:port%s", hint.Quote(scheme+"://"), instead(rest))
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Is6() {
			return a, fmt.Errorf("the port is missing, and an IPv6 address stands in brackets, such as [::1]:%s", likely)
		}
		return a, fmt.Errorf("the port is missing, write for example %s:%s", ip, likely)
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return a, fmt.Errorf("want host:port, such as %s", example)
	}
	host, port := s[:colon], s[colon+1:]
	if strings.ContainsRune(port, ']') {
		return a, fmt.Errorf("the port is missing, write for example [::1]:%s", likely)
	}
	if a.Port, err = parsePort(port); err != nil {
		return a, err
	}
	if strings.HasPrefix(host, "[") || strings.HasSuffix(host, "]") {
		inner, ok := strings.CutSuffix(strings.TrimPrefix(host, "["), "]")
		ip, err := netip.ParseAddr(inner)
		if !ok || host[0] != '[' || err != nil || !ip.Is6() {
			return a, fmt.Errorf("brackets are for an IPv6 address, such as [::1]:%d", a.Port)
		}
		if strings.ContainsFunc(ip.Zone(), func(c rune) bool { return !isAlnum(c) && !strings.ContainsRune("-_.@", c) }) {
			return a, fmt.Errorf("%s is not the name of a network interface", hint.Quote(ip.Zone()))
		}
		a.IP = ip.Unmap()
		return a, nil
	}
	if strings.ContainsRune(host, ':') {
		return a, fmt.Errorf("an IPv6 address stands in brackets, such as [::1]:%d", a.Port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		a.IP = ip.Unmap()
		return a, nil
	}
	if host != "" {
		if err := CheckName(host); err != nil {
			return a, err
		}
		a.Host = strings.ToLower(host)
	}
	return a, nil
}

// instead proposes what is left of a URL without its scheme and path.
func instead(rest string) string {
	host, _, _ := strings.Cut(rest, "/")
	if host == "" {
		return ""
	}
	return ": " + hint.Quote(host)
}

func parsePort(s string) (uint16, error) {
	if s == "" {
		return 0, fmt.Errorf("the port is missing after %q", ":")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case err != nil && strings.Trim(s, "0123456789") != "":
		return 0, fmt.Errorf("the port is a number, not %s", hint.Quote(s))
	case err != nil || n > 65535:
		return 0, fmt.Errorf("port %s is above 65535", hint.Quote(s))
	}
	return uint16(n), nil
}

// CheckName checks the form of a DNS name (RFC 1123 section 2.1). Underscores
// are allowed, since container systems put them into service names.
func CheckName(host string) error {
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return fmt.Errorf("%s is not a host name", hint.Quote(host))
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%s is not a host name: between dots stand 1 to 63 characters", hint.Quote(host))
		}
		for _, c := range label {
			if c > 127 {
				return fmt.Errorf("%s has letters outside ASCII, write the name in punycode (xn--...)", hint.Quote(host))
			}
			if !isAlnum(c) && c != '-' && c != '_' {
				return fmt.Errorf("%s is not a host name: %s is not allowed in it", hint.Quote(host), hint.Quote(string(c)))
			}
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%s is not a host name: no part may begin or end with %q", hint.Quote(host), "-")
		}
	}
	// No top-level domain is a number (RFC 3696 section 2), so this was meant
	// to be an IPv4 address; a resolver may even read it as one.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return fmt.Errorf("%s is not an IPv4 address", hint.Quote(host))
	}
	return nil
}

func isAlnum(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
