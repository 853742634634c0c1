package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// DNS finds a pool's backends by a name that is asked again and again.
type DNS struct {
	Name string // in lower case
	Type string // "srv" or "a"
	Port int    // with "a", that of every backend, 1 to 65535; with "srv" 0
	// Refresh is how often to ask at least, 1s to 1h.
	Refresh time.Duration
	// Server is the "host:port" to ask; "" is what the system asks.
	Server string
}

const (
	minRefresh = time.Second
	maxRefresh = time.Hour
)

type dnsDraft struct {
	DNS
	kind located[string]
	port located[int] // ok tells that it was given, be it a wrong one
}

func readDNS(d *decoder, n *yaml.Node, p *poolDraft) {
	p.sourced = true
	q := dnsDraft{DNS: DNS{Refresh: 10 * time.Second}, kind: located[string]{value: "srv", ok: true}}
	misspelt, ok := readMapping(d, n, "a mapping with name and type", d.at(n), dnsKeys, &q)
	switch {
	case !ok || !q.kind.ok || slices.Contains(misspelt, "type"):
	case q.kind.value == "srv" && q.port.ok:
		d.fail(q.port.at, "SRV records have the ports in them: leave port out, or write type: a to ask for addresses only")
	case q.kind.value == "a" && !q.port.ok && !slices.Contains(misspelt, "port"):
		d.fail(q.kind.at, "type a finds addresses without ports: add port: with the one the backends listen on")
	}
	q.Type, q.Port = q.kind.value, q.port.value
	p.dns = &q.DNS
}

var dnsKeys = []key[dnsDraft]{
	{name: "name", missing: "there is no name to ask for: write for example name: _ws._tcp.chat.internal", read: func(d *decoder, n *yaml.Node, q *dnsDraft) {
		d.parsed(n, &q.Name, "a name such as _ws._tcp.chat.internal", parseDNSName)
	}},
	{name: "type", read: func(d *decoder, n *yaml.Node, q *dnsDraft) {
		q.kind.at, q.kind.ok = d.at(n), d.choice(n, &q.kind.value, "srv", "a")
	}},
	{name: "port", read: func(d *decoder, n *yaml.Node, q *dnsDraft) {
		q.port.at, q.port.ok = d.at(n), true
		d.integer(n, &q.port.value, 1, 65535)
	}},
	{name: "refresh", read: func(d *decoder, n *yaml.Node, q *dnsDraft) {
		d.durationWithin(n, &q.Refresh, false, minRefresh, maxRefresh)
	}},
	{name: "server", read: func(d *decoder, n *yaml.Node, q *dnsDraft) {
		d.parsed(n, &q.Server, "an address such as 10.0.0.2:53", parseDNSServer)
	}},
}

// parseDNSName checks a name to ask for. It comes back in lower case.
func parseDNSName(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad name %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return bad("an address needs no DNS, list it under backends")
	}
	if strings.Contains(s, "://") {
		return bad("write just the name, without scheme and path")
	}
	if name, _, ok := strings.Cut(s, ":"); ok {
		return bad("write it without a port: %s", quote(name))
	}
	if err := checkHostname(s); err != nil {
		return bad("%v", err)
	}
	return strings.ToLower(s), nil
}

// parseDNSServer checks the address of a DNS server.
func parseDNSServer(s string) (string, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return "", fmt.Errorf("bad address %s: the port is missing, write for example %s", quote(s), quote(netip.AddrPortFrom(ip, 53).String()))
	}
	a, err := parseAddress(s, "10.0.0.2:53")
	switch {
	case err != nil:
		return "", err
	case a.host == "":
		return "", fmt.Errorf("bad address %s: the host is missing, write for example 127.0.0.1:%d", quote(s), a.port)
	case a.ip.IsValid() && a.ip.IsUnspecified():
		return "", fmt.Errorf("bad address %s: %s is for listening, a server needs the address it is reached at", quote(s), a.host)
	case a.port == 0:
		return "", fmt.Errorf("bad address %s: a server's port is 1 to 65535, and mostly 53", quote(s))
	}
	return a.String(), nil
}

// readFilePath reads the path of a file of backends. It is relative to the
// configuration file, so that both can be moved together, and so that it
// doesn't matter where the balancer is started.
func readFilePath(d *decoder, n *yaml.Node, p *poolDraft) {
	p.sourced = true
	d.parsed(n, &p.file, "the path of a file such as backends.json", func(s string) (string, error) {
		return parseFilePath(s, filepath.Dir(d.file))
	})
}

func parseFilePath(s, dir string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("the path of the file is empty: write one, such as backends.json")
	case len(s) > maxPath:
		return "", fmt.Errorf("the path of the file is longer than %d bytes", maxPath)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", fmt.Errorf("bad path %s: it has control characters in it", quote(s))
	case strings.Contains(s, "://"):
		return "", fmt.Errorf("bad path %s: it is a file of this machine, write its path", quote(s))
	case slices.Contains([]string{"", ".", ".."}, s[strings.LastIndexByte(s, '/')+1:]):
		return "", fmt.Errorf("bad path %s: that is a directory, name the file in it", quote(s))
	}
	if !filepath.IsAbs(s) {
		s = filepath.Join(dir, s)
	}
	path, err := filepath.Abs(s)
	if err != nil {
		return "", fmt.Errorf("cannot tell which file %s is: %v", quote(s), err)
	}
	return path, nil
}
