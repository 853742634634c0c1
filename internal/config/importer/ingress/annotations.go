package ingress

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// annotations are those of ingress-nginx, without their prefix, with what becomes of each.
// Each handler notes exactly one outcome. docs/migrate-ingress.md has the same list.
var annotations map[string]func(*settings, Annotation)

func init() {
	annotations = map[string]func(*settings, Annotation){
		"whitelist-source-range": (*settings).allowed,
		"allowlist-source-range": (*settings).allowed,
		"denylist-source-range":  (*settings).denied,
		"satisfy":                (*settings).satisfy,

		"limit-connections":      (*settings).limitConnections,
		"limit-rps":              (*settings).limitRate,
		"limit-rpm":              (*settings).limitRate,
		"limit-burst-multiplier": (*settings).limitBurst,
		"limit-whitelist":        (*settings).limitExempt,
		"limit-allowlist":        (*settings).limitExempt,
		"limit-rate":             (*settings).bandwidth,
		"limit-rate-after":       (*settings).bandwidth,

		"affinity":                                 (*settings).affinity,
		"affinity-mode":                            (*settings).affinityMode,
		"affinity-canary-behavior":                 ofAffinity(different("clients of the canary keep its pods as long as their cookie says so, as with sticky")),
		"session-cookie-name":                      ofAffinity((*settings).cookieName),
		"session-cookie-expires":                   ofAffinity((*settings).cookieAge),
		"session-cookie-max-age":                   ofAffinity((*settings).cookieAge),
		"session-cookie-path":                      ofAffinity((*settings).cookiePath),
		"session-cookie-domain":                    ofAffinity((*settings).cookieDomain),
		"session-cookie-samesite":                  ofAffinity((*settings).cookieSameSite),
		"session-cookie-secure":                    ofAffinity((*settings).cookieSecure),
		"session-cookie-change-on-failure":         ofAffinity((*settings).cookieFailure),
		"session-cookie-conditional-samesite-none": ofAffinity(different("browsers get the same cookie, whatever their age: those that misread SameSite=None are from before 2020")),
		"session-cookie-hash":                      skipped("holdfast's cookie is signed, and has no hash"),

		"upstream-hash-by":             (*settings).hashBy,
		"upstream-hash-by-subset":      (*settings).hashSubset,
		"upstream-hash-by-subset-size": (*settings).hashSubset,
		"load-balance":                 (*settings).loadBalance,
		"service-upstream":             (*settings).serviceUpstream,
		"backend-protocol":             (*settings).protocol,
		"secure-backends":              (*settings).secureBackends,
		"grpc-backend":                 (*settings).grpc,
		"proxy-ssl-secret":             ofTLS((*settings).proxySecret),
		"proxy-ssl-name":               ofTLS((*settings).proxyName),
		"proxy-ssl-server-name":        ofTLS((*settings).proxyServerName),
		"proxy-ssl-verify":             ofTLS((*settings).proxyVerify),
		"proxy-ssl-verify-depth":       ofTLS(different("a chain may have any length up to an authority of ca")),
		"proxy-ssl-ciphers":            ofTLS(skipped("holdfast's own list has only ciphers without known weaknesses")),
		"proxy-ssl-protocols":          ofTLS(skipped("holdfast speaks TLS 1.2 and 1.3")),

		"proxy-connect-timeout":       (*settings).connectTimeout,
		"proxy-read-timeout":          (*settings).readTimeout,
		"proxy-send-timeout":          (*settings).sendTimeout,
		"proxy-next-upstream":         (*settings).nextUpstream,
		"proxy-next-upstream-tries":   (*settings).nextTries,
		"proxy-next-upstream-timeout": (*settings).nextTimeout,

		"auth-url":                   (*settings).authURL,
		"auth-method":                ofAuth((*settings).authMethod),
		"auth-signin":                ofAuth((*settings).authSignin),
		"auth-signin-redirect-param": ofAuth(skipped("there is no redirect to auth-signin")),
		"auth-response-headers":      ofAuth((*settings).authResponseHeaders),
		"auth-request-redirect":      ofAuth(different("the endpoint gets the URL of the request as X-Original-URL, and no X-Auth-Request-Redirect")),
		"auth-cache-key":             ofAuth((*settings).authCacheKey),
		"auth-cache-duration":        ofAuth((*settings).authCache),
		"auth-always-set-cookie":     ofAuth(different("cookies of the endpoint aren't passed on to clients")),
		"auth-snippet":               refused("nginx's own directives can't be carried over"),
		"auth-proxy-set-headers":     ofAuth(refused("the endpoint gets fields of the client only (auth: {request: {headers: [...]}}), none of its own")),
		"auth-keepalive":             ofAuth(skipped("connections to the endpoint are kept")),
		"auth-keepalive-share-vars":  ofAuth(skipped("connections to the endpoint are kept")),
		"auth-keepalive-requests":    ofAuth(skipped("connections to the endpoint are kept")),
		"auth-keepalive-timeout":     ofAuth(skipped("connections to the endpoint are kept")),
		"enable-global-auth":         (*settings).globalAuth,

		"auth-type":        (*settings).basicAuth,
		"auth-secret":      ofBasic,
		"auth-secret-type": ofBasic,
		"auth-realm":       ofBasic,

		"auth-tls-secret":                       (*settings).clientCA,
		"auth-tls-verify-client":                ofClientTLS((*settings).clientVerify),
		"auth-tls-verify-depth":                 ofClientTLS(different("a chain may have any length up to an authority of client_ca")),
		"auth-tls-match-cn":                     ofClientTLS((*settings).clientCN),
		"auth-tls-error-page":                   ofClientTLS(different("a client without a certificate gets 400 and no page")),
		"auth-tls-pass-certificate-to-upstream": ofClientTLS((*settings).clientHeaders),

		"ssl-redirect":              (*settings).redirectTLS,
		"force-ssl-redirect":        (*settings).redirectTLS,
		"preserve-trailing-slash":   skipped("a redirect keeps the slash at the end of a path"),
		"use-port-in-redirects":     ifTrue("", "redirects to https go to port 443; write the port into the redirect of the route if it is another one"),
		"ssl-passthrough":           (*settings).sslPassthrough,
		"ssl-ciphers":               skipped("holdfast's own list has only ciphers without known weaknesses"),
		"ssl-prefer-server-ciphers": skipped("holdfast chooses by what both sides are fast at"),

		"use-regex":               (*settings).useRegex,
		"rewrite-target":          (*settings).rewriteTarget,
		"app-root":                (*settings).root,
		"permanent-redirect":      (*settings).permanent,
		"permanent-redirect-code": ofRedirect("permanent-redirect"),
		"temporal-redirect":       (*settings).temporal,
		"temporal-redirect-code":  ofRedirect("temporal-redirect"),
		"relative-redirects":      ifTrue("", "redirects have the whole URL"),
		"from-to-www-redirect":    (*settings).fromToWWW,
		"server-alias":            (*settings).serverAlias,
		"upstream-vhost":          (*settings).upstreamVhost,
		"x-forwarded-prefix":      (*settings).forwardedPrefix,
		"custom-headers":          (*settings).customHeaders,
		"websocket-services":      skipped("every route takes WebSockets"),
		"connection-proxy-header": skipped("holdfast makes the handshake with the pods itself, and has its own connections for plain HTTP"),

		"enable-cors":            (*settings).enableCORS,
		"cors-allow-origin":      ofCORS,
		"cors-allow-methods":     ofCORS,
		"cors-allow-headers":     ofCORS,
		"cors-expose-headers":    ofCORS,
		"cors-allow-credentials": ofCORS,
		"cors-max-age":           ofCORS,

		"canary":                   (*settings).isCanary,
		"canary-by-header":         ofCanary((*settings).canaryHeader),
		"canary-by-header-value":   ofCanary((*settings).canaryValue),
		"canary-by-header-pattern": ofCanary((*settings).canaryPattern),
		"canary-by-cookie":         ofCanary((*settings).canaryCookie),
		"canary-weight":            ofCanary((*settings).canaryWeight),
		"canary-weight-total":      ofCanary((*settings).canaryTotal),

		"configuration-snippet": refused("nginx's own directives can't be carried over: read what they do, and write that as routes, request_headers or allow"),
		"server-snippet":        refused("nginx's own directives can't be carried over: read what they do, and write that as routes, request_headers or allow"),
		"stream-snippet":        refused("nginx's own directives can't be carried over: listeners with mode: tcp may do the same"),

		"enable-modsecurity":              guard("holdfast has no rules for the contents of requests"),
		"enable-owasp-core-rules":         guard("holdfast has no rules for the contents of requests"),
		"modsecurity-snippet":             refused("holdfast has no rules for the contents of requests"),
		"modsecurity-transaction-id":      skipped("there is no ModSecurity"),
		"lua-resty-waf":                   guard("holdfast has no rules for the contents of requests"),
		"global-rate-limit":               refused("holdfast's limits are those of one process: write limits: {new_requests_per_address: ...} into the route"),
		"global-rate-limit-window":        skipped("it does nothing without global-rate-limit"),
		"global-rate-limit-key":           skipped("it does nothing without global-rate-limit"),
		"global-rate-limit-ignored-cidrs": skipped("it does nothing without global-rate-limit"),

		"mirror-target":       different("requests aren't mirrored"),
		"mirror-request-body": skipped("requests aren't mirrored"),
		"mirror-host":         skipped("requests aren't mirrored"),

		"default-backend":                different("if no pod takes a request, the client gets 503, and no other Service"),
		"custom-http-errors":             different("clients get the answers of the pods, whatever their status"),
		"disable-proxy-intercept-errors": skipped("clients get the answers of the pods, whatever their status"),

		"proxy-body-size":          (*settings).bodySize,
		"client-body-buffer-size":  skipped("bodies are passed on as they come"),
		"proxy-request-buffering":  skipped("bodies are passed on as they come"),
		"proxy-buffering":          skipped("answers are passed on as they come"),
		"proxy-buffers-number":     skipped("answers are passed on as they come"),
		"proxy-buffer-size":        skipped("http: {max_header_bytes: ...} bounds the heads of answers"),
		"proxy-busy-buffers-size":  skipped("answers are passed on as they come"),
		"proxy-max-temp-file-size": skipped("nothing is written to files"),
		"proxy-http-version":       skipped("WebSockets need HTTP/1.1, and holdfast speaks it with all pods"),
		"proxy-cookie-domain":      unless("off", "cookies of the pods are passed on unchanged"),
		"proxy-cookie-path":        unless("off", "cookies of the pods are passed on unchanged"),
		"proxy-redirect-from":      unless("off", "redirects of the pods are passed on unchanged"),
		"proxy-redirect-to":        unless("off", "redirects of the pods are passed on unchanged"),
		"fastcgi-index":            refused("holdfast doesn't speak FastCGI"),
		"fastcgi-params-configmap": refused("holdfast doesn't speak FastCGI"),

		"http2-push-preload":                skipped("browsers have no push any more"),
		"enable-access-log":                 skipped("each session has one line in the log; log: {level: warn} has none"),
		"enable-rewrite-log":                skipped("nothing is rewritten in steps"),
		"enable-opentelemetry":              (*settings).tracing,
		"enable-opentracing":                (*settings).tracing,
		"opentelemetry-trust-incoming-span": skipped("a trace context is passed on as it came"),
		"opentracing-trust-incoming-span":   skipped("a trace context is passed on as it came"),
		"opentelemetry-operation-name":      skipped("holdfast reports no spans of its own"),
		"enable-influxdb":                   skipped("holdfast's metrics are read by Prometheus"),
	}
}

var annotationNames = sync.OnceValue(func() []string { return slices.Sorted(maps.Keys(annotations)) })

// skipped is for annotations that aren't needed.
func skipped(why string) func(*settings, Annotation) {
	return func(s *settings, a Annotation) { s.skip(a, why) }
}

func different(text string) func(*settings, Annotation) {
	return func(s *settings, a Annotation) { s.differ(a, "", "%s", text) }
}

func refused(why string) func(*settings, Annotation) {
	return func(s *settings, a Annotation) { s.refuse(a, "%s", why) }
}

// guard is for what protects something if its value is true.
func guard(why string) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		switch on, err := strconv.ParseBool(a.Value); {
		case err != nil || on:
			s.refuse(a, "%s", why)
		default:
			s.skip(a, "off is what holdfast has")
		}
	}
}

// ifTrue is for what differs if its value is true.
func ifTrue(target, text string) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		switch on, ok := s.boolean(a); {
		case !ok:
		case on:
			s.differ(a, target, "%s", text)
		default:
			s.skip(a, "off is what holdfast has")
		}
	}
}

// unless is for what differs if it hasn't one value.
func unless(value, text string) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		if a.Value == value || a.Value == "default" {
			s.skip(a, text)
		} else {
			s.differ(a, "", "%s", text)
		}
	}
}

var byteSize = regexp.MustCompile(`^(\d{1,12})([kKmMgG]?)$`)

// bodySize bounds bodies; without it, it is 1 MiB.
func (s *settings) bodySize(a Annotation) {
	m := byteSize.FindStringSubmatch(a.Value)
	if m == nil {
		s.differ(a, "", "not a size: 1m holds, as with ingress-nginx")
		return
	}
	n, _ := strconv.Atoi(m[1]) // digits that fit
	const most = 1 << 40
	unit := 1 << map[string]int{"": 0, "k": 10, "m": 20, "g": 30}[strings.ToLower(m[2])]
	n = min(n, most/unit) * unit
	s.limits.MaxBody = &n
	s.carry(a, "route.limits.max_body")
}

func (s *settings) tracing(a Annotation) {
	if on, ok := s.boolean(a); ok && on {
		s.differ(a, "", "holdfast reports no spans: forwarded: {trace_context: true} gives requests without a trace context one")
	} else if ok {
		s.skip(a, "off is what holdfast has")
	}
}

func (s *settings) upstreamVhost(a Annotation) {
	s.host = a.Value
	s.carry(a, "route.rewrite.host")
}

func (s *settings) forwardedPrefix(a Annotation) {
	if s.needs(a, s.values["rewrite-target"] != "", "rewrite-target") {
		s.differ(a, "", "X-Forwarded-Prefix isn't sent with rewrite: {path: ...}: if the target only cuts off a prefix, write rewrite: {path_prefix: {from: /PREFIX, to: /}}, which sends it")
	}
}

// customHeaders reads header fields of answers from a ConfigMap.
func (s *settings) customHeaders(a Annotation) {
	name, ok := s.object(a)
	if !ok {
		return
	}
	m := s.maps[name]
	if m == nil && s.cluster {
		s.differ(a, "", "there is no ConfigMap %s", hint.Quote(a.Value))
		return
	}
	if m == nil {
		s.differ(a, "", "the ConfigMap %s isn't in the file: add it, or write its fields as response_headers: {set: {...}}", hint.Quote(a.Value))
		return
	}
	for _, h := range m.Data {
		s.responseHeaders = append(s.responseHeaders, [2]string{h[0], strings.ReplaceAll(h[1], "$", "$$")})
	}
	s.carry(a, "route.response_headers")
}

func ofCORS(s *settings, a Annotation) {
	if s.needs(a, s.is("enable-cors"), "enable-cors") {
		s.carry(a, "route.response_headers")
	}
}

// enableCORS makes the header fields with which a page of another origin may read answers.
func (s *settings) enableCORS(a Annotation) {
	on, ok := s.boolean(a)
	if !ok || !on {
		if ok {
			s.skip(a, "off is what holdfast has")
		}
		return
	}
	or := func(name, otherwise string) string {
		if v := s.values[name]; v != "" {
			return v
		}
		return otherwise
	}
	c := &cors{}
	for o := range strings.SplitSeq(or("cors-allow-origin", "*"), ",") {
		if o = strings.TrimSpace(o); o != "" {
			c.origins = append(c.origins, o)
		}
	}
	origin := "${header.Origin}"
	if slices.Equal(c.origins, []string{"*"}) {
		origin = "*"
	}
	c.headers = config.Headers{{"Access-Control-Allow-Origin", origin}}
	if v := or("cors-allow-credentials", "true"); v == "true" {
		c.headers = append(c.headers, [2]string{"Access-Control-Allow-Credentials", v})
	}
	c.headers = append(c.headers,
		[2]string{"Access-Control-Allow-Methods", or("cors-allow-methods", "GET, PUT, POST, DELETE, PATCH, OPTIONS")},
		[2]string{"Access-Control-Allow-Headers", or("cors-allow-headers", "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization")})
	if v := s.values["cors-expose-headers"]; v != "" {
		c.headers = append(c.headers, [2]string{"Access-Control-Expose-Headers", v})
	}
	c.headers = append(c.headers, [2]string{"Access-Control-Max-Age", or("cors-max-age", "1728000")})
	s.cors = c
	s.carry(a, "route.response_headers")
}
