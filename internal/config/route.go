package config

import (
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/wire/clientcert"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// Route sends the requests that Match to a pool, or answers them itself, if it admits
// them. It has exactly one of Pool, Split, Redirect and Respond.
type Route struct {
	Match    Match     `key:"match" want:"a mapping with conditions such as host and path"`
	Pool     string    `key:"pool" want:"the name of a pool"` // in Pools
	Split    Split     `key:"split" want:"a list of pools with weights" item:"a pool with a weight such as {pool: chat, weight: 90}"`
	Redirect *Redirect `key:"redirect" want:"a mapping with to and status"`  // nil: none
	Respond  *Respond  `key:"respond" want:"a mapping with status and body"` // nil: none
	Auth     *Auth     `key:"auth" want:"a mapping with jwt or request"`     // nil: that of the listener
	// Upgrades are the protocols that a request may ask for; empty means WebSocket alone.
	Upgrades []string `key:"upgrades" want:"a list of upgrades such as [websocket, tcp]" item:"an upgrade such as tcp"`
	// Limits are the route's own, see Config.LimitsOf.
	Limits RouteLimits `key:"limits" want:"a mapping of limits"`

	RequestHeaders  HeaderEdits   `key:"request_headers" want:"a mapping with set, add and remove"`
	ResponseHeaders HeaderEdits   `key:"response_headers" want:"a mapping with set, add and remove"`
	Rewrite         Rewrite       `key:"rewrite" want:"a mapping with host and path_prefix"`
	Timeouts        RouteTimeouts `key:"timeouts" want:"a mapping of timeouts"`

	// Allow has the networks of clients that are admitted, Deny those that aren't,
	// which comes first. Allow nil admits all.
	Allow []netip.Prefix `key:"allow" want:"a list of networks such as [10.0.0.0/8]" item:"a network such as 10.0.0.0/8" some:"the list of networks is empty"`
	Deny  []netip.Prefix `key:"deny" want:"a list of networks such as [10.0.0.0/8]" item:"a network such as 10.0.0.0/8" some:"the list of networks is empty"`
	// Origins says which pages may open WebSockets; nil leaves it to the listener.
	Origins *Origins `key:"origins" want:"same_site, any, or a list of origins such as https://app.example.com"`
	// Subprotocols are those that clients may offer; nil allows all.
	Subprotocols []string `key:"subprotocols" want:"a list of subprotocols such as [chat.v1]" item:"a subprotocol such as chat.v1" some:"the list of subprotocols is empty"`
}

// Match is the requests or connections of a route; a zero field matches every one.
type Match struct {
	Listener string       `key:"listener" want:"the name of a listener"`
	Host     pattern.Host `key:"host" want:"a host such as ws.example.com"`
	// HostRegex ignores case.
	HostRegex pattern.Regex `key:"host_regex" want:"a regular expression such as ^ws[0-9]+\\.example\\.com$"`
	Path      pattern.Path  `key:"path" want:"a path such as /ws"`
	// At most one of Path, PathExact and PathBegins is set. PathBegins is a pattern of
	// pattern.ParseBeginPath.
	PathExact  pattern.ExactPath `key:"path_exact" want:"a path such as /ws"`
	PathBegins string            `key:"path_begins" as:"path start"`
	PathRegex  pattern.Regex     `key:"path_regex" want:"a regular expression such as ^/rooms/[0-9]+$"`
	// WebSocket true matches only upgrade requests, false only others.
	WebSocket *bool    `key:"websocket"`
	Method    []string `key:"method" want:"a method such as GET" item:"a method such as GET" some:"the list of methods is empty"`
	// Header and Query have names and patterns of pattern.ParseValue.
	Header Headers `key:"header" want:"a mapping from names of headers to values" item:"the value of a header"`
	Query  Headers `key:"query" want:"a mapping from names of parameters to values" item:"the value of a parameter"`
	// Client has networks, one of which the client's address is in.
	Client []netip.Prefix `key:"client" want:"a list of networks such as [10.0.0.0/8]" item:"a network such as 10.0.0.0/8" some:"the list of networks is empty"`
	// ClientCert is nil if it doesn't matter.
	ClientCert *ClientCert `key:"client_cert" want:"a mapping with conditions such as cn and dns"`
	// SNI and ALPN are for connections whose TLS is passed through: the name that the
	// client asks for, and a protocol that it offers.
	SNI  pattern.Host `key:"sni" want:"a host such as ws.example.com"`
	ALPN string       `key:"alpn" as:"protocol"`
	// Not has requests that aren't the route's, though all else matches.
	Not []Match `key:"not" want:"a list of conditions such as [{path: /ws}]" item:"a mapping with conditions such as host and path"`
}

// ClientCert is what a route asks of a client's certificate. All that is given must be
// true of it; of a list, one item.
type ClientCert struct {
	// Verified false matches clients without a certificate. All else needs one.
	Verified    *bool              `key:"verified"`
	CN          []pattern.Text     `key:"cn" item:"a name such as ws-1" some:"the list of names is empty"`
	DNS         []pattern.Host     `key:"dns" item:"a name such as *.devices.example.com" some:"the list of names is empty"`
	URI         []pattern.Text     `key:"uri" item:"a URI such as spiffe://example.com/*" some:"the list of URIs is empty"`
	Issuer      []pattern.Text     `key:"issuer" item:"a name such as CN=Devices,O=Acme" some:"the list of names is empty"`
	Fingerprint []clientcert.Print `key:"fingerprint" item:"the SHA-256 of a certificate" some:"the list of fingerprints is empty"`
}

// Origins says which pages may open WebSockets. A file may have Allow in its place.
type Origins struct {
	// Allow has at least one pattern. Any stands alone.
	Allow []origin.Pattern `key:"allow" item:"same_site, any, or an origin such as https://app.example.com" some:"the list of origins is empty"`
	// Required refuses requests without an Origin.
	Required bool `key:"required"`
}

// SetDefaults implements Defaulter.
func (o *Origins) SetDefaults() { o.Allow = []origin.Pattern{origin.OwnSite} }

// Short implements Shorthand.
func (*Origins) Short() string { return "allow" }
