package demo

import (
	"net"
	"net/http"
	"os"
	"strings"
)

// knownHost refuses requests for names that somebody else may own. Otherwise
// a foreign site could have its name resolve to this machine (DNS rebinding),
// and its pages would pass for the demo's own.
func knownHost(next http.Handler) http.Handler {
	machine, err := os.Hostname()
	if err != nil {
		machine = "localhost"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalName(r.Host, machine) {
			http.Error(w, "the demo is open by IP address, as localhost or as "+machine+
				", not under other names", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLocalName tells whether a Host header names this machine for sure: by IP
// address, as localhost (RFC 6761 §6.3), or by the machine's own name.
func isLocalName(host, machine string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	return net.ParseIP(name) != nil || name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		name == strings.ToLower(machine)
}
