package ingress

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

func (s *settings) affinity(a Annotation) {
	if a.Value != "cookie" {
		s.differ(a, "", "the only affinity is cookie: ignored, as by ingress-nginx")
		return
	}
	s.setCookie()
	s.differ(a, "pool.affinity.cookie", "clients with a cookie of ingress-nginx get another pod once, and a cookie of holdfast's")
}

// setCookie returns the cookie of holdfast that is like ingress-nginx's.
func (s *settings) setCookie() *config.Cookie {
	if s.cookie == nil {
		s.cookie = new(config.Cookie)
		s.cookie.SetDefaults()
		s.cookie.Name, s.cookie.MaxAge = "INGRESSCOOKIE", 0
	}
	return s.cookie
}

// ofAffinity is for annotations that need affinity: cookie.
func ofAffinity(handle func(*settings, Annotation)) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		if s.needs(a, s.values["affinity"] == "cookie", "affinity: cookie") {
			handle(s, a)
		}
	}
}

func (s *settings) affinityMode(a Annotation) {
	switch {
	case !s.needs(a, s.values["affinity"] == "cookie", "affinity: cookie"):
	case a.Value == "persistent":
		s.skip(a, "a cookie holds as long as its pod is there")
	default:
		s.differ(a, "", "a cookie holds as long as its pod is there; to even out sessions after pods were added, add rebalance and reattach to the pool")
	}
}

func (s *settings) cookieName(a Annotation) {
	s.setCookie().Name = a.Value
	s.carry(a, "pool.affinity.cookie.name")
}

// cookieAge is for session-cookie-max-age and session-cookie-expires, of which browsers
// believe the former (RFC 6265 section 5.3).
func (s *settings) cookieAge(a Annotation) {
	n, err := strconv.Atoi(strings.TrimPrefix(a.Value, "-"))
	switch {
	case err != nil:
		s.differ(a, "", "not a number: ignored, as by ingress-nginx")
	case strings.HasPrefix(a.Value, "-") || n == 0:
		s.differ(a, "", "a cookie that has expired at once binds nobody: holdfast's lasts until the browser is closed")
	case a.Name == "session-cookie-expires" && s.values["session-cookie-max-age"] != "":
		s.skip(a, "session-cookie-max-age is there, too, and browsers believe that")
	default:
		s.setCookie().MaxAge = min(time.Duration(min(n, 1e9))*time.Second, 8760*time.Hour)
		s.carry(a, "pool.affinity.cookie.max_age")
	}
}

func (s *settings) cookiePath(a Annotation) {
	s.setCookie().Path = a.Value
	s.carry(a, "pool.affinity.cookie.path")
}

func (s *settings) cookieDomain(a Annotation) {
	s.setCookie().Domain = strings.TrimPrefix(a.Value, ".")
	s.carry(a, "pool.affinity.cookie.domain")
}

func (s *settings) cookieSameSite(a Annotation) {
	for _, word := range []string{"None", "Lax", "Strict"} {
		if strings.EqualFold(word, a.Value) {
			s.setCookie().SameSite = word
			s.carry(a, "pool.affinity.cookie.same_site")
			return
		}
	}
	s.differ(a, "", "not None, Lax or Strict: holdfast's is Lax, as browsers take it")
}

func (s *settings) cookieSecure(a Annotation) {
	on, ok := s.boolean(a)
	if !ok {
		return
	}
	// ingress-nginx always takes false for its default, which goes by the connection.
	s.setCookie().Secure = map[bool]string{true: "always", false: "auto"}[on]
	s.carry(a, "pool.affinity.cookie.secure")
}

func (s *settings) cookieFailure(a Annotation) {
	on, ok := s.boolean(a)
	switch {
	case !ok:
	case on:
		s.skip(a, "a client whose pod is down gets another one, and a new cookie")
	default:
		s.differ(a, "pool.affinity.fallback", "a client whose pod is down gets another one, and a new cookie; affinity: {fallback: refuse} refuses it")
	}
}

func (s *settings) hashBy(a Annotation) {
	if s.values["affinity"] == "cookie" {
		s.skip(a, "affinity: cookie goes before it, as with ingress-nginx, which doesn't use it then; for clients without cookies write balance: hash into the pool")
		return
	}
	parts, err := hashKey(a.Value)
	if err != nil {
		s.refuse(a, "%v", err)
		return
	}
	s.hash = parts
	s.differ(a, "pool.hash.key", "requests with the same key stay together, but on another pod than before, once")
}

func (s *settings) hashSubset(a Annotation) {
	if a.Name == "upstream-hash-by-subset" && !s.is(a.Name) || s.hash == nil && s.values["upstream-hash-by"] == "" {
		s.skip(a, "off is what holdfast has")
		return
	}
	s.differ(a, "", "a key has one pod, not several: for hot keys, write hash: {bound: 1.25}, which sends what is too much to other pods")
}

func (s *settings) loadBalance(a Annotation) {
	switch a.Value {
	case "round_robin":
		s.balance = "round_robin"
		s.carry(a, "pool.balance")
	case "ewma":
		s.balance = "p2c"
		s.differ(a, "pool.balance", "the better of two pods by their sessions, not by how fast they answer")
	case "least_conn":
		s.balance = "least_conn"
		s.carry(a, "pool.balance")
	case "ip_hash":
		s.hash, _ = hashKey("$remote_addr")
		s.carry(a, "pool.hash.key")
	default:
		s.differ(a, "", "unknown algorithm: round_robin is used, as by ingress-nginx")
	}
}

func (s *settings) serviceUpstream(a Annotation) {
	on, ok := s.boolean(a)
	switch {
	case !ok:
	case on:
		s.skip(a, "a Service with a cluster IP is reached by that")
	default:
		s.skip(a, "the note at each backend says how it is reached")
	}
}

func (s *settings) protocol(a Annotation) {
	switch protocol := strings.ToUpper(a.Value); protocol {
	case "HTTP", "":
		s.skip(a, "pods are reached by HTTP")
	case "HTTPS":
		s.setTLS()
		s.differ(a, "pool.tls", "the pods' certificates aren't verified, as with ingress-nginx: give the authority as ca, and leave insecure_skip_verify out")
		if s.values["proxy-ssl-verify"] == "on" {
			s.notes = s.notes[:len(s.notes)-1]
			s.carry(a, "pool.tls")
		}
	case "GRPC", "GRPCS":
		s.grpc(a)
	case "FCGI":
		s.refuse(a, "holdfast doesn't speak FastCGI")
	case "AUTO_HTTP":
		s.refuse(a, "how pods are reached can't depend on how the client came: write HTTP or HTTPS")
	default:
		s.refuse(a, "unknown protocol %s: write HTTP or HTTPS", hint.Quote(a.Value))
	}
}

func (s *settings) grpc(a Annotation) {
	if a.Name == "grpc-backend" && !s.is(a.Name) {
		s.skip(a, "off is what holdfast has")
		return
	}
	s.refuse(a, "holdfast speaks HTTP/1.1 with backends, and gRPC needs HTTP/2: use a listener with mode: tcp or tls-passthrough")
}

func (s *settings) secureBackends(a Annotation) {
	if on, ok := s.boolean(a); ok && on {
		s.setTLS()
		s.differ(a, "pool.tls", "the pods' certificates aren't verified: give the authority as ca")
	} else if ok {
		s.skip(a, "pods are reached by HTTP")
	}
}

func (s *settings) setTLS() *backendTLS {
	if s.tls == nil {
		s.tls = new(backendTLS)
	}
	return s.tls
}

// ofTLS is for annotations that need backend-protocol: HTTPS.
func ofTLS(handle func(*settings, Annotation)) func(*settings, Annotation) {
	return func(s *settings, a Annotation) {
		if s.needs(a, strings.EqualFold(s.values["backend-protocol"], "HTTPS") || s.is("secure-backends"), "backend-protocol: HTTPS") {
			handle(s, a)
		}
	}
}

func (s *settings) proxySecret(a Annotation) {
	if name, ok := s.object(a); ok {
		s.setTLS().secret = name
		s.carry(a, "pool.tls.ca")
	}
}

func (s *settings) proxyName(a Annotation) {
	s.setTLS().name = a.Value
	s.carry(a, "pool.tls.server_name")
}

func (s *settings) proxyServerName(a Annotation) {
	if a.Value == "on" {
		s.skip(a, "the name is always sent")
		return
	}
	s.differ(a, "pool.tls.server_name", "the name is always sent (SNI)")
}

func (s *settings) proxyVerify(a Annotation) {
	switch {
	case a.Value != "on":
		s.carry(a, "pool.tls.insecure_skip_verify")
	case s.values["proxy-ssl-secret"] == "":
		s.setTLS().verify = true
		s.differ(a, "pool.tls", "without proxy-ssl-secret, the system's authorities verify the pods' certificates")
	default:
		s.setTLS().verify = true
		s.carry(a, "pool.tls.ca")
	}
}

func (s *settings) connectTimeout(a Annotation) {
	if d, ok := s.seconds(a); ok {
		s.timeouts.Connect = &d
		s.carry(a, "route.timeouts.connect")
	}
}

// readTimeout sets how long a session may be silent, and how long an answer may take. nginx
// counts from the last byte of either side once the protocol has been switched.
func (s *settings) readTimeout(a Annotation) {
	if d, ok := s.seconds(a); ok {
		s.timeouts.Idle, s.timeouts.Response = &d, &d
		s.carry(a, "route.timeouts.idle")
	}
}

func (s *settings) sendTimeout(a Annotation) {
	if d, ok := s.seconds(a); ok {
		if d >= time.Minute {
			s.skip(a, "silent sessions go by proxy-read-timeout; a pod that takes nothing for a minute is given up (limits: {slow_consumer_timeout: ...}, http: {send_timeout: ...})")
		} else {
			s.differ(a, "", "a pod that takes nothing is given up after a minute: write limits: {slow_consumer_timeout: ...} and http: {send_timeout: ...} for less")
		}
	}
}

var failedStatus = regexp.MustCompile(`^http_(\d{3})$`)

// nextUpstream reads after which failures another pod is asked. For errors and timeouts,
// holdfast always does.
func (s *settings) nextUpstream(a Annotation) {
	var unknown []string
	different := false
	for word := range strings.FieldsSeq(a.Value) {
		switch m := failedStatus.FindStringSubmatch(word); {
		case m != nil:
			r, err := config.ParseFailedStatus(m[1])
			if err != nil {
				unknown = append(unknown, word)
			} else if !slices.Contains(s.retryOn, r) {
				s.retryOn = append(s.retryOn, r)
			}
		case word == "error" || word == "timeout":
		case word == "off" || word == "invalid_header" || word == "non_idempotent":
			different = true
		default:
			unknown = append(unknown, word)
		}
	}
	const always = "another pod is asked if one can't be reached or gives no answer, and never for a request that may have had an effect"
	switch {
	case len(unknown) > 0:
		s.differ(a, "pool.retry_on", "%s is left out; %s", hint.Quote(strings.Join(unknown, " ")), always)
	case different:
		s.differ(a, "pool.retry_on", "%s", always)
	case s.retryOn != nil:
		s.carry(a, "pool.retry_on")
	default:
		s.skip(a, always)
	}
}

func (s *settings) nextTries(a Annotation) {
	if n, ok := s.number(a); ok && n == 3 {
		s.skip(a, "three pods are asked at most")
	} else if ok {
		s.differ(a, "", "three pods are asked at most")
	}
}

func (s *settings) nextTimeout(a Annotation) {
	if n, ok := s.number(a); ok && n == 0 {
		s.skip(a, "each pod has its own timeouts")
	} else if ok {
		s.differ(a, "", "each of at most three pods has its own timeouts (timeouts: {connect: ..., handshake: ...})")
	}
}
