package proxy

import (
	"fmt"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// introduce has the proxy in front say who the client is, on a listener with
// proxy_protocol. A connection that comes back from a queue or from net/http has done
// that before.
func (h *clientHandshake) introduce() error {
	if !h.needsProxy() {
		return nil
	}
	if err := h.req.Meta.Listener.Proxies.Introduce(h.conn, h.req.Buffer()); err != nil {
		return err
	}
	h.req.Meta = h.conn.Meta()
	h.req.Client = h.req.Meta.Peer
	return h.ticket.SetClient(limitedPeer(h.gen, h.req.Client))
}

// needsProxy reports whether a header of the PROXY protocol is still to be read.
func (h *clientHandshake) needsProxy() bool {
	on := h.req.Meta.Listener
	return on != nil && on.Proxies != nil && h.req.Meta.Front == nil
}

// explainUnread returns the error of reading a request, with what the PROXY protocol has
// to do with it. The client is answered as before.
func (h *clientHandshake) explainUnread(err error) error {
	f, front := failure.Of(err), h.req.Meta.Front
	if front != nil && front.Proxy == h.req.Meta.Peer && len(h.req.Bytes()) == 0 {
		// Proxies end their health checks by a reset.
		return failure.Wrap(failure.NothingAsked, err)
	}
	if f.Code != failure.BadRequest || front != nil || !proxyproto.Looks(h.req.Bytes()) {
		return err
	}
	told := *f
	told.Reason = fmt.Sprintf("a PROXY protocol header came to the listener %q, which takes none: list the proxies in its proxy_protocol.trust", h.req.Meta.ListenerName())
	return &told
}
