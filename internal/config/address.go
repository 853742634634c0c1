package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// address is a checked "host:port".
type address struct {
	host string     // in lower case; an IP in its shortest form; "" if left out
	ip   netip.Addr // valid when host is one
	port uint16
}

func (a address) String() string {
	return net.JoinHostPort(a.host, strconv.Itoa(int(a.port)))
}

// parseAddress reads "host:port" for any use. example shows the right form in
// errors.
func parseAddress(s, example string) (a address, err error) {
	bad := func(why string, args ...any) (address, error) {
		return address{}, fmt.Errorf("bad address %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return bad("leave out %s and any path, write just host:port%s", quote(scheme+"://"), instead(rest))
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Is6() {
			return bad("the port is missing, and an IPv6 address stands in brackets, such as [::1]:3000")
		}
		return bad("the port is missing, write for example %s:3000", ip)
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return bad("want host:port, such as %s", example)
	}
	host, port := s[:colon], s[colon+1:]
	if strings.ContainsRune(port, ']') {
		return bad("the port is missing, write for example [::1]:3000")
	}
	if a.port, err = parsePort(port); err != nil {
		return bad("%v", err)
	}
	if strings.HasPrefix(host, "[") || strings.HasSuffix(host, "]") {
		inner, ok := strings.CutSuffix(strings.TrimPrefix(host, "["), "]")
		ip, err := netip.ParseAddr(inner)
		if !ok || host[0] != '[' || err != nil || !ip.Is6() {
			return bad("brackets are for an IPv6 address, such as [::1]:%d", a.port)
		}
		if strings.ContainsFunc(ip.Zone(), func(c rune) bool { return !isAlnum(c) && !strings.ContainsRune("-_.@", c) }) {
			return bad("%s is not the name of a network interface", quote(ip.Zone()))
		}
		a.setIP(ip)
		return a, nil
	}
	if strings.ContainsRune(host, ':') {
		return bad("an IPv6 address stands in brackets, such as [::1]:%d", a.port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		a.setIP(ip)
		return a, nil
	}
	if host != "" {
		if err := checkHostname(host); err != nil {
			return bad("%v", err)
		}
		a.host = strings.ToLower(host)
	}
	return a, nil
}

func (a *address) setIP(ip netip.Addr) {
	a.ip = ip.Unmap()
	a.host = a.ip.String()
}

// instead proposes what is left of a URL once scheme and path are gone.
func instead(rest string) string {
	host, _, _ := strings.Cut(rest, "/")
	if host == "" {
		return ""
	}
	return ": " + quote(host)
}

func parsePort(s string) (uint16, error) {
	if s == "" {
		return 0, fmt.Errorf("the port is missing after %q", ":")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case err != nil && strings.Trim(s, "0123456789") != "":
		return 0, fmt.Errorf("the port is a number, not %s", quote(s))
	case err != nil || n > 65535:
		return 0, fmt.Errorf("port %s is above 65535", quote(s))
	}
	return uint16(n), nil
}

// checkHostname checks the form of a DNS name (RFC 1123 section 2.1), with
// underscores, which container systems put into service names.
func checkHostname(host string) error {
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return fmt.Errorf("%s is not a host name", quote(host))
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%s is not a host name: between dots stand 1 to 63 characters", quote(host))
		}
		for _, c := range label {
			if c > 127 {
				return fmt.Errorf("%s has letters outside ASCII, write the name in punycode (xn--...)", quote(host))
			}
			if !isAlnum(c) && c != '-' && c != '_' {
				return fmt.Errorf("%s is not a host name: %s is not allowed in it", quote(host), quote(string(c)))
			}
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%s is not a host name: no part may begin or end with %q", quote(host), "-")
		}
	}
	// No top-level domain is a number (RFC 3696 section 2), so this was meant
	// to be an IPv4 address; a resolver may even read it as one.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return fmt.Errorf("%s is not an IPv4 address", quote(host))
	}
	return nil
}

func isAlnum(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// listenAddress checks an address to accept clients on.
func listenAddress(s string) (address, error) {
	return parseAddress(s, ":8080 or 127.0.0.1:8080")
}

// adminAddress checks the address of the admin interface. Its host must be
// spelled out, so that nobody opens it to every network by leaving it out.
func adminAddress(s string) (address, error) {
	a, err := parseAddress(s, "127.0.0.1:9900")
	if err == nil && a.host == "" {
		return a, fmt.Errorf("%s would expose admin to every network: write 127.0.0.1:%d for this machine only, or 0.0.0.0:%d if every network is meant",
			quote(s), a.port, a.port)
	}
	return a, err
}

// backendAddress checks an address to connect to.
func backendAddress(s string) (address, error) {
	a, err := parseAddress(s, "10.0.0.1:3000")
	switch {
	case err != nil:
		return a, err
	case a.host == "":
		return a, fmt.Errorf("bad address %s: the host is missing, write for example 127.0.0.1:%d", quote(s), a.port)
	case a.ip.IsValid() && a.ip.IsUnspecified():
		return a, fmt.Errorf("bad address %s: %s is for listening, a backend needs the address it is reached at", quote(s), a.host)
	case a.port == 0:
		return a, fmt.Errorf("bad address %s: a backend's port is 1 to 65535", quote(s))
	}
	return a, nil
}

// parseTrust reads "10.0.0.0/8", or an address as the prefix of just it.
func parseTrust(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("bad network %s: want an address or a network, such as 10.0.0.1 or 10.0.0.0/8", quote(s))
	case p.Addr().Is4In6():
		// Peers' addresses are compared as IPv4 and would never be in it.
		return p, fmt.Errorf("bad network %s: write it as an IPv4 network", quote(s))
	case p != p.Masked():
		return p, fmt.Errorf("bad network %s: the address has bits beyond /%d (did you mean %s or %s?)", quote(s), p.Bits(), p.Masked(), p.Addr())
	}
	return p, nil
}
