package yaml

import (
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

func dumpMatch(line func(string, ...any), m config.Match) {
	if m.Listener != "" {
		line("  listener %s", m.Listener)
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
