package ingress

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
)

const docsFile = "../../../../docs/migrate-ingress.md"

// samples are values of annotations, one row of the table in the documentation each. with
// has other annotations of the same Ingress. means says what a value that is carried over
// becomes, if that is not a key of a route or a pool.
var samples = []struct {
	group, name, value, with, means string
}{
	{"Who gets in", "whitelist-source-range", "10.0.0.0/8,192.0.2.7", "", ""},
	{"", "allowlist-source-range", "10.0.0.0/8", "", ""},
	{"", "denylist-source-range", "192.0.2.0/24", "", ""},
	{"", "satisfy", "all", "", ""},
	{"", "satisfy", "any", "", ""},
	{"", "auth-url", "http://auth.default.svc.cluster.local/check", "", ""},
	{"", "auth-url", "http://auth/$request_uri", "", ""},
	{"", "auth-method", "GET", "auth-url=http://a/", ""},
	{"", "auth-method", "POST", "auth-url=http://a/", ""},
	{"", "auth-signin", "https://login.example.com", "auth-url=http://a/", ""},
	{"", "auth-signin-redirect-param", "rd", "auth-url=http://a/", ""},
	{"", "auth-response-headers", "X-User,X-Email", "auth-url=http://a/", ""},
	{"", "auth-request-redirect", "/back", "auth-url=http://a/", ""},
	{"", "auth-cache-key", "$http_authorization", "auth-url=http://a/", ""},
	{"", "auth-cache-duration", "200 202 5m", "auth-url=http://a/;auth-cache-key=x", ""},
	{"", "auth-always-set-cookie", "true", "auth-url=http://a/", ""},
	{"", "auth-proxy-set-headers", "default/headers", "auth-url=http://a/", ""},
	{"", "auth-snippet", "proxy_set_header X-A b;", "", ""},
	{"", "auth-keepalive", "8", "auth-url=http://a/", ""},
	{"", "auth-keepalive-share-vars", "true", "auth-url=http://a/", ""},
	{"", "auth-keepalive-requests", "1000", "auth-url=http://a/", ""},
	{"", "auth-keepalive-timeout", "60", "auth-url=http://a/", ""},
	{"", "enable-global-auth", "true", "", ""},
	{"", "enable-global-auth", "false", "", ""},
	{"", "auth-type", "basic", "", ""},
	{"", "auth-secret", "users", "auth-type=basic", ""},
	{"", "auth-secret-type", "auth-file", "auth-type=basic", ""},
	{"", "auth-realm", "private", "auth-type=basic", ""},
	{"", "auth-tls-secret", "default/clients", "", "`tls: {client_ca: ...}` of the listener; clients of the host without a certificate get 400"},
	{"", "auth-tls-verify-client", "on", "auth-tls-secret=default/c", "as above"},
	{"", "auth-tls-verify-client", "optional", "auth-tls-secret=default/c", "clients without a certificate are let in"},
	{"", "auth-tls-verify-client", "off", "auth-tls-secret=default/c", ""},
	{"", "auth-tls-verify-client", "optional_no_ca", "auth-tls-secret=default/c", ""},
	{"", "auth-tls-verify-depth", "1", "auth-tls-secret=default/c", ""},
	{"", "auth-tls-match-cn", "CN=device-1", "auth-tls-secret=default/c", ""},
	{"", "auth-tls-match-cn", "OU=(a|b)", "auth-tls-secret=default/c", ""},
	{"", "auth-tls-error-page", "https://example.com/no-cert", "auth-tls-secret=default/c", ""},
	{"", "auth-tls-pass-certificate-to-upstream", "true", "auth-tls-secret=default/c", "`tls: {client_headers: {ssl-client-cert: pem}}` of the listener"},
	{"", "enable-modsecurity", "true", "", ""},
	{"", "enable-owasp-core-rules", "true", "", ""},
	{"", "modsecurity-snippet", "SecRuleEngine On", "", ""},
	{"", "modsecurity-transaction-id", "$request_id", "", ""},
	{"", "lua-resty-waf", "true", "", ""},
	{"", "configuration-snippet", "deny all;", "", ""},
	{"", "server-snippet", "deny all;", "", ""},
	{"", "stream-snippet", "server {}", "", ""},

	{"Limits", "limit-connections", "10", "", ""},
	{"", "limit-rps", "10", "", ""},
	{"", "limit-rpm", "300", "", ""},
	{"", "limit-rpm", "300", "limit-rps=1", ""},
	{"", "limit-burst-multiplier", "3", "limit-rps=1", ""},
	{"", "limit-whitelist", "10.0.0.0/8", "limit-rps=1", ""},
	{"", "limit-allowlist", "10.0.0.0/8", "limit-rps=1", ""},
	{"", "limit-rate", "100", "", ""},
	{"", "limit-rate-after", "100", "", ""},
	{"", "global-rate-limit", "100", "", ""},
	{"", "global-rate-limit-window", "1m", "", ""},
	{"", "global-rate-limit-key", "$remote_addr", "", ""},
	{"", "global-rate-limit-ignored-cidrs", "10.0.0.0/8", "", ""},
	{"", "proxy-body-size", "8m", "", ""},
	{"", "proxy-body-size", "0", "", ""},

	{"Which pod", "affinity", "cookie", "", ""},
	{"", "affinity-mode", "balanced", "affinity=cookie", ""},
	{"", "affinity-mode", "persistent", "affinity=cookie", ""},
	{"", "affinity-canary-behavior", "sticky", "affinity=cookie", ""},
	{"", "session-cookie-name", "route", "affinity=cookie", ""},
	{"", "session-cookie-name", "route", "", ""},
	{"", "session-cookie-max-age", "172800", "affinity=cookie", ""},
	{"", "session-cookie-expires", "172800", "affinity=cookie", ""},
	{"", "session-cookie-path", "/ws", "affinity=cookie", ""},
	{"", "session-cookie-domain", "example.com", "affinity=cookie", ""},
	{"", "session-cookie-samesite", "Strict", "affinity=cookie", ""},
	{"", "session-cookie-secure", "true", "affinity=cookie", ""},
	{"", "session-cookie-change-on-failure", "true", "affinity=cookie", ""},
	{"", "session-cookie-change-on-failure", "false", "affinity=cookie", ""},
	{"", "session-cookie-conditional-samesite-none", "true", "affinity=cookie", ""},
	{"", "session-cookie-hash", "sha1", "", ""},
	{"", "upstream-hash-by", "$remote_addr", "", ""},
	{"", "upstream-hash-by", "$remote_addr", "affinity=cookie", ""},
	{"", "upstream-hash-by", "$upstream_addr", "", ""},
	{"", "upstream-hash-by-subset", "true", "upstream-hash-by=$uri", ""},
	{"", "upstream-hash-by-subset-size", "3", "upstream-hash-by=$uri", ""},
	{"", "load-balance", "round_robin", "", ""},
	{"", "load-balance", "ewma", "", ""},
	{"", "load-balance", "least_conn", "", ""},
	{"", "load-balance", "ip_hash", "", ""},
	{"", "service-upstream", "true", "", ""},
	{"", "canary", "true", "", "its routes go before those of the other Ingress"},
	{"", "canary-by-header", "X-Canary", "canary=true", ""},
	{"", "canary-by-header-value", "beta", "canary=true;canary-by-header=X-Canary", ""},
	{"", "canary-by-header-pattern", "^b", "canary=true;canary-by-header=X-Canary", ""},
	{"", "canary-by-cookie", "canary", "canary=true", ""},
	{"", "canary-weight", "10", "canary=true", ""},
	{"", "canary-weight-total", "1000", "canary=true", ""},
	{"", "default-backend", "errors", "", ""},

	{"How pods are reached", "backend-protocol", "HTTP", "", ""},
	{"", "backend-protocol", "HTTPS", "", ""},
	{"", "backend-protocol", "GRPC", "", ""},
	{"", "backend-protocol", "FCGI", "", ""},
	{"", "backend-protocol", "AUTO_HTTP", "", ""},
	{"", "secure-backends", "true", "", ""},
	{"", "grpc-backend", "true", "", ""},
	{"", "proxy-ssl-secret", "default/backends", "backend-protocol=HTTPS", ""},
	{"", "proxy-ssl-name", "chat.internal", "backend-protocol=HTTPS", ""},
	{"", "proxy-ssl-server-name", "on", "backend-protocol=HTTPS", ""},
	{"", "proxy-ssl-server-name", "off", "backend-protocol=HTTPS", ""},
	{"", "proxy-ssl-verify", "on", "backend-protocol=HTTPS;proxy-ssl-secret=a/b", ""},
	{"", "proxy-ssl-verify", "off", "backend-protocol=HTTPS", ""},
	{"", "proxy-ssl-verify-depth", "1", "backend-protocol=HTTPS", ""},
	{"", "proxy-ssl-ciphers", "DEFAULT", "backend-protocol=HTTPS", ""},
	{"", "proxy-ssl-protocols", "TLSv1.2", "backend-protocol=HTTPS", ""},
	{"", "proxy-connect-timeout", "10", "", ""},
	{"", "proxy-read-timeout", "86400", "", ""},
	{"", "proxy-send-timeout", "86400", "", ""},
	{"", "proxy-send-timeout", "10", "", ""},
	{"", "proxy-next-upstream", "error timeout", "", ""},
	{"", "proxy-next-upstream", "error timeout http_502", "", ""},
	{"", "proxy-next-upstream", "off", "", ""},
	{"", "proxy-next-upstream-tries", "3", "", ""},
	{"", "proxy-next-upstream-tries", "5", "", ""},
	{"", "proxy-next-upstream-timeout", "0", "", ""},
	{"", "proxy-next-upstream-timeout", "10", "", ""},
	{"", "proxy-http-version", "1.1", "", ""},
	{"", "connection-proxy-header", "keep-alive", "", ""},
	{"", "websocket-services", "chat", "", ""},
	{"", "upstream-vhost", "chat.internal", "", ""},
	{"", "fastcgi-index", "index.php", "", ""},
	{"", "fastcgi-params-configmap", "params", "", ""},

	{"Hosts, paths and redirects", "server-alias", "www.example.com", "", "the same routes for the other name"},
	{"", "use-regex", "true", "", ""},
	{"", "rewrite-target", "/$1", "", ""},
	{"", "rewrite-target", "https://example.com/$1", "", ""},
	{"", "rewrite-target", "/$request_id_x", "", ""},
	{"", "x-forwarded-prefix", "/app", "rewrite-target=/", ""},
	{"", "app-root", "/app", "", "a route for `/` with `redirect`, status 302"},
	{"", "permanent-redirect", "https://example.com$request_uri", "", ""},
	{"", "permanent-redirect-code", "308", "permanent-redirect=https://example.com", ""},
	{"", "temporal-redirect", "https://example.com", "", ""},
	{"", "temporal-redirect-code", "307", "temporal-redirect=https://example.com", ""},
	{"", "from-to-www-redirect", "true", "", "a route for the other name with `redirect`"},
	{"", "relative-redirects", "true", "", ""},
	{"", "ssl-redirect", "true", "", "a route of the listener on port 80 with `redirect`, status 308; this is also what hosts with `tls` have by default"},
	{"", "ssl-redirect", "false", "", "no such route"},
	{"", "force-ssl-redirect", "true", "", "as `ssl-redirect`, without `tls`, too"},
	{"", "preserve-trailing-slash", "true", "", ""},
	{"", "use-port-in-redirects", "true", "", ""},
	{"", "ssl-passthrough", "true", "", "a listener with `mode: tls-passthrough`; refused if other hosts have certificates"},
	{"", "ssl-ciphers", "HIGH", "", ""},
	{"", "ssl-prefer-server-ciphers", "true", "", ""},

	{"Header fields and bodies", "custom-headers", "default/headers", "", ""},
	{"", "enable-cors", "true", "", ""},
	{"", "cors-allow-origin", "https://*.example.com", "enable-cors=true", ""},
	{"", "cors-allow-methods", "GET", "enable-cors=true", ""},
	{"", "cors-allow-headers", "X-A", "enable-cors=true", ""},
	{"", "cors-expose-headers", "X-B", "enable-cors=true", ""},
	{"", "cors-allow-credentials", "false", "enable-cors=true", ""},
	{"", "cors-max-age", "600", "enable-cors=true", ""},
	{"", "proxy-cookie-domain", "a b", "", ""},
	{"", "proxy-cookie-path", "off", "", ""},
	{"", "proxy-redirect-from", "off", "", ""},
	{"", "proxy-redirect-to", "http://b", "", ""},
	{"", "custom-http-errors", "404,503", "", ""},
	{"", "disable-proxy-intercept-errors", "true", "", ""},
	{"", "mirror-target", "https://test.env.com$request_uri", "", ""},
	{"", "mirror-request-body", "off", "", ""},
	{"", "mirror-host", "test", "", ""},
	{"", "client-body-buffer-size", "1M", "", ""},
	{"", "proxy-request-buffering", "off", "", ""},
	{"", "proxy-buffering", "on", "", ""},
	{"", "proxy-buffers-number", "4", "", ""},
	{"", "proxy-buffer-size", "8k", "", ""},
	{"", "proxy-busy-buffers-size", "16k", "", ""},
	{"", "proxy-max-temp-file-size", "1024m", "", ""},
	{"", "http2-push-preload", "true", "", ""},

	{"Logs and traces", "enable-access-log", "false", "", ""},
	{"", "enable-rewrite-log", "true", "", ""},
	{"", "enable-opentelemetry", "true", "", ""},
	{"", "enable-opentracing", "true", "", ""},
	{"", "opentelemetry-trust-incoming-span", "true", "", ""},
	{"", "opentracing-trust-incoming-span", "true", "", ""},
	{"", "opentelemetry-operation-name", "HTTP", "", ""},
	{"", "enable-influxdb", "true", "", ""},
}

// TestDocs: the table in the documentation has every annotation, with what becomes of it.
func TestDocs(t *testing.T) {
	var b strings.Builder
	known := map[string]bool{}
	for _, s := range samples {
		known[s.name] = true
		if s.group != "" {
			fmt.Fprintf(&b, "\n### %s\n\n| Annotation | Value | Outcome | What becomes of it |\n|---|---|---|---|\n", s.group)
		}
		ing := Ingress{Meta: Meta{Namespace: "default", Name: "a"}, TLS: []TLS{{Hosts: []string{"example.com"}}}, Rules: []Rule{{Host: "example.com"}}}
		for pair := range strings.SplitSeq(s.with, ";") {
			if name, value, ok := strings.Cut(pair, "="); ok {
				ing.Annotations = append(ing.Annotations, Annotation{Name: AnnotationPrefix + name, Value: value})
			}
		}
		ing.Annotations = append(ing.Annotations, Annotation{Name: AnnotationPrefix + s.name, Value: s.value})
		if s.name == "canary" {
			ing.Annotations = ing.Annotations[len(ing.Annotations)-1:]
		}
		var notes []note
		for _, n := range readSettings(&ing, map[string]*ConfigMap{"default/headers": {Data: [][2]string{{"X-A", "b"}}}}, false).notes {
			if n.Name == s.name {
				notes = append(notes, n)
			}
		}
		if len(notes) != 1 {
			t.Errorf("%s: %s has %d notes, want one: %v", s.name, s.value, len(notes), notes)
			continue
		}
		n := notes[0]
		text := n.text
		if n.outcome == importer.Carried {
			if kind, key, ok := strings.Cut(n.target, "."); ok && s.means == "" {
				text = fmt.Sprintf("`%s` of the %s", key, kind)
			} else {
				text = s.means
			}
			if text == "" {
				t.Errorf("%s: %s is carried over: say what it becomes", s.name, s.value)
			}
		} else if s.means != "" {
			t.Errorf("%s: %s is %v, and needs no other text", s.name, s.value, n.outcome)
		}
		value := "`" + s.value + "`"
		if s.with != "" && strings.Contains(s.with, "affinity=cookie") && s.name == "upstream-hash-by" {
			value += ", beside `affinity: cookie`"
		}
		if s.name == "limit-rpm" && s.with != "" {
			value += ", beside a slower `limit-rps`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.name, value, n.outcome, strings.ReplaceAll(text, "|", `\|`))
	}
	for _, name := range annotationNames() {
		if !known[name] {
			t.Errorf("no sample of the annotation %s", name)
		}
	}
	for _, name := range controllerList {
		if annotations[name] == nil {
			t.Errorf("the annotation %s of ingress-nginx is unknown", name)
		}
	}
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- The tables are written by go test -update. -->\n", "<!-- End of the tables. -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables", docsFile)
	}
	want := before + begin + b.String() + "\n" + end + after
	if want == string(text) {
		return
	}
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the tables of %s are outdated: run go test -update", docsFile)
}

// controllerList has the annotations that ingress-nginx 1.15 documents.
var controllerList = slices.Collect(strings.FieldsSeq(`
server-alias allowlist-source-range backend-protocol auth-realm auth-secret auth-secret-type auth-type canary
canary-by-cookie canary-by-header canary-by-header-pattern canary-by-header-value canary-weight canary-weight-total
auth-tls-error-page auth-tls-match-cn auth-tls-pass-certificate-to-upstream auth-tls-secret auth-tls-verify-client
auth-tls-verify-depth client-body-buffer-size configuration-snippet connection-proxy-header cors-allow-credentials
cors-allow-headers cors-allow-methods cors-allow-origin cors-expose-headers cors-max-age enable-cors
custom-http-errors custom-headers default-backend denylist-source-range disable-proxy-intercept-errors
enable-global-auth auth-always-set-cookie auth-cache-duration auth-cache-key auth-keepalive auth-keepalive-requests
auth-keepalive-share-vars auth-keepalive-timeout auth-method auth-proxy-set-headers auth-request-redirect
auth-response-headers auth-signin auth-signin-redirect-param auth-snippet auth-url fastcgi-index
fastcgi-params-configmap http2-push-preload load-balance enable-access-log enable-rewrite-log mirror-host
mirror-request-body mirror-target enable-modsecurity enable-owasp-core-rules modsecurity-snippet
modsecurity-transaction-id enable-opentelemetry opentelemetry-operation-name opentelemetry-trust-incoming-span
proxy-body-size proxy-buffer-size proxy-buffering proxy-buffers-number proxy-busy-buffers-size proxy-connect-timeout
proxy-cookie-domain proxy-cookie-path proxy-http-version proxy-max-temp-file-size proxy-next-upstream
proxy-next-upstream-timeout proxy-next-upstream-tries proxy-read-timeout proxy-redirect-from proxy-redirect-to
proxy-request-buffering proxy-send-timeout proxy-ssl-ciphers proxy-ssl-name proxy-ssl-protocols proxy-ssl-secret
proxy-ssl-server-name proxy-ssl-verify proxy-ssl-verify-depth limit-allowlist limit-burst-multiplier
limit-connections limit-rate limit-rate-after limit-rpm limit-rps from-to-www-redirect permanent-redirect
permanent-redirect-code relative-redirects temporal-redirect temporal-redirect-code app-root force-ssl-redirect
preserve-trailing-slash rewrite-target ssl-redirect use-regex ssl-ciphers ssl-prefer-server-ciphers ssl-passthrough
satisfy server-snippet service-upstream affinity affinity-canary-behavior affinity-mode
session-cookie-change-on-failure session-cookie-conditional-samesite-none session-cookie-domain
session-cookie-expires session-cookie-max-age session-cookie-name session-cookie-path session-cookie-samesite
session-cookie-secure stream-snippet upstream-hash-by upstream-hash-by-subset upstream-hash-by-subset-size
upstream-vhost use-port-in-redirects x-forwarded-prefix whitelist-source-range limit-whitelist`))
