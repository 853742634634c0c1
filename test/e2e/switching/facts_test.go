//go:build linux

package switching

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// facts are what the test has to know of a file to run it: where clients connect, and
// which servers must be there. It is found with a few regular expressions, so that
// the importers' parsers don't check themselves.
type facts struct {
	Format    string // nginx or haproxy
	Text      string
	Listeners []listener
	Servers   map[string][]string // address by name of its group: an upstream, a backend, or itself
	Bodies    map[string]string   // what the file says of a group, by name
	Names     map[string]string   // addresses by name, for DNS
	Hints     map[string][]string // words of comments such as "# try paths: /a /b"
}

// listener is an address that a file listens on.
type listener struct {
	Address string // without an IP address if the file has none
	TLS     bool
	Proxied bool // clients send a PROXY header
}

func (l listener) dial() string {
	host, port, _ := net.SplitHostPort(l.Address)
	return net.JoinHostPort(cmp.Or(host, wildcardAddress), port)
}

func (l listener) String() string {
	scheme := "http"
	if l.TLS {
		scheme = "https"
	}
	return scheme + "://" + l.Address
}

// wildcardAddress is one that the test connects to for files that listen on all, and to
// which it restricts them if a server has the same port.
const wildcardAddress = "10.255.0.1"

var (
	nginxListen   = regexp.MustCompile(`(?m)^([^#\n]*\blisten\s+)([^\s;]+)([^;]*);`)
	nginxServer   = regexp.MustCompile(`(?m)(?:^|[;\s])server\s+([^\s;{]+)([^;{]*);`)
	nginxUpstream = regexp.MustCompile(`(?ms)^\s*upstream\s+(\S+)\s*\{(.*?)\}`)
	nginxPass     = regexp.MustCompile(`(?m)^[^#\n]*\bproxy_pass\s+(?:(https?)://)?([^/;\s$]+)[^;]*;`)
	haproxyBind   = regexp.MustCompile(`(?m)^(\s*bind\s+)(\S+)(.*)$`)
	haproxyServer = regexp.MustCompile(`(?m)^\s*server\s+\S+\s+(\S+)(.*)$`)
	haproxyPart   = regexp.MustCompile(`(?m)^(backend|listen)\s+(\S+)(.*\n(?:[ \t].*\n|\s*#.*\n|\n)*)`)
	hint          = regexp.MustCompile(`(?m)^\s*# try ([a-z]+): (.+)$`)
	// spare marks servers that get nothing as long as there are others.
	spare = regexp.MustCompile(`\b(backup|down|disabled|weight\s+0)\b`)
)

// read finds the facts of a file.
func read(format, text string) *facts {
	f := &facts{Format: format, Text: text, Servers: map[string][]string{}, Bodies: map[string]string{}, Names: map[string]string{}, Hints: map[string][]string{}}
	for _, m := range hint.FindAllStringSubmatch(text, -1) {
		f.Hints[m[1]] = append(f.Hints[m[1]], strings.Fields(m[2])...)
	}
	if format == "nginx" {
		f.readNginx()
	} else {
		f.readHAProxy()
	}
	for i := 0; i+1 < len(f.Hints["servers"]); i += 2 {
		f.server(f.Hints["servers"][i], f.Hints["servers"][i+1], "", "")
	}
	for i := range f.Listeners {
		f.Listeners[i].TLS = f.Listeners[i].TLS || len(f.Hints["tls"]) > 0
	}
	f.separate()
	return f
}

func (f *facts) readNginx() {
	for _, m := range nginxListen.FindAllStringSubmatch(f.Text, -1) {
		address := m[2]
		if !strings.Contains(address, ":") {
			if _, err := netip.ParseAddr(address); err == nil {
				address += ":80"
			} else {
				address = ":" + address
			}
		}
		f.listen(address, hasWord(m[3], "ssl"), hasWord(m[3], "proxy_protocol"))
	}
	upstreams := map[string]bool{}
	for _, m := range nginxUpstream.FindAllStringSubmatch(f.Text, -1) {
		upstreams[m[1]], f.Bodies[m[1]] = true, m[2]
		for _, s := range nginxServer.FindAllStringSubmatch(m[2], -1) {
			f.server(m[1], s[1], "80", s[2])
		}
	}
	for _, m := range nginxPass.FindAllStringSubmatch(f.Text, -1) {
		if at := m[2]; !upstreams[at] {
			f.server(at, at, map[bool]string{true: "443", false: "80"}[m[1] == "https"], "")
		}
	}
}

func (f *facts) readHAProxy() {
	for _, m := range haproxyBind.FindAllStringSubmatch(f.Text, -1) {
		for address := range strings.SplitSeq(m[2], ",") {
			host, port, _ := net.SplitHostPort(strings.TrimPrefix(address, "ipv4@"))
			if host == "*" || host == "0.0.0.0" || host == "::" {
				host = ""
			}
			f.listen(strings.Trim(net.JoinHostPort(host, port), "[]"), hasWord(m[3], "ssl"), hasWord(m[3], "accept-proxy"))
		}
	}
	for _, part := range haproxyPart.FindAllStringSubmatch(f.Text+"\n", -1) {
		f.Bodies[part[2]] = part[3]
		for _, s := range haproxyServer.FindAllStringSubmatch(part[3], -1) {
			f.server(part[2], s[1], "80", s[2])
		}
	}
}

func hasWord(text, word string) bool { return slices.Contains(strings.Fields(text), word) }

func (f *facts) listen(address string, tls, proxied bool) {
	if l := (listener{address, tls, proxied}); !strings.Contains(address, "[") && !strings.HasPrefix(address, "unix:") && !slices.Contains(f.Listeners, l) {
		f.Listeners = append(f.Listeners, l)
	}
}

// server adds a server to a group.
func (f *facts) server(group, address, port, options string) {
	if strings.HasPrefix(address, "unix:") {
		f.Servers[group] = append(f.Servers[group], strings.TrimSuffix(address, ":"))
		return
	}
	if strings.HasPrefix(address, `"`) || strings.Contains(address, "$") {
		return // a hint says which server that is
	}
	host := address
	if h, p, err := net.SplitHostPort(address); err == nil {
		host, port = h, p
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && f.Names[host] == "" {
		f.Names[host] = fmt.Sprintf("10.200.0.%d", len(f.Names)+1)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if spare.MatchString(options) {
		group += " (spare)"
	}
	address = net.JoinHostPort(cmp.Or(f.Names[host], host), port)
	if !slices.Contains(f.Servers[group], address) {
		f.Servers[group] = append(f.Servers[group], address)
	}
}

// addresses returns those of all servers.
func (f *facts) addresses() (all []string) {
	for _, servers := range f.Servers {
		all = append(all, servers...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// groups returns the groups that a server is in.
func (f *facts) groups(address string) (all []string) {
	for group, servers := range f.Servers {
		if slices.Contains(servers, address) {
			all = append(all, group)
		}
	}
	slices.Sort(all)
	return all
}

// separate restricts listeners to an address if servers have the same port: on real
// networks these are other machines.
func (f *facts) separate() {
	clash := func(l listener) bool {
		return strings.HasPrefix(l.Address, ":") && slices.ContainsFunc(f.addresses(), func(a string) bool { return strings.HasSuffix(a, l.Address) })
	}
	for i, l := range f.Listeners {
		if !clash(l) {
			continue
		}
		port := l.Address
		at := wildcardAddress + port
		replace := func(pattern *regexp.Regexp) {
			f.Text = pattern.ReplaceAllStringFunc(f.Text, func(line string) string {
				m := pattern.FindStringSubmatch(line)
				if w := m[2]; w == port || w == port[1:] || w == "*"+port || w == "0.0.0.0"+port {
					return m[1] + at + m[3] + map[bool]string{true: ";"}[f.Format == "nginx"]
				}
				return line
			})
		}
		if f.Format == "nginx" {
			replace(nginxListen)
		} else {
			replace(haproxyBind)
		}
		f.Listeners[i].Address = at
	}
}
