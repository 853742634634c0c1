package proxy

import (
	"fmt"
	"sync"
	"time"

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

// seldom is when to log something that anybody can make happen at any rate: once in
// seldomEvery. The zero value is ready.
type seldom struct {
	mu   sync.Mutex // guards the following
	last time.Time
	more int // that were not logged since
}

const seldomEvery = 10 * time.Second

// now reports whether to log it this time, and how many times it wasn't logged before.
func (s *seldom) now() (more int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < seldomEvery {
		s.more++
		return 0, false
	}
	more, s.last, s.more = s.more, time.Now(), 0
	return more, true
}

// logRefusal logs a handshake that failed.
func (h *clientHandshake) logRefusal(code failure.Code, about []any) {
	if code == failure.ProxyStranger || code == failure.ProxyHeader {
		more, ok := h.p.notIntroduced.now()
		if !ok {
			return
		}
		if more > 0 {
			about = append(about, "not_logged", more)
		}
	}
	h.p.Log.Info("handshake refused", about...)
}
