package gateway

import (
	"regexp"
	"strconv"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// The header fields of CORS (https://fetch.spec.whatwg.org/#http-cors-protocol).
const (
	corsOrigin      = "Access-Control-Allow-Origin"
	corsCredentials = "Access-Control-Allow-Credentials"
	corsMethods     = "Access-Control-Allow-Methods"
	corsHeaders     = "Access-Control-Allow-Headers"
	corsExpose      = "Access-Control-Expose-Headers"
	corsMaxAge      = "Access-Control-Max-Age"
	askedMethod     = "access-control-request-method"
	askedHeaders    = "access-control-request-headers"
)

// withCORS returns the routes of a rule whose filter says which pages of other origins may
// read its answers. base is its route without that. In their order:
//
//   - a preflight from a page that may: the balancer answers it with what is allowed,
//   - any other preflight: the balancer's answer allows nothing,
//   - a request from a page that may: the answer says so,
//   - all other requests: the answer says nothing, whatever the backend says.
func withCORS(base config.Route, f *gwv1.HTTPCORSFilter) []config.Route {
	origin := [2]string{"origin", originPattern(f.AllowOrigins)}
	allowed := config.Headers{{corsOrigin, "${header.origin}"}}
	if deref(f.AllowCredentials, false) {
		allowed = append(allowed, [2]string{corsCredentials, "true"})
	}
	if expose := joined(f.ExposeHeaders, ""); expose != "" {
		allowed = append(allowed, [2]string{corsExpose, expose})
	}
	preflight := append(config.Headers(nil), allowed...)
	for _, field := range []struct{ name, value string }{
		{corsMethods, joined(f.AllowMethods, askedMethod)}, {corsHeaders, joined(f.AllowHeaders, askedHeaders)},
		{corsMaxAge, strconv.Itoa(int(max(f.MaxAge, 0)))},
	} {
		if field.value != "" {
			preflight = append(preflight, [2]string{field.name, field.value})
		}
	}
	// A cache must not give one page the answer that another one may read.
	vary := [2]string{"Vary", "Origin"}
	asked := "*"
	if len(base.Match.Method) == 1 {
		asked = base.Match.Method[0] // that of the request itself, which the preflight is about
	}

	answer := base
	answer.Pool, answer.Split, answer.Redirect, answer.Respond = "", nil, nil, status(204)
	answer.RequestHeaders, answer.Rewrite, answer.Timeouts = config.HeaderEdits{}, config.Rewrite{}, config.RouteTimeouts{}
	answer.Match.Method = []string{"OPTIONS"}
	answer.Match.Header = with(base.Match.Header, [2]string{askedMethod, asked})
	answer.ResponseHeaders = config.HeaderEdits{Add: config.Headers{vary}}

	may := answer
	may.Match.Header = with(answer.Match.Header, origin)
	may.ResponseHeaders.Set = preflight

	from := base
	from.Match.Header = with(base.Match.Header, origin)
	from.ResponseHeaders.Set = with(base.ResponseHeaders.Set, allowed...)
	from.ResponseHeaders.Add = with(base.ResponseHeaders.Add, vary)

	other := base
	other.ResponseHeaders.Add = with(base.ResponseHeaders.Add, vary)
	other.ResponseHeaders.Remove = append(append([]string(nil), base.ResponseHeaders.Remove...), corsOrigin, corsCredentials)
	return []config.Route{may, answer, from, other}
}

// with returns list with more, and leaves list alone.
func with(list config.Headers, more ...[2]string) config.Headers {
	return append(append(config.Headers(nil), list...), more...)
}

// joined is the value of a field that lists words. "*" among them stands for what the header
// field asked names, which is the same for a browser, and right with credentials, too.
func joined[T ~string](list []T, asked string) string {
	var words []string
	for _, word := range list {
		if word == "*" && asked != "" {
			return "${header." + asked + "}"
		}
		words = append(words, escape(string(word)))
	}
	return strings.Join(words, ", ")
}

// originPattern is a pattern of pattern.ParseValue for origins. A "*" stands for any host,
// or any names below one, with any port if it is alone.
func originPattern(origins []gwv1.CORSOrigin) string {
	var list []string
	for _, o := range origins {
		if o == "*" {
			return "*"
		}
		expression := regexp.QuoteMeta(string(o))
		list = append(list, strings.Replace(expression, `\*`, `[^/:]+`, 1))
	}
	return "~(?i)^(?:" + strings.Join(list, "|") + ")$"
}
