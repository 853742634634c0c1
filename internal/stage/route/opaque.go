package route

import (
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/clienthello"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Connection is the part of an opaque rule that chooses connections. A field that is
// left zero matches every one.
type Connection struct {
	// Listener is the name of the listener that accepted it.
	Listener string
	// ServerName and Protocol are of the client's first message in TLS: the name that
	// it asks for, and one of the protocols that it offers by ALPN.
	ServerName pattern.Host
	Protocol   string
	// Client has networks, one of which the client's address is in; nil has all.
	Client []netip.Prefix
}

// ErrNoConnectionRoute is returned by MatchConnection if no rule matches.
var ErrNoConnectionRoute = failure.New(failure.NoRoute, "no route matches the connection")

// MatchConnection finds the opaque rule for a connection to a listener. hello is zero for
// one that isn't routed by it. It doesn't allocate.
func (t *Table) MatchConnection(listener string, client netip.Addr, hello *clienthello.Hello) (*Rule, error) {
	for i := range t.opaque {
		c := &t.opaque[i].Connection
		if (c.Listener == "" || c.Listener == listener) &&
			pattern.MatchHost(c.ServerName, hello.ServerName) &&
			(c.Protocol == "" || hello.Offers(c.Protocol)) {
			if c.Client != nil {
				if _, ok := clientprefix.Find(c.Client, client); !ok {
					continue
				}
			}
			return &t.opaque[i], nil
		}
	}
	return nil, ErrNoConnectionRoute
}
