package chat

import (
	"bytes"
	"embed"
	"html"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// pageTypes has the content types of the page's files. They aren't taken from the
// system's MIME table, which may be wrong, because with nosniff browsers rely on
// them.
var pageTypes = map[string]string{
	"index.html":    "text/html; charset=utf-8",
	"chat.css":      "text/css; charset=utf-8",
	"client.js":     "text/javascript; charset=utf-8", // holdfast-client, built in kits/client
	"connection.js": "text/javascript; charset=utf-8",
	"chat.js":       "text/javascript; charset=utf-8",
	"icon.svg":      "image/svg+xml",
}

// contentSecurityPolicy allows only the page's own files, and WebSockets to its
// own host ('self' includes ws: in CSP 3).
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'"

// servePage adds the page's files to mux, with index.html as /. For script, see
// Options.
func servePage(mux *http.ServeMux, script string) {
	for file, contentType := range pageTypes {
		path := "/" + file
		if file == "index.html" {
			path = "/{$}"
		}
		content, err := pageFiles.ReadFile("page/" + file)
		if err != nil {
			panic(err) // can't happen: it is embedded
		}
		if path == "/{$}" && script != "" {
			content = bytes.Replace(content, []byte("</head>"),
				[]byte(`<script src="`+html.EscapeString(script)+`" type="module"></script>`+"\n</head>"), 1)
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Type", contentType)
			h.Set("Content-Security-Policy", contentSecurityPolicy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			h.Set("Cache-Control", "no-cache") // another server may be a newer version
			_, _ = w.Write(content)            // the client may have disconnected
		})
	}
}
