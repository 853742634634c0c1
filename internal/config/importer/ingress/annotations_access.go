package ingress

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

func (s *settings) allowed(a Annotation) {
	list, err := s.networks(a)
	if err != nil {
		s.refuse(a, "%v: ingress-nginx answers everything with 503", err)
		return
	}
	if len(list) == 0 {
		s.skip(a, "an empty list admits everyone")
		return
	}
	s.allow = append(s.allow, list...)
	s.carry(a, "route.allow")
}

func (s *settings) denied(a Annotation) {
	list, err := s.networks(a)
	if err != nil {
		s.refuse(a, "%v: ingress-nginx answers everything with 503", err)
		return
	}
	s.deny = append(s.deny, list...)
	s.carry(a, "route.deny")
}

func (s *settings) satisfy(a Annotation) {
	if a.Value == "any" {
		s.refuse(a, "holdfast asks for all that guards a route, and can't be content with one of them")
		return
	}
	s.skip(a, "all that guards a route must be satisfied")
}

// count reads the number of a limit.
func (s *settings) count(a Annotation) (int, bool) {
	n, err := strconv.Atoi(a.Value)
	if err != nil || n < 0 || n > 100_000_000 {
		s.refuse(a, "not a number, so that there would be no limit")
		return 0, false
	}
	return n, true
}

func (s *settings) limitConnections(a Annotation) {
	n, ok := s.count(a)
	switch {
	case !ok:
	case n == 0:
		s.skip(a, "0 is no limit")
	default:
		s.limits.MaxRequestsPerAddress = &n
		s.differ(a, "route.limits.max_requests_per_address", "the same number; clients above it get 429, not 503, and each route counts for itself")
	}
}

// limitRate makes one limit of limit-rps and limit-rpm: the slower one, so that none lets
// through more than before.
func (s *settings) limitRate(a Annotation) {
	n, ok := s.count(a)
	if !ok {
		return
	}
	if n == 0 {
		s.skip(a, "0 is no limit")
		return
	}
	rate := float64(n)
	if a.Name == "limit-rpm" {
		rate /= 60
	}
	if before := s.limits.NewRequestsPerAddress; before != nil && before.Rate <= rate {
		s.differ(a, "", "a route has one rate, and the other limit is slower: that one holds")
		return
	}
	times := 5
	if m, err := parseCount(s.values["limit-burst-multiplier"]); err == nil {
		times = m
	}
	// nginx counts those beyond the one that the rate allows.
	burst := min(n*times+1, 1_000_000)
	if before := s.limits.NewRequestsPerAddress; before != nil {
		burst = min(burst, before.Burst)
	}
	s.limits.NewRequestsPerAddress = &config.AddressRate{Rate: rate, Burst: burst}
	s.differ(a, "route.limits.new_requests_per_address", "the same rate and burst; clients above it get 429, not 503, and each route counts for itself")
}

func (s *settings) limitBurst(a Annotation) {
	if _, err := parseCount(a.Value); err != nil {
		s.differ(a, "", "not a number: ignored, as by ingress-nginx")
	} else if s.needs(a, s.values["limit-rps"] != "" || s.values["limit-rpm"] != "", "limit-rps or limit-rpm") {
		s.carry(a, "route.limits.new_requests_per_address")
	}
}

func (s *settings) limitExempt(a Annotation) {
	list, err := s.networks(a)
	if err != nil {
		s.refuse(a, "%v", err)
		return
	}
	s.exempt = append(s.exempt, list...)
	if s.cluster {
		s.carry(a, "route.limits")
		return
	}
	s.differ(a, "limits.exempt", "these addresses are exempt from the limits of all routes")
}

func (s *settings) bandwidth(a Annotation) {
	if a.Value == "0" {
		s.skip(a, "0 is no limit")
		return
	}
	s.differ(a, "", "answers are sent as fast as the client takes them")
}

// authURL reads the endpoint that is asked about each client.
func (s *settings) authURL(a Annotation) {
	url := a.Value
	for _, v := range []string{"${host}", "${http_host}", "$host", "$http_host"} {
		if strings.Contains(url, v) {
			hosts := map[string]bool{}
			for _, r := range s.ing.Rules {
				hosts[r.Host] = true
			}
			if len(hosts) != 1 || hosts[""] || strings.HasPrefix(s.ing.Rules[0].Host, "*") {
				s.refuse(a, "the endpoint must be one URL, and here its host is that of the request: write the host, or an Ingress for each host")
				return
			}
			url = strings.ReplaceAll(url, v, s.ing.Rules[0].Host)
		}
	}
	if strings.Contains(url, "$") {
		s.refuse(a, "the endpoint must be one URL without variables")
		return
	}
	s.auth = new(config.AuthRequest)
	s.auth.SetDefaults()
	s.auth.URL = url
	if d, ok := cacheDuration(s.values["auth-cache-duration"]); ok && s.values["auth-cache-key"] != "" {
		s.auth.Cache = d
	}
	s.differ(a, "route.auth.request.url", "the endpoint gets the fields Authorization and Cookie of the client; list others in auth: {request: {headers: [...]}}")
}

// ofAuth is for annotations that need auth-url.
func ofAuth(handle func(*settings, Annotation)) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		if s.needs(a, s.values["auth-url"] != "", "auth-url") {
			handle(s, a)
		}
	}
}

func (s *settings) authMethod(a Annotation) {
	if a.Value == "GET" || a.Value == "" {
		s.skip(a, "the endpoint is asked with GET")
		return
	}
	s.refuse(a, "the endpoint is asked with GET")
}

func (s *settings) authSignin(a Annotation) {
	s.differ(a, "", "a client that isn't let in gets the endpoint's own answer, and no redirect to log in: have the page do that before it opens a WebSocket")
}

func (s *settings) authResponseHeaders(a Annotation) {
	var names []string
	for name := range strings.SplitSeq(a.Value, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	s.later(func() {
		if s.auth != nil {
			s.auth.CopyHeaders = names
		}
	})
	s.carry(a, "route.auth.request.copy_headers")
}

func (s *settings) authCacheKey(a Annotation) {
	s.differ(a, "route.auth.request.cache", "answers are kept by the fields that the endpoint gets, whatever else is in the key")
}

func (s *settings) authCache(a Annotation) {
	if !s.needs(a, s.values["auth-cache-key"] != "", "auth-cache-key") {
		return
	}
	if _, ok := cacheDuration(a.Value); !ok {
		s.differ(a, "", "not understood: answers aren't kept; write auth: {request: {cache: 1m}}")
		return
	}
	s.differ(a, "route.auth.request.cache", "only answers that let a client in are kept, for 10 minutes at most")
}

var cacheTime = regexp.MustCompile(`(?:^|[\s,])(?:20\d\s+)*(\d+)(s|m|h)\s*(?:$|,)`)

// cacheDuration returns how long nginx keeps answers that let a client in: the first time
// with the status 200 or without any.
func cacheDuration(s string) (time.Duration, bool) {
	m := cacheTime.FindStringSubmatch(s)
	if m == nil || len(m[1]) > 6 {
		return 0, false
	}
	d, err := time.ParseDuration(m[1] + m[2])
	return min(d, 10*time.Minute), err == nil
}

func (s *settings) globalAuth(a Annotation) {
	if on, ok := s.boolean(a); ok && on {
		s.differ(a, "", "global-auth-url is in the controller's ConfigMap, which isn't read: if it is set there, write auth: {request: {url: ...}} into the listeners")
	} else if ok {
		s.skip(a, "no endpoint is asked about all clients")
	}
}

func (s *settings) basicAuth(a Annotation) {
	s.refuse(a, "holdfast has no passwords: use auth-url, or tokens (auth: {jwt: ...})")
}

func ofBasic(s *settings, a Annotation) {
	if s.values["auth-type"] == "" {
		s.skip(a, "it does nothing without auth-type")
	} else {
		s.skip(a, "auth-type, which it is for, is refused")
	}
}

// clientCA reads which authority has issued the certificates of clients.
func (s *settings) clientCA(a Annotation) {
	if s.values["auth-tls-verify-client"] == "off" {
		s.skip(a, "auth-tls-verify-client is off")
		return
	}
	if name, ok := s.object(a); ok {
		s.clientCert = &clientCert{secret: name}
		s.carry(a, "")
	}
}

// ofClientTLS is for annotations that need auth-tls-secret.
func ofClientTLS(handle func(*settings, Annotation)) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		if s.needs(a, s.values["auth-tls-secret"] != "", "auth-tls-secret") {
			handle(s, a)
		}
	}
}

func (s *settings) clientVerify(a Annotation) {
	switch a.Value {
	case "on":
		s.carry(a, "")
	case "off":
		s.skip(a, "no client is asked for a certificate")
	case "optional":
		s.later(func() {
			if s.clientCert != nil {
				s.clientCert.optional = true
			}
		})
		s.carry(a, "")
	default:
		s.refuse(a, "certificates that aren't verified can't be passed on: write optional, so that only good ones are accepted")
	}
}

var literalCN = regexp.MustCompile(`^\^?(?:/?|.*,)CN=([\w \-]+)\$?$`)

func (s *settings) clientCN(a Annotation) {
	m := literalCN.FindStringSubmatch(a.Value)
	if m == nil {
		s.refuse(a, "only CN=NAME can be carried over: write what the certificate must have into match: {client_cert: {cn: ...}}")
		return
	}
	s.later(func() {
		if s.clientCert != nil {
			s.clientCert.cn = m[1]
		}
	})
	s.differ(a, "", "the common name must be %s as a whole; nginx's pattern also matches longer ones", hint.Quote(m[1]))
}

func (s *settings) clientHeaders(a Annotation) {
	on, ok := s.boolean(a)
	if !ok {
		return
	}
	s.later(func() {
		if s.clientCert != nil {
			s.clientCert.headers = on
		}
	})
	s.carry(a, "")
}
