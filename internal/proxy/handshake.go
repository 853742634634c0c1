package proxy

import (
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/httpproxy"
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/proxy/timing"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/auth"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/limit"
	"github.com/holdfast-ws/holdfast/internal/stage/overload"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/stage/secure"
	"github.com/holdfast-ws/holdfast/internal/wire/clienthello"
)

// clientHandshake is a client's connection on its way to become a session: what
// it asked, the try at a backend that is under way, and where it has got to. It
// is used again for others.
type clientHandshake struct {
	p      *Proxy
	gen    *generation.Generation
	conn   transport.Conn // the client's
	ticket overload.Ticket
	hold   limit.Hold
	// asked means that a TLS handshake, if it was made, has led to a request.
	asked  bool
	waited *queuedHandshake // in a queue before; nil for one that has just come
	began  time.Time        // when the request's head had come, the first time; zero before

	req   attempt.Request
	hello clienthello.Hello // on a listener that passes TLS through
	rule  *route.Rule       // nil before route
	auth  *auth.Policy      // that req.Grant is of; nil without one

	try   attempt.Try
	aside *setAside // an answer that is kept while another backend is asked; or nil
	tries int       // backends asked, including the one of try
	tried balance.Tried
	// waitFor is the ID of the backend whose token it must wait for; 0 is any.
	waitFor uint32
	// affinity is the result of the last choice. It is "" in a pool without
	// affinity, and once it is counted.
	affinity string

	id       session.ID         // of the session, from when a backend is asked
	reattach handshake.Reattach // req.Upgrade's, if the pool has reattach

	trace   *timing.Trace // nil unless it is traced
	request []byte        // for backends
	answer  []byte        // for the client
}

func (h *clientHandshake) reset(p *Proxy, c transport.Conn, waited *queuedHandshake) {
	h.p, h.gen, h.conn, h.waited = p, p.generation.Load(), c, waited
	h.ticket, h.hold, h.asked = overload.Ticket{}, limit.Hold{}, true
	h.began, h.hello, h.rule, h.auth = time.Time{}, clienthello.Hello{}, nil, nil
	h.req.Reset(c.Meta())
	h.try.Reset()
	h.aside, h.tries, h.tried, h.waitFor, h.affinity = nil, 0, balance.Tried{}, 0, ""
	if waited != nil {
		h.tries = waited.tries
	}
	if h.trace = nil; waited != nil {
		h.trace = waited.trace
		h.trace.Waited(timing.Queue, waited.since)
	} else if p.Watcher.TraceHandshake() {
		h.trace = timing.New()
	}
	h.id = session.ID{}
	h.request, h.answer = h.request[:0], h.answer[:0]
}

// run takes the connection through the stages, which are named on the right. An
// error ends it; conclude then tells the client.
func (h *clientHandshake) run() error {
	if err := h.enter(); err != nil { // overload
		return err
	}
	if err := h.introduce(); err != nil { // introduce, by a proxy in front
		return err
	}
	if err := h.permitPeer(); err != nil { // access, by the connection's other end
		return err
	}
	if err := h.secure(); err != nil { // secure
		return err
	}
	if httpproxy.IsHTTP2(&h.req.Meta) {
		return h.handToHTTP() // httpproxy; a WebSocket comes by HTTP/1.1
	}
	if err := h.readRequest(); err != nil { // handshake, with the client
		return err
	}
	if err := h.enterClient(); err != nil { // overload, by the client's address
		return err
	}
	if err := h.answerItself(); err != nil { // redirects, and challenges of ACME
		return err
	}
	if h.asksOtherUpgrade() {
		return h.runUpgrade()
	}
	if !h.req.IsWebSocket() {
		return h.handToHTTP() // httpproxy
	}
	if err := h.req.Check(); err != nil { // handshake
		return err
	}
	if err := h.chooseRoute(); err != nil { // route
		return err
	}
	if err := h.permit(); err != nil { // what the route asks of its requests, or answers itself
		return err
	}
	if err := h.reachBackend((*clientHandshake).exchange); err != nil { // balance, ratelimit, dial, handshake
		return err
	}
	return h.startSession() // relay, and closing at the session's end
}

// enter counts the handshake against the limits.
func (h *clientHandshake) enter() (err error) {
	h.conn.SetDeadline(time.Now().Add(h.gen.Handshake))
	if h.waited != nil {
		h.ticket, h.hold = h.waited.ticket.Resume(), h.waited.hold.Move()
		return nil
	}
	if err := h.enterListener(); err != nil {
		return err
	}
	peer := h.req.Meta.Peer
	from := limitedPeer(h.gen, peer)
	if h.needsProxy() && h.req.Meta.Listener.Proxies.Trusts(peer) {
		from = netip.Addr{} // a proxy's: only its header says whose handshake it is
	}
	if h.p.Gate.Full() {
		h.p.server.CloseIdle() // a connection that waits for nothing makes room
	}
	h.ticket, err = h.p.Gate.Enter(from)
	return err
}

// secure makes the TLS handshake, on a listener with TLS. A connection that comes back
// from a queue or from net/http has made it before.
func (h *clientHandshake) secure() error {
	if !h.needsTLS() {
		return nil
	}
	if err := h.limitTLS(); err != nil {
		return err
	}
	h.trace.Begin(timing.TLS)
	conn, err := h.req.Meta.Listener.TLS.Secure(h.conn)
	h.trace.End(err)
	if err != nil {
		h.p.Watcher.TLSDone(secure.Result(err), nil)
		return err
	}
	h.conn = conn
	h.req.Meta = conn.Meta()
	h.p.Watcher.TLSDone(secure.OK, h.req.Meta.TLS)
	if h.req.Meta.TLS.Protocol == acmeProtocol {
		h.asked = true
		return failure.New(failure.NothingAsked, "it has answered a challenge of ACME")
	}
	return nil
}

// needsTLS reports whether a TLS handshake is still to be made.
func (h *clientHandshake) needsTLS() bool {
	on := h.req.Meta.Listener
	return on != nil && on.TLS != nil && !h.req.Meta.Secure()
}

// acmeProtocol is agreed on by the authority of ACME, which only looks at the
// certificate (RFC 8737 §3).
const acmeProtocol = "acme-tls/1"

// enterClient counts the handshake under the address of its client, if only the
// head says which that is.
func (h *clientHandshake) enterClient() error {
	return h.ticket.SetClient(h.limitedClient())
}

func (h *clientHandshake) readRequest() error {
	h.trace.Begin(timing.Request)
	err := h.req.Read(h.conn, h.gen)
	h.trace.End(err)
	h.asked = h.asked || err == nil
	h.began = h.req.Began
	if h.waited != nil {
		h.began, h.req.ID = h.waited.began, h.waited.id
	}
	if err != nil {
		if h.req.BeginsTLS() && !h.req.Meta.Secure() {
			return h.refuseTLS()
		}
		return h.explainUnread(err)
	}
	h.req.Identify(h.gen)
	return nil
}

// handToHTTP gives the connection, with what was read of it, to net/http.
func (h *clientHandshake) handToHTTP() error {
	if err := h.limitConnection(); err != nil {
		return err
	}
	conn, err := h.conn.Detach()
	if err != nil {
		return failure.Wrap(failure.ClientGone, err)
	}
	// It counts as a session, since it needs as many descriptors. httpEnded ends
	// that.
	h.ticket.Opened()
	h.hold.Detach()
	h.p.HTTPBegins()
	if !h.p.server.Hand(conn, h.req.Meta, append([]byte(nil), h.req.Bytes()...)) {
		h.p.httpEnded(h.req.Meta, true)
	}
	return nil
}

func (h *clientHandshake) chooseRoute() (err error) {
	h.trace.Begin(timing.Route)
	defer func() { h.trace.End(err) }()
	if h.req.Meta.Opaque() {
		hello := h.hello
		if t := h.req.Meta.TLS; t != nil { // it ends here
			hello.ServerName = []byte(t.ServerName)
		}
		h.rule, err = h.gen.Routes.MatchConnection(h.req.Meta.ListenerName(), h.req.ClientIP(), &hello)
	} else if err = directed(h.gen, &h.req.Meta, h.req.Upgrade.Host); err == nil {
		h.rule, err = h.gen.Routes.MatchBytes(h.req.Upgrade.Host, h.req.Upgrade.Path, h.req.Upgrade.Other == nil, &h.req)
	}
	if err != nil {
		return err
	}
	return h.follow()
}

// follow makes what the route changes apply to the request.
func (h *clientHandshake) follow() error {
	return h.req.Follow(h.gen.PolicyOf(h.rule).Forward, h.rule.Pool)
}

func (h *clientHandshake) pool() *generation.Pool { return h.gen.Pools[h.rule.Pool] }

// takeBackend chooses a backend and begins a try at it.
func (h *clientHandshake) takeBackend() error {
	if ok, err := h.takeReserved(); ok || err != nil {
		h.tries++
		return err
	}
	err := h.take()
	if err != nil && h.gen != h.p.generation.Load() {
		// A reload has replaced the backends since: go by the new ones.
		h.gen, h.tried = h.p.generation.Load(), balance.Tried{}
		if err := h.chooseRoute(); err != nil {
			return err
		}
		if err := h.permit(); err != nil {
			return err
		}
		err = h.take()
	}
	if err == nil {
		h.tries++
	}
	return err
}

func (h *clientHandshake) take() error {
	p := h.pool()
	// One that has waited or been tried isn't queued behind those that arrive.
	queued := h.waited != nil || h.tries > 0
	c, _, affinity, err := p.Take(p.Limits(queued), &h.req, balance.Query{Tried: h.tried, Session: true})
	h.affinity, h.waitFor = affinity, 0
	if err != nil {
		if c.Backend != nil {
			h.waitFor = c.Backend.ID
		}
		return err
	}
	var inFlight *ratelimit.Bucket
	if queued {
		inFlight = p.Bucket(c.Index)
	}
	h.try.Begin(p, c, inFlight)
	return nil
}

func (h *clientHandshake) connect() error {
	dialer := h.gen.Dialer(h.req.Forward())
	deadline := time.Now().Add(dialer.Timeout + h.gen.AnswerTimeout(h.req.Forward()))
	h.conn.SetDeadline(deadline.Add(time.Second)) // the backend's deadline comes first
	h.beginWith(timing.Dial)
	err := h.try.Connect(h.conn, &h.req, dialer, deadline)
	h.trace.End(err)
	return err
}

// exchange sends the request to the backend and reads its answer.
func (h *clientHandshake) exchange() error {
	if len(h.request) == 0 { // the first backend that is asked
		h.id = h.req.NeedID()
		h.req.Upgrade.Session = h.id
		if h.pool().Reattach != nil && h.req.Upgrade.Other == nil {
			h.reattach = handshake.Reattach{ID: h.id}
			h.req.Upgrade.Reattach = &h.reattach
		}
		h.request = append(h.req.AppendRequest(h.request, h.gen), h.req.Body()...)
	}
	h.beginWith(timing.Handshake)
	err := h.try.Ask(h.request, &h.req, time.Now().Add(h.gen.AnswerTimeout(h.req.Forward())))
	h.trace.End(err)
	return err
}
