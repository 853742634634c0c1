package demo

import (
	"net"
	"net/http"
	"os"
	"strings"
)

// requireLocalHost refuses requests whose Host may belong to somebody else.
// Otherwise another site could let its name resolve to this machine (DNS rebinding),
// and its pages would have the same origin as the demo.
func requireLocalHost(next http.Handler) http.Handler {
	machine, err := os.Hostname()
	if err != nil {
		machine = "localhost"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalName(r.Host, machine) {
			http.Error(w, "the demo accepts only requests to an IP address, to localhost or to "+machine, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLocalName reports whether a Host header certainly names this machine: an IP
// address, localhost (RFC 6761 §6.3), or the machine's own name.
func isLocalName(host, machine string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	return net.ParseIP(name) != nil || name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		name == strings.ToLower(machine)
}
