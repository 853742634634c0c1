package yaml

import (
	"fmt"
	"net/netip"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// dumpAccess and dumpMatch write out what is given.

func dumpAccess(line func(string, ...any), allow, deny []netip.Prefix, origins *config.Origins) {
	if allow != nil {
		line("  allow %v", allow)
	}
	if deny != nil {
		line("  deny %v", deny)
	}
	if origins != nil {
		line("  origins %v required=%t", origins.Allow, origins.Required)
	}
}

func dumpAnswer(line func(string, ...any), r *config.Route) {
	if a := r.Redirect; a != nil {
		line("  redirect to %q with %d", a.To, a.Status)
	}
	if a := r.Respond; a != nil {
		line("  respond %d %q %q", a.Status, a.ContentType, a.Body)
	}
	dumpSplit(line, r.Split)
}

func dumpSplit(line func(string, ...any), s config.Split) {
	for i, part := range s {
		line("  split %d to %q", part.Weight, part.Pool)
		if a := part.Respond; a != nil {
			line("    respond %d %q %q", a.Status, a.ContentType, a.Body)
		}
		for what, e := range edits(&s[i].RequestHeaders, &s[i].ResponseHeaders) {
			line("    %s %q", what, e)
		}
	}
}

func dumpMatch(line func(string, ...any), m config.Match) {
	if m.Listener != "" {
		line("  listener %s", m.Listener)
	}
	for _, by := range []struct{ key, pattern string }{
		{"host_regex", m.HostRegex.String()}, {"path_exact", m.PathExact.String()}, {"path_begins", m.PathBegins}, {"path_regex", m.PathRegex.String()},
	} {
		if by.pattern != "" {
			line("  %s %q", by.key, by.pattern)
		}
	}
	if m.Client != nil {
		line("  client %v", m.Client)
	}
	for _, n := range m.Not {
		websocket := "any"
		if n.WebSocket != nil {
			websocket = fmt.Sprint(*n.WebSocket)
		}
		line("  not host=%q path=%q websocket=%s", n.Host.String(), n.Path.String(), websocket)
		dumpMatch(func(format string, args ...any) { line("  "+format, args...) }, n)
	}
	if m.Method != nil {
		line("  method %q", m.Method)
	}
	if m.Header != nil {
		line("  header %q", m.Header)
	}
	if m.Query != nil {
		line("  query %q", m.Query)
	}
	if c := m.ClientCert; c != nil {
		verified := "any"
		if c.Verified != nil && *c.Verified {
			verified = "true"
		} else if c.Verified != nil {
			verified = "false"
		}
		line("  client_cert verified=%s cn=%q dns=%q uri=%q issuer=%q fingerprint=%q", verified, c.CN, c.DNS, c.URI, c.Issuer, c.Fingerprint)
	}
}
