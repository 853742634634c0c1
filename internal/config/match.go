package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parseHost reads a route's host: a name, an IP, or "*." and a name. It comes
// back in lower case and without the dot of the root.
func parseHost(s string) (string, error) {
	bad := func(why string, args ...any) (string, error) {
		return "", fmt.Errorf("bad host %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	if s == "" || s == "*" {
		return bad("leave the key out to match every host")
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !ok || err != nil || !ip.Is6() || ip.Zone() != "" {
			return bad("brackets are for an IPv6 address without a port, such as [::1]")
		}
		return "[" + ip.String() + "]", nil
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Is6() {
			return bad("an IPv6 address stands in brackets, such as [::1]")
		}
		return s, nil
	}
	if strings.Contains(s, "://") {
		return bad("write just the host, without scheme and path")
	}
	if host, _, ok := strings.Cut(s, ":"); ok {
		return bad("write it without a port: %s", quote(host))
	}
	if strings.Contains(s, "/") {
		return bad("a path has a key of its own, path")
	}
	name, wildcard := strings.CutPrefix(s, "*.")
	if strings.Contains(name, "*") {
		return bad("a %q stands only at the beginning and alone, as in *.example.com", "*")
	}
	if err := checkHostname(name); err != nil {
		return bad("%v", err)
	}
	host := strings.ToLower(strings.TrimSuffix(name, "."))
	if wildcard {
		host = "*." + host
	}
	return host, nil
}

// maxPath bounds a route's path; no server takes a request line that long.
const maxPath = 2048

// parsePath reads a route's path. It comes back without trailing slashes, "/"
// therefore as "": both match every path.
func parsePath(s string) (string, error) {
	if err := checkPath(s); err != nil {
		return "", fmt.Errorf("bad path %s: %w", quote(s), err)
	}
	return strings.TrimSuffix(s, "/"), nil
}

var errPercent = errors.New("a percent sign stands before two hex digits, as in %20")

// checkAnyPath checks what all paths have in common.
func checkAnyPath(s string) error {
	if !strings.HasPrefix(s, "/") {
		return fmt.Errorf("it must begin with %q", "/")
	}
	if len(s) > maxPath {
		return fmt.Errorf("longer than %d bytes", maxPath)
	}
	return nil
}

func checkPath(s string) error {
	if err := checkAnyPath(s); err != nil {
		return err
	}
	for i, c := range s {
		switch {
		case c == '?' || c == '#':
			return fmt.Errorf("a route looks only at the path, leave out what begins with %s", quote(string(c)))
		case c == '*':
			return fmt.Errorf("a path is a prefix already, leave out the %q", "*")
		case c == '%':
			if len(s) < i+3 {
				return errPercent
			}
			decoded, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return errPercent
			}
			// Servers differ in whether these mean the same as the plain
			// characters, so that no one rule would hold for all of them.
			if decoded < ' ' || strings.IndexByte("/\\.;", byte(decoded)) >= 0 {
				return fmt.Errorf("leave out %s: servers disagree about what it means", s[i:i+3])
			}
		case c == ';':
			return errors.New("leave out parameters (what begins with \";\"): servers disagree about what they mean")
		case !isPathChar(c):
			return fmt.Errorf("%s must be percent-encoded, as in %%20", quote(string(c)))
		}
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(s[1:], "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && s != "/" {
			return fmt.Errorf("leave out empty segments, %q and %q", ".", "..")
		}
	}
	return nil
}

// isPathChar tells the characters a path may have as they are: pchar of RFC
// 3986 section 3.3 without those refused above, and the slash.
func isPathChar(c rune) bool {
	return isAlnum(c) || strings.ContainsRune("/-._~!$&'()+,=:@", c)
}

// coverage finds routes that no request can reach. It has the earlier routes
// by host, so that most hosts wider than a route's are passed over at once.
type coverage map[string]map[condition]place

// condition is the rest of a Match, for one kind of request.
type condition struct {
	path      string
	websocket bool
}

// add notes the route m at a place. It returns the place of an earlier route
// that takes requests m would match, and whether earlier routes take them all.
func (c coverage) add(m Match, at place) (earlier place, covered bool) {
	covered = true
	for _, websocket := range []bool{true, false} {
		if m.WebSocket != nil && *m.WebSocket != websocket {
			continue
		}
		if by, ok := c.find(m, websocket); ok {
			earlier = by
			continue
		}
		covered = false
		if c[m.Host] == nil {
			c[m.Host] = make(map[condition]place)
		}
		c[m.Host][condition{m.Path, websocket}] = at
	}
	return earlier, covered
}

// find looks up every condition at least as wide as m.
func (c coverage) find(m Match, websocket bool) (place, bool) {
	for _, host := range widerHosts(m.Host) {
		routes := c[host]
		if routes == nil {
			continue
		}
		for path := m.Path; ; path = path[:strings.LastIndexByte(path, '/')] {
			if at, ok := routes[condition{path, websocket}]; ok {
				return at, true
			}
			if path == "" {
				break
			}
		}
	}
	return place{}, false
}

// widerHosts lists the patterns that match all that host matches: itself, the
// wildcards above it, and none at all.
func widerHosts(host string) []string {
	hosts := []string{""}
	if host == "" {
		return hosts
	}
	hosts = append(hosts, host)
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return hosts
	}
	rest := strings.TrimPrefix(host, "*.")
	for {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return hosts
		}
		hosts = append(hosts, "*."+after)
		rest = after
	}
}
