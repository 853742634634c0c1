// Package access decides who is admitted: by address, by the origin of the page that
// opens a WebSocket, and by the subprotocols that are offered. It looks at single
// facts; which of them hold for a request, the spine (internal/proxy) says.
//
// Errors are *failure.Error. Their text, for the log, shows what was refused, quoted and
// cut.
package access

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/clientprefix"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
)

// Addresses says which addresses are admitted: those that are not in Deny, and in Allow
// if that isn't nil. The zero value admits all. It is immutable.
type Addresses struct{ Allow, Deny []netip.Prefix }

// IsZero reports whether all addresses are admitted.
func (a *Addresses) IsZero() bool { return a.Allow == nil && a.Deny == nil }

// Check returns an error if a client is not admitted. of says whose list a is, for the
// log, such as "the route". An invalid address is in no network.
func (a *Addresses) Check(client netip.Addr, of string) error {
	if p, ok := clientprefix.Find(a.Deny, client); ok {
		return failure.New(failure.AddressRefused, fmt.Sprintf("the address %s is in deny of %s: %s", client, of, p))
	}
	if a.Allow == nil {
		return nil
	}
	if _, ok := clientprefix.Find(a.Allow, client); !ok {
		return failure.New(failure.AddressRefused, fmt.Sprintf("the address %s is not in allow of %s", client, of))
	}
	return nil
}

// Origins says which pages may open WebSockets. nil admits those of the same site, and
// requests without an Origin. It is immutable.
type Origins struct {
	// Allow is nil for the same site.
	Allow []origin.Pattern
	// Required refuses requests without an Origin: those of other programs than
	// browsers.
	Required bool
}

// Check returns an error if the request with these fields is not admitted. host is the
// one that the client asked for, as httphead.AppendHostname writes it. It isn't looked at
// if the request has no Origin.
func (o *Origins) Check(fields httphead.Fields, host []byte) error {
	value, there := fields.Get("origin")
	if !there {
		if o != nil && o.Required {
			return failure.New(failure.OriginRefused, "the request has no Origin, and origins requires one")
		}
		return nil
	}
	if fields.Count("origin") > 1 {
		return failure.New(failure.OriginRefused, "the request has several Origin fields")
	}
	var room origin.Room
	from, wellFormed := origin.Read(value, &room)
	if o == nil || o.Allow == nil {
		if wellFormed && origin.OwnSite.Admits(&from, host) {
			return nil
		}
		return refuseOrigin(value, host, wellFormed, "is of another site than")
	}
	for i := range o.Allow {
		if p := &o.Allow[i]; *p == origin.Any || wellFormed && p.Admits(&from, host) {
			return nil
		}
	}
	return refuseOrigin(value, host, wellFormed, "is not in origins, which its page needs for")
}

func refuseOrigin(value, host []byte, wellFormed bool, why string) error {
	if !wellFormed {
		return failure.New(failure.OriginRefused, fmt.Sprintf("the Origin %s is malformed; the request is for the host %s", origin.Quote(value), origin.Quote(host)))
	}
	return failure.New(failure.OriginRefused, fmt.Sprintf("the origin %s %s the host %s: to admit it, add it to origins of the route or of the listener", origin.Quote(value), why, origin.Quote(host)))
}

// CheckSubprotocols returns an error if the request offers none of the subprotocols that
// are spoken; nil means that every one is. A server that agrees to none of what was
// offered may accept the handshake all the same (RFC 6455 §4.2.2), but a browser would
// then fail the connection, and other clients would speak something that isn't in the
// list.
func CheckSubprotocols(fields httphead.Fields, spoken []string) error {
	if spoken == nil {
		return nil
	}
	for offer := range fields.Values("sec-websocket-protocol") {
		for name, rest := httphead.NextMember(offer); name != nil; name, rest = httphead.NextMember(rest) {
			for _, s := range spoken {
				if string(name) == s {
					return nil
				}
			}
		}
	}
	if _, there := fields.Get("sec-websocket-protocol"); !there {
		return failure.New(failure.SubprotocolRefused, "the request offers no subprotocol, and subprotocols of the route requires one")
	}
	// The offer isn't shown: browsers send tokens in it.
	return failure.New(failure.SubprotocolRefused, fmt.Sprintf("the request offers none of the subprotocols of the route, which are %s", strings.Join(spoken, ", ")))
}
