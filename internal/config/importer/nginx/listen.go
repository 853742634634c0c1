package nginx

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// socket is an address that servers listen on. Of the servers of one socket, the name
// that a request asks for chooses one.
type socket struct {
	address  hostport.Address
	from     *syntax.Directive // the first listen
	listens  []*syntax.Directive
	servers  []*server
	fallback *server // for other names
	explicit bool    // it is marked as default_server

	ssl, http2, proxyProtocol, v6only bool

	index     int       // in Config.Listeners
	certified []*server // those that need a certificate of the client, on a socket with others
}

// port is the port of a TCP socket, 0 for others.
func (s *socket) port() int { return int(s.address.Port) }

// parseListen reads the address of a listen. Wildcards have no host, or the unspecified
// address of IPv6.
func parseListen(s string) (hostport.Address, error) {
	bad := fmt.Errorf("bad address %s: write for example 80, 127.0.0.1:8080 or [::]:80", hint.Quote(s))
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return hostport.ParseListen("unix:"+path, "unix:/run/holdfast.sock")
	}
	host, port := s, "80"
	switch i := strings.LastIndexByte(s, ':'); {
	case strings.Trim(s, "0123456789") == "" && s != "":
		host, port = "*", s
	case i >= 0 && !strings.HasSuffix(s, "]"):
		host, port = s[:i], s[i+1:]
	}
	if from, to, ranged := strings.Cut(port, "-"); ranged && from != to {
		return hostport.Address{}, fmt.Errorf("a range of ports can't be listened on: write a listen for each of %s", hint.Quote(port))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil || port == "0" {
		return hostport.Address{}, bad
	}
	if host == "*" {
		host = "0.0.0.0"
	}
	a, err := hostport.ParseListen(host+":"+port, "127.0.0.1:8080")
	if err != nil {
		return a, bad
	}
	return a, nil
}

// sockets makes the sockets of all servers of http.
func (cv *converter) sockets(servers []*server) []*socket {
	var list []*socket
	find := map[string]*socket{}
	for _, s := range servers {
		listens := s.lv.own("listen")
		if len(listens) == 0 {
			listens = []*syntax.Directive{{Pos: s.d.Pos, Name: "listen", Args: []string{"80"}}}
		}
		for _, d := range listens {
			if len(d.Args) == 0 {
				cv.refuse(d, "the address is missing: write for example 80")
				continue
			}
			a, err := parseListen(d.Args[0])
			if err != nil {
				cv.refuse(d, err.Error())
				continue
			}
			if slices.Contains(d.Args, "quic") || slices.Contains(d.Args, "http3") {
				cv.differ(d, "holdfast doesn't speak HTTP/3: clients use HTTP/2 or HTTP/1.1")
				continue
			}
			k := find[a.String()]
			if k == nil {
				k = &socket{address: a, from: d, v6only: true}
				find[a.String()] = k
				list = append(list, k)
			}
			k.listens = append(k.listens, d)
			cv.listenOptions(k, s, d)
			if !slices.Contains(k.servers, s) {
				k.servers = append(k.servers, s)
			}
		}
	}
	return cv.oneFamily(cv.overlaps(list))
}

// listenOptions reads what follows the address.
func (cv *converter) listenOptions(k *socket, s *server, d *syntax.Directive) {
	cv.carry(d)
	if k.fallback == nil {
		k.fallback = s
	}
	if cv.on(s.lv, "ssl") && s.lv.is("ssl", "on") {
		k.ssl = true
	}
	for _, arg := range d.Args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "default_server", "default":
			if !k.explicit {
				k.fallback, k.explicit = s, true
			}
		case "ssl":
			k.ssl = true
		case "http2", "spdy":
			k.http2 = true
		case "proxy_protocol":
			k.proxyProtocol = true
		case "ipv6only":
			k.v6only = value != "off"
		case "reuseport", "backlog", "deferred", "bind", "so_keepalive", "fastopen", "rcvbuf", "sndbuf", "setfib", "multipath":
		case "accept_filter":
		case "udp":
			cv.refuse(d, "holdfast passes on connections of TCP and unix sockets, no UDP")
		default:
			cv.refuse(d, fmt.Sprintf("unknown parameter %s%s", hint.Quote(arg), hint.DidYouMean(name, listenWords)))
		}
	}
	if s.lv.is("http2", "on") {
		k.http2 = true
	}
}

var listenWords = []string{"default_server", "ssl", "http2", "proxy_protocol", "ipv6only", "reuseport", "backlog", "deferred", "bind", "so_keepalive", "fastopen"}

// on carries over a directive of on and off.
func (cv *converter) on(l *level, name string) bool {
	d := l.one(name)
	if d != nil {
		cv.carry(d)
	}
	return d != nil && d.Args[0] == "on"
}

// overlaps refuses sockets of one address beside one for all addresses: nginx chooses
// the server by the address that a client has connected to.
func (cv *converter) overlaps(list []*socket) []*socket {
	wild := map[uint16]*socket{}
	for _, k := range list {
		if k.address.Path == "" && k.address.IP.IsUnspecified() {
			wild[k.address.Port] = k
		}
	}
	return slices.DeleteFunc(list, func(k *socket) bool {
		all := wild[k.address.Port]
		if all == nil || k.address.Path != "" || k.address.IP.IsUnspecified() {
			return false
		}
		if sameServers(k, all) {
			cv.skip(k.from, "the port of all addresses is listened on already")
			return true
		}
		cv.refuse(k.from, fmt.Sprintf("the port of all addresses is listened on, too (line %s), and holdfast doesn't tell them apart: use another port, or the name of the server", lineOf(all.from)))
		return true
	})
}

func sameServers(a, b *socket) bool {
	return slices.Equal(a.servers, b.servers) && a.fallback == b.fallback
}

// oneFamily joins 0.0.0.0:80 and [::]:80, which are one listener of holdfast.
func (cv *converter) oneFamily(list []*socket) []*socket {
	v4 := map[uint16]*socket{}
	for _, k := range list {
		if k.address.IP == netip.IPv4Unspecified() {
			v4[k.address.Port] = k
		}
	}
	joined := slices.DeleteFunc(slices.Clone(list), func(k *socket) bool {
		if k.address.Path != "" || k.address.IP != netip.IPv6Unspecified() {
			return false
		}
		other := v4[k.address.Port]
		if other == nil {
			k.address = hostport.Address{Port: k.address.Port}
			if k.v6only {
				cv.differ(k.from, "clients with IPv4 can connect, too: write an address of this machine if they shouldn't")
			}
			return false
		}
		if !sameServers(k, other) {
			cv.differ(k.from, fmt.Sprintf("one listener serves IPv4 and IPv6: the default server is that of IPv4 (line %s), and all servers of the port have both", lineOf(other.from)))
		}
		other.address = hostport.Address{Port: k.address.Port}
		other.listens = append(other.listens, k.listens...)
		for _, s := range k.servers {
			if !slices.Contains(other.servers, s) {
				other.servers = append(other.servers, s)
			}
		}
		other.ssl, other.http2, other.proxyProtocol = other.ssl || k.ssl, other.http2 || k.http2, other.proxyProtocol || k.proxyProtocol
		return true
	})
	return joined
}

// listener makes the listener of a socket.
func (cv *converter) listener(k *socket) *config.Listener {
	k.index = len(cv.c.Listeners)
	p := config.Path("listeners").Index(k.index)
	l := config.Listener{Address: k.address, Name: k.address.String(), Origins: anyOrigin()}
	for _, d := range k.listens {
		cv.carry(d).at(p)
	}
	cv.r.Locate(p, place(k.from.Pos))
	cv.c.Listeners = append(cv.c.Listeners, l)
	return &cv.c.Listeners[k.index]
}

func lineOf(d *syntax.Directive) string { return strconv.Itoa(d.Line) }
