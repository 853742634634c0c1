package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
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
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case !s.knownHost(r.Host):
			s.fail(w, problem(http.StatusForbidden, "", fmt.Sprintf("host %q is not this balancer's admin address: use an IP address, localhost or the configured host", r.Host)))
		case crossOrigin.Check(r) != nil || foreign(r):
			s.fail(w, problem(http.StatusForbidden, "", "pages of other origins have no access"))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// foreign reports whether a page of another origin sends a request, apart from following a
// link to the dashboard. It couldn't read the response, but would keep the balancer busy.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return r.Header.Get("Sec-Fetch-Mode") != "navigate" || strings.HasPrefix(r.URL.Path, "/v1/")
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
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
