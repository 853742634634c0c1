package backend

import (
	"io"
	"net/http"
	"strconv"
)

// ServeHealth answers a health check with 200, or with 503 once the server is
// draining; then holdfast sends it no more sessions. The header
// Holdfast-Load has the server's load, if it is known. Handler calls ServeHealth
// for HealthPath; call it yourself only to answer health checks on another port.
func (b *Backend) ServeHealth(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "a health check must be a GET", http.StatusMethodNotAllowed)
		return
	}
	if b.load != nil {
		if load := b.load(); load == load { // not NaN
			h.Set("Holdfast-Load", strconv.FormatFloat(max(0, min(load, 1)), 'f', 3, 64))
		}
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	status, body := http.StatusOK, "ok\n"
	if b.recordCheck() {
		status, body = http.StatusServiceUnavailable, "draining\n"
	}
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, body) // the client may have disconnected
	}
}

// recordCheck records a health check and reports whether to answer it with 503.
func (b *Backend) recordCheck() (draining bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wasChecked = true
	if b.phase == serving {
		return false
	}
	b.reported503 = true
	b.signal()
	return true
}
