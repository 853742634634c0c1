package pool

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Address is a backend's address taken apart.
type Address struct {
	Host string     // a DNS name; "" when IP is set
	IP   netip.Addr // an IP literal; invalid when Host is set
	Port uint16
}

// ParseAddress takes "host:port" apart: a DNS name, an IPv4 address or an IPv6
// address in brackets, then a port from 1 to 65535. The error says what is
// wrong, without the address itself.
func ParseAddress(s string) (Address, error) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
			return Address{}, fmt.Errorf("an IPv6 address needs brackets and a port, as in [%s]:3000", s)
		}
		return Address{}, fmt.Errorf("want host:port, as in 10.0.0.1:3000")
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 {
		return Address{}, fmt.Errorf("port %q is not a number from 1 to 65535", digits)
	}
	a := Address{Port: uint16(port)}
	if ip, err := netip.ParseAddr(host); err == nil {
		a.IP = ip.Unmap()
		return a, nil
	}
	if !isName(host) {
		return Address{}, fmt.Errorf("host %q is neither an IP address nor a DNS name", host)
	}
	a.Host = host
	return a, nil
}

// isName tells what a resolver may be asked for. Underscores are no host names
// by RFC 1123, but container networks use them.
func isName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	digits := true // as in 10.0.0.256, a mistyped address
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
		case c == '.':
			if i == 0 || s[i-1] == '.' {
				return false
			}
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_':
			digits = false
		default:
			return false
		}
	}
	return !digits
}
