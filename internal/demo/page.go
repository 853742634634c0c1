package demo

import (
	"embed"
	"net"
	"net/http"
	"os"
	"strings"
)

//go:embed page
var pageFiles embed.FS

// pageTypes are set rather than guessed: the system's MIME table may be wrong,
// and nosniff makes browsers strict.
var pageTypes = map[string]string{
	"index.html": "text/html; charset=utf-8",
	"chat.css":   "text/css; charset=utf-8",
	"chat.js":    "text/javascript; charset=utf-8",
	"icon.svg":   "image/svg+xml",
}

// contentSecurityPolicy allows what the page has and nothing else: its own
// files, and WebSockets to its own host ('self' covers ws: in CSP 3).
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'"

// servePage adds the page's files to mux, index.html as /.
func servePage(mux *http.ServeMux) {
	for file, contentType := range pageTypes {
		path := "/" + file
		if file == "index.html" {
			path = "/{$}"
		}
		content, err := pageFiles.ReadFile("page/" + file)
		if err != nil {
			panic(err) // it is embedded
		}
		mux.Handle("GET "+path, knownHost(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Type", contentType)
			h.Set("Content-Security-Policy", contentSecurityPolicy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			h.Set("Cache-Control", "no-cache") // the next demo may be a newer holdfast
			_, _ = w.Write(content)
		})))
	}
}

// knownHost refuses requests for names that somebody else may own. Otherwise
// a foreign site could have its name resolve to this machine (DNS rebinding),
// and its pages would pass the Origin check.
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
