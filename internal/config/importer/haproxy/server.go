package haproxy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// serverOptions are the words of a server, as bindOptions are those of a bind.
var serverOptions = map[string]struct {
	args int
	why  string
}{
	"check": {0, ""}, "inter": {1, ""}, "fall": {1, ""}, "rise": {1, ""}, "weight": {1, ""}, "backup": {0, ""}, "disabled": {0, ""}, "enabled": {0, ""}, "maxconn": {1, ""}, "cookie": {1, ""}, "ssl": {0, ""}, "verify": {1, ""}, "ca-file": {1, ""},
	"crt": {1, ""}, "sni": {1, ""}, "verifyhost": {1, ""}, "send-proxy": {0, ""}, "send-proxy-v2": {0, ""}, "send-proxy-v2-ssl": {0, ""}, "send-proxy-v2-ssl-cn": {0, ""}, "slowstart": {1, ""}, "agent-check": {0, ""}, "agent-port": {1, ""}, "agent-send": {1, ""}, "agent-inter": {1, ""},
	"agent-addr": {1, "~the agent is asked at the address of the server"}, "port": {1, ""}, "addr": {1, ""}, "on-marked-down": {1, ""}, "check-ssl": {0, ""}, "resolvers": {1, ""}, "init-addr": {1, "names are looked up again by themselves, and a name that isn't found leaves the backend down"}, "resolve-prefer": {1, "IPv4 addresses are preferred if this machine has them"},
	"resolve-net": {1, noTuning}, "resolve-opts": {1, noTuning}, "fastinter": {1, "~checks are made at one interval"}, "downinter": {1, "~checks are made at one interval"}, "on-marked-up": {1, "~sessions of backups stay when another backend comes back"}, "on-error": {1, "~handshakes that fail count by health.max_fails"}, "observe": {1, "~handshakes that fail count by health.max_fails"},
	"error-limit": {1, "~handshakes that fail count by health.max_fails"}, "id": {1, noTuning}, "guid": {1, noTuning}, "track": {1, "~each backend is checked by itself"}, "namespace": {1, "!network namespaces aren't entered: run holdfast in it"}, "source": {1, "~the system chooses the address that backends see"}, "usesrc": {1, "!backends see the balancer's address: tell them the client's with send-proxy-v2"},
	"interface": {1, noTuning}, "tfo": {0, noTuning}, "pool-max-conn": {1, noTuning}, "pool-purge-delay": {1, noTuning}, "pool-low-conn": {1, noTuning}, "pool-conn-name": {1, noTuning}, "tcp-ut": {1, noTuning}, "tcp-md5sig": {1, "!TCP connections aren't signed"}, "max-reuse": {1, noTuning}, "minconn": {1, "~the limit doesn't depend on the load: maxconn counts"}, "maxqueue": {1, "~sessions don't wait for a place at a backend"}, "proto": {1, "~backends are spoken to by HTTP/1.1"}, "check-proto": {1, noTuning}, "ws": {1, alwaysSo},
	"alpn": {1, "~backends are spoken to by HTTP/1.1"}, "npn": {1, noTuning}, "check-alpn": {1, noTuning}, "check-sni": {1, "~checks ask for the same name as sessions"}, "check-send-proxy": {0, "checks speak the PROXY protocol where sessions do"}, "check-via-socks4": {0, "!SOCKS isn't spoken"}, "socks4": {1, "!SOCKS isn't spoken"}, "redir": {1, "!backends are connected to: write redirect prefix"},
	"crl-file": {1, "!revocation lists aren't read: use certificates that are valid for a short time"}, "ciphers": {1, ownCiphers}, "ciphersuites": {1, ownCiphers}, "curves": {1, ownCiphers}, "sigalgs": {1, ownCiphers}, "client-sigalgs": {1, ownCiphers}, "ssl-min-ver": {1, "TLS is 1.2 at least"}, "ssl-max-ver": {1, "~the latest version of TLS is spoken, too"}, "force-tlsv12": {0, "~TLS 1.3 is spoken, too"}, "force-tlsv13": {0, "TLS is 1.2 at least"}, "force-tlsv10": {0, "~TLS is 1.2 at least"}, "force-tlsv11": {0, "~TLS is 1.2 at least"}, "force-sslv3": {0, "~TLS is 1.2 at least"},
	"ssl-reuse": {0, alwaysSo}, "tls-tickets": {0, alwaysSo}, "allow-0rtt": {0, "~requests before the handshake is over aren't sent"}, "non-stick": {0, "~affinity holds for all backends of a pool alike"}, "stick": {0, alwaysSo}, "log-proto": {1, noTuning}, "shard": {1, noTuning}, "set-proxy-v2-tlv-fmt": {1, "~no more than usual is in the header"}, "proxy-v2-options": {1, "the header has all that is known of TLS"}, "hash-key": {1, "~a backend's place in the hash is by its name"}, "log-bufsize": {1, noTuning}, "cc": {1, noTuning}, "pool-idle": {1, noTuning}, "strict-maxconn": {0, noTuning}, "init-state": {1, noTuning}, "healthcheck": {1, noTuning}, "agent-": {0, noTuning}, "renegotiate": {0, noTuning}, "check-reuse-pool": {0, noTuning},
}

// server is one server of a backend with its words and those of default-server.
type server struct {
	name, address string
	line          *syntax.Line
	words         map[string]string
	template      string // the number of servers, of a server-template
}

func (s *server) has(word string) bool { _, ok := s.words[word]; return ok }

// serverWords adds words to those that are there.
func (m *imp) serverWords(l *syntax.Line, args []string, words map[string]string) bool {
	for i := 0; i < len(args); i++ {
		word := args[i]
		if off, ok := strings.CutPrefix(word, "no-"); ok {
			if _, known := serverOptions[off]; known || strings.HasPrefix(off, "ssl") || strings.HasPrefix(off, "tls") {
				delete(words, off)
				continue
			}
		}
		o, ok := serverOptions[word]
		switch {
		case !ok:
			var names []string
			for name := range serverOptions {
				names = append(names, name)
			}
			slices.Sort(names)
			m.fail(l, "unknown word %s%s", hint.Quote(word), hint.DidYouMean(word, names))
			return false
		case i+o.args >= len(args):
			m.fail(l, "%s wants an argument", word)
			return false
		case strings.HasPrefix(o.why, "!"):
			m.refuse(l, "%s: %s", word, o.why[1:])
		case strings.HasPrefix(o.why, "~"):
			m.differ(l, "", "%s: %s", word, o.why[1:])
		}
		words[word] = ""
		if o.args > 0 {
			words[word] = args[i+1]
			i++
		}
		if word == "enabled" {
			delete(words, "disabled")
		}
	}
	return true
}

// servers reads those of a backend.
func (m *imp) servers(be *proxy) (list []*server) {
	defaults := map[string]string{}
	for _, l := range be.settings.servers {
		if m.serverWords(l, l.Args(1), defaults) {
			m.carry(l, "")
		}
	}
	if l := be.one["dispatch"]; l != nil {
		list = append(list, &server{name: "dispatch", address: l.Arg(1), line: l, words: map[string]string{}})
	}
	names := map[string]*syntax.Line{}
	for _, l := range be.serverLines {
		s := &server{line: l, words: map[string]string{}}
		rest := 3
		if s.name, s.address = l.Arg(1), l.Arg(2); l.Arg(0) == "server-template" {
			s.template, s.address = l.Arg(2), l.Arg(3)
			rest = 4
		}
		if s.address == "" {
			m.fail(l, "%s wants a name and an address", l.Arg(0))
			continue
		}
		if before := names[s.name]; before != nil && s.template == "" {
			m.fail(l, "there is another server %s, in line %d", hint.Quote(s.name), before.Num)
			continue
		}
		names[s.name] = l
		for word, arg := range defaults {
			s.words[word] = arg
		}
		if m.serverWords(l, l.Args(rest), s.words) {
			list = append(list, s)
		}
	}
	return list
}

// backendAddress reads the address of a server. port is what a missing one becomes.
func (m *imp) backendAddress(s *server, be *proxy) (a hostport.Address, ok bool) {
	text := s.address
	if kind, rest, ok := strings.Cut(text, "@"); ok {
		switch kind {
		case "unix":
			text = rest
		case "ipv4", "ipv6", "tcp", "tcp4", "tcp6":
			text = rest
		default:
			m.refuse(s.line, "addresses of the kind %s aren't known here", hint.Quote(kind))
			return a, false
		}
	}
	if strings.HasPrefix(text, "/") {
		a, err := hostport.ParseBackend("unix:" + text)
		if err != nil {
			m.refuse(s.line, "%v", err)
		}
		return a, err == nil
	}
	host, port, cut := cutPort(text)
	if !cut || port == "" {
		if port = m.onlyPort(be); port == "" {
			m.refuse(s.line, "the server has no port: write which one it listens on")
			return a, false
		}
		m.differ(s.line, "", "the port is that of the listener, %s", port)
	}
	if strings.HasPrefix(port, "+") || strings.HasPrefix(port, "-") {
		m.refuse(s.line, "the port depends on the one that clients connect to: write which one it listens on")
		return a, false
	}
	if host == "" || host == "*" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	a, err := hostport.ParseBackend(host + ":" + port)
	if err != nil {
		m.refuse(s.line, "%v", err)
	}
	return a, err == nil
}

// onlyPort is the port of all listeners, "" if they differ.
func (m *imp) onlyPort(be *proxy) string {
	port := ""
	for _, p := range m.order {
		for _, n := range p.listeners {
			text := strconv.Itoa(int(n.port))
			if !p.front || port != "" && port != text || n.port == 0 {
				return ""
			}
			port = text
		}
	}
	return port
}

// backends adds the servers of a backend to its pool.
func (m *imp) backendsOf(be *proxy, pool *config.Pool, list []*server, path config.Path) {
	seen := map[string]int{}
	for _, s := range list {
		if s.template != "" || strings.HasPrefix(s.address, "_") {
			m.discover(be, pool, s, path)
			continue
		}
		if s.has("disabled") {
			m.differ(s.line, "", "it is left out, since it is disabled")
			continue
		}
		b := config.Backend{Name: s.name}
		b.SetDefaults()
		var ok bool
		if b.Address, ok = m.backendAddress(s, be); !ok {
			continue
		}
		if w, given := s.words["weight"]; given {
			n, err := strconv.Atoi(w)
			switch {
			case err != nil || n < 0 || n > 256:
				m.fail(s.line, "weight is a number from 0 to 256")
				continue
			case n == 0:
				m.differ(s.line, "", "it is left out, since its weight is 0")
				continue
			}
			b.Weight = n
		}
		b.Backup = s.has("backup")
		if n, err := strconv.Atoi(s.words["maxconn"]); err == nil && n > 0 {
			b.MaxSessions = n
			m.differ(s.line, "", "maxconn counts sessions, and above it another backend is asked instead of waiting")
		}
		at := path.Key("backends").Index(len(pool.Backends))
		if i, twice := seen[b.Address.String()]; twice {
			pool.Backends[i].Weight = min(pool.Backends[i].Weight+b.Weight, 256)
			m.differ(s.line, "", "it has the address of another server, which gets its weight, too")
			continue
		}
		seen[b.Address.String()] = len(pool.Backends)
		if port, err := strconv.Atoi(s.words["port"]); err == nil && port > 0 && port < 1<<16 {
			b.HealthPort = port
		}
		if s.has("addr") {
			m.differ(s.line, "", "it is checked at its own address")
		}
		m.locate(at, s.line)
		m.carry(s.line, at)
		pool.Backends = append(pool.Backends, b)
	}
}

// discover finds the backends of a server-template by DNS.
func (m *imp) discover(be *proxy, pool *config.Pool, s *server, path config.Path) {
	if pool.DNS != nil {
		m.refuse(s.line, "a pool is found by one name in DNS: make a backend of each")
		return
	}
	d := new(config.DNS)
	d.SetDefaults()
	host, port, ok := cutPort(s.address)
	d.Name = host
	if strings.HasPrefix(host, "_") {
		d.Type = "srv"
	} else {
		n, err := strconv.Atoi(port)
		if !ok || err != nil {
			m.refuse(s.line, "the servers have no port: write which one they listen on")
			return
		}
		d.Type, d.Port = "a", n
		d.Family = map[string]string{"ipv4": "ipv4", "ipv6": "ipv6"}[s.words["resolve-prefer"]]
		if d.Family == "" {
			d.Family = "auto"
		}
	}
	if r := m.resolvers[s.words["resolvers"]]; r != nil {
		for _, l := range r.Lines {
			if a, err := hostport.Parse(strings.TrimPrefix(l.Arg(2), "udp@")); l.Arg(0) == "nameserver" && err == nil && d.Server.IsZero() && a.IP.IsValid() {
				d.Server = a
				m.marks[l] = nil
				delete(m.marks, l)
				m.carry(l, path.Key("dns").Key("server"))
			}
			if t, err := parseTime(l.Arg(2), time.Millisecond); l.Arg(0) == "hold" && l.Arg(1) == "valid" && err == nil && t >= time.Second && t <= time.Hour {
				d.Refresh = t
				delete(m.marks, l)
				m.carry(l, path.Key("dns").Key("refresh"))
			}
		}
	} else if name := s.words["resolvers"]; name != "" {
		m.fail(s.line, "there is no resolvers section %s", hint.Quote(name))
	}
	pool.DNS = d
	m.locate(path.Key("dns"), s.line)
	m.carry(s.line, path.Key("dns"))
	if s.template != "" {
		m.differ(s.line, path.Key("dns"), "all servers that the name has are used, and not %s at most", s.template)
	}
	if n, err := strconv.Atoi(s.words["maxconn"]); err == nil && n > 0 {
		m.differ(s.line, "", "backends that are found have no limit: see max_sessions of the pool")
	}
}

// common is the value that a word has for all servers; the first one's, if it differs.
func (m *imp) common(list []*server, word, what string, guard bool) (value string, from *server) {
	for _, s := range list {
		if s.has("disabled") {
			continue
		}
		v, has := s.words[word]
		switch {
		case from == nil:
			value, from = v, s
			if !has {
				value = "\x00"
			}
		case has == (value != "\x00") && (v == value || !has):
		case guard:
			m.refuse(s.line, "%s differs from that of the first server: make another backend of it", what)
		default:
			m.differ(s.line, "", "%s is that of the first server", what)
		}
	}
	if value == "\x00" {
		return "", nil
	}
	return value, from
}

// duration is a time in a word of a server; 0 if there is none.
func (m *imp) duration(s *server, word string) time.Duration {
	text, ok := s.words[word]
	if !ok {
		return 0
	}
	d, err := parseTime(text, time.Millisecond)
	if err != nil {
		m.fail(s.line, "%v", err)
		return 0
	}
	return d
}

func (m *imp) number(s *server, word string) int {
	text, ok := s.words[word]
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		m.fail(s.line, "%s wants a number, got %s", word, hint.Quote(text))
		return 0
	}
	return n
}
