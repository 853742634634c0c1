// Package generation is what one configuration amounts to while it is in use:
// its routes, its pools with how a backend is chosen in each, and its limits.
// internal/app makes a Generation, the spine (internal/proxy) serves by it.
//
// A Generation is immutable. A reload makes another one and swaps a pointer.
// Backends, which outlive it, are in upstream/pool.
package generation

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/retry"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/tls/backendtls"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/forwarded"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
	"github.com/holdfast-ws/holdfast/internal/wire/requestid"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// MaxHead bounds the head of a backend's response, in bytes, and that of a
// client's request unless Generation.MaxHead says otherwise.
const MaxHead = 16 << 10

// Generation is immutable. A handshake goes by the one it began with, and an
// open session by none.
type Generation struct {
	Number   uint64
	Routes   *route.Table
	Policies []Policy // by route.Rule.Index
	// OtherUpgrades means that one of Policies has Upgrades.
	OtherUpgrades bool
	Listeners     map[string]*ListenerPolicy // by name; see ListenerOf
	Reserved      *auth.Reserved             // of all policies; nil has none
	Pools         map[string]*Pool
	Labels        map[string]uint32 // of the routes, as numbers of session.Names
	Forwarded     *forwarded.Policy
	// ClientCert says what backends are told about certificates of clients.
	ClientCert *clientcert.Policy
	IDs        requestid.Policy
	Limits     relay.Limits
	Common     limit.Rules    // for clients whose route isn't known
	Exempt     []netip.Prefix // clients to whom no limit by address applies
	Dial       dial.Dialer
	Handshake  time.Duration // for a client's head, and for a backend's answer
	// MaxHead bounds the head of a client's request, in bytes; 0 means the
	// constant MaxHead.
	MaxHead    int
	HTTP       httpproxy.Timeouts // of plain HTTP, except Connect and Head
	HTTPLimits httpproxy.Limits   // likewise
	// MaxConnections bounds the connections of plain HTTP of one address; 0 doesn't.
	MaxConnections int
}

// RequestHead is the largest head of a client's request, in bytes.
func (g *Generation) RequestHead() int { return cmp.Or(g.MaxHead, MaxHead) }

// ClientLimits are the limits of plain HTTP. A request's head has the limits that
// apply to handshakes.
func (g *Generation) ClientLimits() httpproxy.Limits {
	l := g.HTTPLimits
	l.Head, l.HeadBytes = g.Handshake, g.RequestHead()
	return l
}

// Pool says how the backend of a pool is chosen for a request, and when its
// sessions are moved.
type Pool struct {
	Picker balance.Picker
	// Key is what the algorithm hash hashes; nil for any other algorithm.
	Key []requestkey.Part

	// At most one of Cookie, Token and Learned is set; it is the pool's affinity.
	Cookie *affinity.Table // by the index of the picker's members
	Token  []requestkey.Part
	// Learned is affinity by a table of keys.
	Learned *Learned
	// Tokens chooses for tokens, over the same members. If the backend that a
	// token belongs to can't take it, Tokens chooses the next in an order that
	// is the same for every balancer with the same file.
	Tokens balance.Picker
	// Refuse means that a client whose own backend can't take it is refused,
	// not sent to another one.
	Refuse bool

	// ProxyProtocol is the version in which members are told who the client is.
	ProxyProtocol proxyproto.Version
	// TLS is spoken to the members; nil means none.
	TLS *backendtls.Client

	// RetryOn has the statuses of answers after which another member is asked.
	RetryOn retry.Statuses

	// Reattach says when sessions are moved; nil means never.
	Reattach *session.Reattach

	admit // see SetAdmit
}

// Target is where to connect for a choice of p.
func (p *Pool) Target(c balance.Choice) dial.Target {
	t := dial.Target{Addr: c.Addr}
	if p.TLS != nil {
		t.TLS, t.Host = p.TLS, p.Picker.Members()[c.Index].Host
	}
	return t
}

// Member is the index of a backend among the pool's members, or -1.
func (p *Pool) Member(backend uint32) int {
	for i, m := range p.Picker.Members() {
		if m.Backend.ID == backend {
			return i
		}
	}
	return -1
}
