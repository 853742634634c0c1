package haproxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/internal/wire/origin"
)

// listener is one address of a bind.
type listener struct {
	config config.Listener
	line   *syntax.Line
	tls    bool
	port   uint16
	ip     netip.Addr
}

// maxPorts bounds the ports of a range.
const maxPorts = 64

// bindOptions are the words of a bind and how many arguments each has. The rest of the
// text is as in requestActions; "" has an effect.
var bindOptions = map[string]struct {
	args int
	why  string
}{
	"ssl": {0, ""}, "crt": {1, ""}, "crt-list": {1, ""}, "alpn": {1, ""}, "npn": {1, ""}, "accept-proxy": {0, ""}, "ca-file": {1, ""}, "verify": {1, ""}, "name": {1, ""}, "maxconn": {1, ""},
	"mode": {1, ""}, "ssl-min-ver": {1, ""}, "strict-sni": {0, ""}, "no-tlsv12": {0, ""}, "force-tlsv13": {0, ""}, "v6only": {0, ""}, "interface": {1, ""}, "crl-file": {1, "!revocation lists aren't read: use certificates that are valid for a short time"},
	"ca-verify-file": {1, "!name all authorities in ca-file"}, "ca-sign-file": {1, "!certificates aren't made up"}, "ca-sign-pass": {1, "!certificates aren't made up"}, "generate-certificates": {0, "!certificates aren't made up"}, "accept-netscaler-cip": {1, "!this protocol isn't spoken: use accept-proxy"},
	"transparent": {0, "!holdfast connects to backends only"}, "namespace": {1, "!network namespaces aren't entered: run holdfast in it"}, "ca-ignore-err": {1, "~clients whose certificate isn't valid are refused"}, "crt-ignore-err": {1, "~clients whose certificate isn't valid are refused"},
	"v4v6": {0, alwaysSo}, "tfo": {0, noTuning}, "backlog": {1, noTuning}, "mss": {1, noTuning}, "nice": {1, noTuning}, "process": {1, noTuning}, "thread": {1, noTuning}, "shards": {1, noTuning}, "level": {1, noTuning}, "id": {1, noTuning}, "guid-prefix": {1, noTuning}, "idle-ping": {1, noTuning},
	"defer-accept": {0, noTuning}, "tcp-ut": {1, noTuning}, "severity-output": {1, noTuning}, "expose-fd": {1, noTuning}, "ciphers": {1, ownCiphers}, "ciphersuites": {1, ownCiphers}, "curves": {1, ownCiphers}, "ecdhe": {1, ownCiphers}, "sigalgs": {1, ownCiphers}, "client-sigalgs": {1, ownCiphers},
	"no-sslv3": {0, alwaysSo}, "no-tlsv10": {0, alwaysSo}, "no-tlsv11": {0, alwaysSo}, "force-tlsv12": {0, "~TLS 1.3 is spoken, too"}, "no-tlsv13": {0, "~TLS 1.3 is spoken, too"}, "force-tlsv10": {0, "~TLS is 1.2 at least"}, "force-tlsv11": {0, "~TLS is 1.2 at least"}, "force-sslv3": {0, "~TLS is 1.2 at least"},
	"ssl-max-ver": {1, "~the latest version of TLS is spoken, too"}, "no-tls-tickets": {0, "~session tickets are used, with keys that change"}, "tls-ticket-keys": {1, "~the keys of tickets change by themselves; to share them write tls.ticket_secret"}, "allow-0rtt": {0, "~requests before the handshake is over aren't accepted"},
	"prefer-client-ciphers": {0, ownCiphers}, "no-alpn": {0, ""}, "no-strict-sni": {0, alwaysSo}, "no-ca-names": {0, noTuning}, "ocsp-update": {1, "~OCSP responses aren't stapled"}, "proto": {1, ""}, "user": {1, ""}, "group": {1, ""}, "uid": {1, ""}, "gid": {1, ""}, "quic-force-retry": {0, noTuning}, "quic-socket": {1, noTuning}, "quic-cc-algo": {1, noTuning},
	"cc": {1, noTuning}, "default-crt": {1, ""}, "renegotiate": {0, noTuning}, "tls-tickets": {0, alwaysSo}, "ecdsa": {0, alwaysSo}, "ktls": {1, noTuning}, "label": {1, noTuning},
}

const ownCiphers = "Go's TLS chooses ciphers and curves that are safe"

// bindWords are the words of a bind after its address, with their arguments.
type bindWords map[string][]string

func (m *imp) readBindWords(l *syntax.Line, words []string) (bindWords, bool) {
	w := bindWords{}
	for i := 0; i < len(words); i++ {
		o, ok := bindOptions[words[i]]
		switch {
		case !ok:
			var names []string
			for name := range bindOptions {
				names = append(names, name)
			}
			slices.Sort(names)
			m.fail(l, "unknown word %s%s", hint.Quote(words[i]), hint.DidYouMean(words[i], names))
			return nil, false
		case i+o.args >= len(words):
			m.fail(l, "%s wants an argument", words[i])
			return nil, false
		case strings.HasPrefix(o.why, "!"):
			m.refuse(l, "%s: %s", words[i], o.why[1:])
		case strings.HasPrefix(o.why, "~"):
			m.differ(l, "", "%s: %s", words[i], o.why[1:])
		}
		arg := ""
		if o.args > 0 {
			arg = words[i+1]
		}
		w[words[i]] = append(w[words[i]], arg)
		i += o.args
	}
	return w, true
}

func (w bindWords) has(name string) bool { return w[name] != nil }
func (w bindWords) last(name string) string {
	if list := w[name]; len(list) > 0 {
		return list[len(list)-1]
	}
	return ""
}

// readBind adds the listeners of a line.
func (m *imp) readBind(p *proxy, l *syntax.Line) {
	if l.Arg(1) == "" {
		m.fail(l, "bind wants an address such as :80")
		return
	}
	w, ok := m.readBindWords(l, l.Args(2))
	if !ok {
		return
	}
	tls, ok := m.bindTLS(p, l, w)
	if !ok {
		return
	}
	for _, text := range strings.Split(l.Arg(1), ",") {
		list, err := addresses(text, w.has("v6only"))
		if err != "" {
			if strings.HasPrefix(err, "~") {
				m.differ(l, "", "%s", err[1:])
			} else {
				m.refuse(l, "%s", err)
			}
			continue
		}
		for _, a := range list {
			m.addListener(p, l, w, a, tls)
		}
	}
}

// addresses reads "*:80", "[::]:8000-8003" or "unix@/path".
func addresses(text string, onlyIPv6 bool) (list []hostport.Address, err string) {
	if kind, rest, ok := strings.Cut(text, "@"); ok {
		switch kind {
		case "unix":
			text = rest
			if !strings.HasPrefix(text, "/") {
				return nil, "the path of a unix socket begins with a slash"
			}
		case "ipv4", "ipv6", "tcp", "tcp4", "tcp6":
			text = rest
			if host, port, ok := cutPort(text); ok && (host == "" || host == "*") {
				if text = "0.0.0.0:" + port; strings.HasSuffix(kind, "6") {
					text = "[::]:" + port
				}
			}
		case "quic4", "quic6", "quic+fd":
			return nil, "~HTTP/3 isn't spoken: clients use HTTP/2"
		default:
			return nil, fmt.Sprintf("addresses of the kind %s aren't known here", hint.Quote(kind))
		}
	}
	if strings.HasPrefix(text, "/") {
		a, bad := hostport.ParseListen("unix:"+text, "")
		if bad != nil {
			return nil, bad.Error()
		}
		return []hostport.Address{a}, ""
	}
	host, ports, ok := cutPort(text)
	if !ok {
		return nil, fmt.Sprintf("the address %s has no port", hint.Quote(text))
	}
	low, high, ranged := strings.Cut(ports, "-")
	from, err1 := strconv.ParseUint(low, 10, 16)
	to := from
	var err2 error
	if ranged {
		to, err2 = strconv.ParseUint(high, 10, 16)
	}
	switch {
	case err1 != nil || err2 != nil || from == 0 || to < from:
		return nil, fmt.Sprintf("%s isn't a port", hint.Quote(ports))
	case to-from >= maxPorts:
		return nil, fmt.Sprintf("a range of more than %d ports: list those that are used", maxPorts)
	case onlyIPv6:
		return nil, "a listener for IPv6 alone: give it an address of its own"
	}
	switch host {
	case "*", "":
		host = "0.0.0.0" // HAProxy's, without v4v6 on [::]
	case "::":
		host = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	for port := from; port <= to; port++ {
		a, bad := hostport.ParseListen(fmt.Sprintf("%s:%d", host, port), ":80")
		if bad != nil {
			return nil, bad.Error()
		}
		list = append(list, a)
	}
	return list, ""
}

// cutPort cuts "host:port" at the last colon, and takes the brackets off the host.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	host, port = s[:i], s[i+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	return host, port, true
}

func (m *imp) addListener(p *proxy, l *syntax.Line, w bindWords, a hostport.Address, tls *config.ListenerTLS) {
	if a.Path == "" && (a.HostString() == "" || a.IP == netip.IPv4Unspecified()) {
		for _, other := range p.listeners { // *:80 and [::]:80 are one
			if o := &other.config.Address; o.Port == a.Port && o.Path == "" && (o.HostString() == "" || o.IP == netip.IPv4Unspecified()) {
				if a.HostString() == "" {
					*o, other.ip = a, a.IP
				}
				m.carry(l, "")
				return
			}
		}
	}
	n := &listener{line: l, tls: tls != nil, port: a.Port, ip: a.IP}
	c := &n.config
	c.Address = a
	if c.Name = w.last("name"); c.Name == "" || m.names[c.Name] {
		c.Name = p.name
		for i := 2; m.names[c.Name]; i++ {
			c.Name = fmt.Sprintf("%s-%d", p.name, i)
		}
	}
	m.names[c.Name] = true
	if tls != nil {
		own := *tls
		c.TLS = &own
	}
	if !p.tcp() {
		c.Origins = &config.Origins{Allow: []origin.Pattern{origin.Any}}
	}
	if w.has("accept-proxy") {
		c.ProxyProtocol = &config.ProxyProtocol{Trust: []config.Peer{{Network: netip.MustParsePrefix("0.0.0.0/0")}, {Network: netip.MustParsePrefix("::/0")}}}
		if a.Path != "" {
			c.ProxyProtocol.Trust = []config.Peer{{}}
		} else {
			m.differ(l, "", "anyone can claim any address, as with HAProxy: name the proxies in front in proxy_protocol.trust")
		}
	}
	if a.Path != "" {
		c.SocketMode = w.last("mode")
		if w.has("user") || w.has("group") || w.has("uid") || w.has("gid") {
			m.differ(l, "", "the socket belongs to the user that holdfast runs as")
		}
	}
	if w.has("interface") {
		m.refuse(l, "a listener isn't bound to an interface: give it the address of that interface")
	}
	if w.last("proto") == "h2" {
		m.differ(l, "", "HTTP/2 without TLS isn't spoken")
	}
	for _, limit := range []struct {
		line  *syntax.Line
		value string
	}{{p.one["maxconn"], p.one["maxconn"].Arg(1)}, {l, w.last("maxconn")}} {
		if limit.line == nil || limit.value == "" {
			continue
		}
		if n, err := strconv.Atoi(limit.value); err != nil || n < 0 {
			m.fail(limit.line, "maxconn wants a number")
		} else if n > 0 {
			c.MaxSessions = min(n, 100_000_000)
			m.differ(limit.line, "", "it holds for each listener, and connections above it are refused instead of waiting")
		}
	}
	p.listeners = append(p.listeners, n)
}
