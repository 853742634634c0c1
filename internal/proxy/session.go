package proxy

import (
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/session/claims"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
)

// startSession sends the client its 101 and hands both connections to the engine.
func (h *clientHandshake) startSession() error {
	h.learn()
	changes := h.req.AnswerChanges(h.gen, h.try.Choice.Backend.Name)
	changes.SetCookie = h.setCookie()
	h.answer = handshake.AppendResponse(h.answer, &h.try.Resp, &h.req.Upgrade, &changes)
	if _, err := h.conn.Write(h.answer); err != nil {
		return failure.Wrap(failure.ClientGone, err)
	}
	start := h.newSession()
	var shown claims.Claims
	if grant := h.req.Grant; grant != nil {
		start.TokenExpires, shown = grant.Expires, grant.Session
	}
	if start.Opaque = h.req.Upgrade.Other != nil; !start.Opaque {
		start.Rules = h.req.Upgrade.FrameRules(&h.try.Resp)
		h.p.reattacher.Keep(&start, &h.req, &h.try, h.rule.Pool, h.pool())
	}
	h.start(&start, Opened{TLS: h.req.Meta.TLS, RequestID: h.req.IDs.Request(), TraceID: h.req.IDs.Trace(), Claims: shown})
	return nil
}

// learn notes which backend the client belongs to, before the client has the answer.
func (h *clientHandshake) learn() {
	h.pool().Learn(&h.req, h.try.Choice.Backend.Name, h.try.Resp.Fields.At)
}

// newSession is what a session with the backend begins with.
func (h *clientHandshake) newSession() relay.Start {
	return relay.Start{Limits: *h.gen.SessionLimits(h.rule), Info: session.Info{
		ID:      h.id,
		Client:  h.req.Client,
		Backend: h.try.Choice.Backend.ID,
		Route:   h.gen.Labels[h.rule.Label],
		Started: time.Now(),
	}}
}

// start hands both connections to the engine.
func (h *clientHandshake) start(start *relay.Start, o Opened) {
	h.countAffinity()
	h.p.Watcher.HandshakeDone(h.where(), ResultOpened, start.Info.Started.Sub(h.began))
	h.traced(ResultOpened, nil, false)
	h.p.Watcher.SessionOpened(start.Info, o)
	h.ticket.Opened()
	h.hold.Opened(h.id)
	h.try.Handed() // the session's end releases the lease
	start.Early[session.Client] = h.req.Early()
	start.Early[session.Backend] = h.try.Early()
	if err := h.p.Engine.Start(h.conn, h.try.Conn, *start); err != nil {
		h.notStarted(start.Info, err)
	}
}

// setCookie is the cookie that brings the client back to its backend; nil in a
// pool without. Each 101 renews it.
func (h *clientHandshake) setCookie() []byte {
	cookie := h.pool().Cookie
	if cookie == nil {
		return nil
	}
	h.request = cookie.AppendSetCookie(h.request[:0], h.try.Choice.Index, h.req.IsSecure(h.gen.Forwarded)) // the request is out
	return h.request
}
