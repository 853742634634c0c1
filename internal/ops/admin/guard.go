package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard rejects requests of web pages in the operator's browser, other than the
// dashboard's own.
//
// Any web page can send requests to an address that only this machine can reach. Browsers
// mark them with Sec-Fetch-Site or Origin; command line tools send neither. To read a
// response, a page must have the same origin. An attacker gets that with a name that
// resolves to this machine (DNS rebinding); then Host is that name.
func (s *Server) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.knownHost(r.Host) {
			s.fail(w, problem(http.StatusForbidden, "", fmt.Sprintf("host %q is not this balancer's admin address: use an IP address, localhost or the configured host", r.Host)))
			return
		}
		if err := crossOrigin.Check(r); err != nil {
			s.fail(w, problem(http.StatusForbidden, "", "other web pages may not change anything here"))
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

func (s *Server) knownHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "" {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" ||
		host == strings.TrimSuffix(strings.ToLower(s.o.Host), ".")
}
