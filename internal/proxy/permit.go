package proxy

import (
	"net/http"
)

// permit asks the policy of the route whether the client may have what it asks for. A
// handshake that has waited in a queue counts already, but a reload may have changed who
// is admitted since.
func (h *clientHandshake) permit() error {
	if err := h.admit(); err != nil { // access
		return err
	}
	if h.waited != nil {
		return nil
	}
	if err := h.limitAddress(); err != nil {
		return err
	}
	return nil
}

// permitPlain is permit for a request of plain HTTP. It is called once for each
// request, before a backend is chosen. The error is an *httpproxy.Error.
func (p *Proxy) permitPlain(r *http.Request) error {
	return admitPlain(plainOf(r)) // access
}
