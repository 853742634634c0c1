package proxy

import (
	"net/http"
)

// permit asks the policy of the route whether the client may have what it asks for. A
// handshake that has waited in a queue was permitted before.
func (h *clientHandshake) permit() error {
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
func (p *Proxy) permitPlain(*http.Request) error { return nil }
