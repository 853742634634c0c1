package backend

import (
	"io"
	"net/http"
	"strconv"
)

// ServeHealth answers a health check: 200, or 503 once the server is draining,
// which holdfast takes for the wish to get no more sessions. Holdfast-Load says
// how busy the server is, if that is known. Handler calls it for HealthPath;
// it is there for those who serve health on a port of its own.
func (b *Backend) ServeHealth(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "a health check is a GET", http.StatusMethodNotAllowed)
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
	if b.checked() {
		status, body = http.StatusServiceUnavailable, "draining\n"
	}
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, body) // who asked may have gone
	}
}

// checked notes that a health check is being answered, and tells whether with
// 503.
func (b *Backend) checked() (draining bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = true
	if b.phase == serving {
		return false
	}
	b.told = true
	b.change()
	return true
}
