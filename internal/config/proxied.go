package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// ProxyProtocol says which proxies stand in front of a listener. They must say who their
// client is by the PROXY protocol, and nobody else may connect.
type ProxyProtocol struct {
	// Trust has at least one entry.
	Trust []Peer `key:"trust" item:"a network such as 10.0.0.0/8, or unix" some:"nobody could connect"`
}

// Peer is who may stand at the other end of a connection: those of a network, or if that
// is zero, those that come by a unix socket.
type Peer struct{ Network netip.Prefix }

// unixPeer is the word for Peers by a unix socket.
const unixPeer = "unix"

// IsUnix reports whether p stands for those that come by a unix socket.
func (p Peer) IsUnix() bool { return p == Peer{} }

func (p Peer) String() string {
	if p.IsUnix() {
		return unixPeer
	}
	return p.Network.String()
}

func parsePeer(s string) (Peer, error) {
	if s == unixPeer {
		return Peer{}, nil
	}
	network, err := parseTrust(s)
	return Peer{network}, err
}

// Networks are the networks of a list, and whether those that come by a unix socket are
// in it, too.
func Networks(list []Peer) (networks []netip.Prefix, unix bool) {
	for _, p := range list {
		if p.IsUnix() {
			unix = true
		} else {
			networks = append(networks, p.Network)
		}
	}
	return networks, unix
}

func (v *Validator) trust(p Path, trust []Peer, everyone string) {
	for i, peer := range trust {
		item := p.Index(i)
		if peer.IsUnix() || !v.OK(item) {
			continue
		}
		if err := checkTrust(peer.Network); err != nil {
			v.Fail(item, "%v", err)
		} else if peer.Network.Bits() == 0 {
			v.Warn(item, "%s trusts everyone: %s", peer.Network, everyone)
		}
	}
}

// introduced checks what goes with a listener's address, and who may be in front of it.
func (v *Validator) introduced(p Path, l *Listener) {
	mode := p.Key("socket_mode")
	if l.SocketMode != "" && l.Address.Path == "" && v.OK(mode) && v.OK(p.Key("address")) {
		v.Fail(mode, "socket_mode is for a unix socket, and this listener has the address %s: leave it out", hint.Quote(l.Address.String()))
	}
	if l.ProxyProtocol == nil {
		return
	}
	trust := p.Key("proxy_protocol").Key("trust")
	v.Require(trust, len(l.ProxyProtocol.Trust) > 0, "nobody could connect: list the proxies in front, such as trust: [10.0.0.0/8]")
	v.trust(trust, l.ProxyProtocol.Trust, "any client can claim any address by a PROXY protocol header")
}

// checkPermissions checks the permissions of a file, in octal digits.
func checkPermissions(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || strings.Trim(s, "01234567") != "" || fs.FileMode(n)&^fs.ModePerm != 0 {
		return fmt.Errorf("bad permissions %s: write them in octal digits, such as 0660", hint.Quote(s))
	}
	if n&0o200 == 0 {
		return errors.New("nobody could connect: whoever connects needs the permission to write, as in 0660")
	}
	return nil
}

// Permissions are those of the socket of a listener with a unix socket.
func (l *Listener) Permissions() fs.FileMode { return permissions(l.SocketMode) }
