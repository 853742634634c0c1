package proxy

import (
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
)

// beginWith begins a stage with the backend of the present try.
func (h *clientHandshake) beginWith(s timing.Stage) {
	if h.trace != nil {
		c := &h.try.Choice
		h.trace.BeginWith(s, c.Backend.Name, c.Addr.String())
	}
}

// about fills in what is known of the handshake so far. t may be nil.
func (h *clientHandshake) about(t *timing.Trace) *timing.Trace {
	if t == nil {
		return nil
	}
	at := h.where()
	t.ID, t.Client, t.Listener = h.id, h.req.Client, h.req.Meta.ListenerName()
	t.Pool, t.Backend = at.Pool, at.Backend
	if h.rule != nil {
		t.Route = h.gen.Labels[h.rule.Label]
	}
	t.Context, t.TrustsPeer = h.req.IDs.Context(), h.gen.Forwarded.TrustsPeer(h.req.Meta.Peer)
	return t
}

// traced hands the trace over, if there is one. failed says that the client isn't to blame
// for err.
func (h *clientHandshake) traced(result string, err error, failed bool) {
	t := h.about(h.trace)
	if t == nil {
		return
	}
	h.trace = nil
	t.Result, t.Err, t.Failed = result, err, failed
	t.Finish()
	h.p.Watcher.HandshakeTraced(t)
}
