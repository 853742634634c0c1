package route

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Isolated has the hosts of a listener that clients reach by connections of their own. All
// hosts that match none of them are one more.
//
// Clients send requests for another host on a connection of HTTP/2 if the certificate is
// good for both (RFC 9113 section 9.1.1). Where hosts differ in what the TLS handshake
// asks of clients, that would pass it by.
type Isolated []pattern.Host

// NewIsolated makes the Isolated of hosts.
func NewIsolated(hosts []pattern.Host) Isolated {
	i := slices.Clone(hosts)
	// A name comes before patterns that match it, and a longer pattern before a shorter.
	slices.SortFunc(i, func(a, b pattern.Host) int {
		x, y := a.String(), b.String()
		if wild, other := strings.HasPrefix(x, "*."), strings.HasPrefix(y, "*."); wild != other {
			if wild {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(len(y), len(x)), cmp.Compare(x, y))
	})
	return i
}

// ErrMisdirected is the error of Check. The answer is 421 (RFC 9110 section 15.5.20).
var ErrMisdirected = failure.New(failure.Misdirected, "the TLS handshake of its connection was for another host")

// Check returns ErrMisdirected for a request for host, with or without a port, on a
// connection that was made for another one of the hosts. name is what the client asked for
// in its TLS handshake, "" if that was nothing.
func (i Isolated) Check(host []byte, name string) error {
	if len(i) == 0 || find(i, pattern.BareHost(host)) == find(i, pattern.BareHost(name)) {
		return nil
	}
	return ErrMisdirected
}

func find[S ~string | ~[]byte](i Isolated, host S) int {
	return slices.IndexFunc(i, func(h pattern.Host) bool { return pattern.MatchHost(h, host) })
}
