package proxy

import (
	"net/http"

	"github.com/holdfast-ws/holdfast/internal/httpproxy"
)

// longestLoggedPath bounds what a line has of a path, in bytes.
const longestLoggedPath = 1024

// loggedPath is a path for the log. It has no query, which may have secrets in it.
func loggedPath(path string) string {
	if len(path) > longestLoggedPath {
		return path[:longestLoggedPath] + "…"
	}
	return path
}

// plainDone is called after each plain HTTP request.
func (p *Proxy) plainDone(in *http.Request, d httpproxy.Done) {
	p.HTTPDone(Where{d.Pool, d.Backend}, d.Status, d.Took)
	if p.LogHTTP == nil || !p.LogHTTP(d.Status, d.Broken) {
		return
	}
	route := ""
	if rule := plainOf(in).rule; rule != nil {
		route = rule.Label
	}
	about := []any{"status", d.Status, "client", p.plainClient(in), "method", in.Method, "host", in.Host, "path", loggedPath(in.URL.EscapedPath()),
		"route", route, "pool", d.Pool, "backend", d.Backend, "bytes", d.Bytes, "duration", d.Took.Seconds()}
	if d.Broken {
		about = append(about, "broken", true)
	}
	p.Log.Info("plain HTTP request", append(about, plainAbout(in)...)...)
}
