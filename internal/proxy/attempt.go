package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admission"
	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/dial"
	"github.com/holdfast-ws/holdfast/internal/forwarded"
	"github.com/holdfast-ws/holdfast/internal/handshake"
	"github.com/holdfast-ws/holdfast/internal/httphead"
	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/route"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

const (
	// maxHead bounds a request's head, as in most servers, and a response's.
	maxHead = 16 << 10
	// usualHead is what nearly all of them fit into.
	usualHead = 4 << 10
	// maxTries bounds how many backends one client waits for.
	maxTries = 3
)

// attempt is one connection on its way to become a session: the state and the
// buffers of Proxy.run. It is used again for others.
type attempt struct {
	p      *Proxy
	gen    *Generation
	client transport.Conn // nil in a move, which has none
	peer   netip.AddrPort // of the client's connection
	ticket admission.Ticket
	began  time.Time     // when the request's head had come
	waited *waiting      // in a queue; nil where it came just now
	let    *admit.Bucket // whose token it has and hasn't used; nil for one that isn't queued

	req        httphead.Request
	up         handshake.Upgrade
	head, have int // of in: the request's head, and all that was read

	rule   *route.Rule
	tried  balance.Tried
	tries  int
	choice balance.Choice
	leased bool // choice's lease is ours to give back
	// affinity is what became of the client's mark in the last choice; "" once
	// it is counted, and in pools without.
	affinity string
	backend  transport.Conn
	asked    time.Time // backend was first dialled

	reattach handshake.Reattach // up's, where the pool has it

	resp               httphead.Response
	respHead, respHave int

	in   []byte // from the client
	ans  []byte // from the backend
	out  []byte // to the backend
	back []byte // to the client
}

func newAttempt() any {
	return &attempt{in: make([]byte, usualHead), ans: make([]byte, usualHead)}
}

func (a *attempt) reset(p *Proxy, c transport.Conn, waited *waiting) {
	a.p, a.gen, a.client = p, p.generation.Load(), c
	if c != nil {
		a.peer = c.RemoteAddr()
	}
	a.ticket = admission.Ticket{}
	a.began = time.Time{}
	a.rule, a.backend, a.leased = nil, nil, false
	a.tried, a.tries = balance.Tried{}, 0
	if a.waited = waited; waited != nil {
		a.tries = waited.tries
	}
	a.affinity, a.let = "", nil
	a.choice = balance.Choice{}
	a.up = handshake.Upgrade{}
	a.out, a.back = a.out[:0], a.back[:0]
}

func (a *attempt) enter() (err error) {
	a.client.SetDeadline(time.Now().Add(a.gen.Handshake))
	if a.waited != nil {
		a.ticket = a.waited.ticket.GoOn()
		return nil
	}
	a.ticket, err = a.p.Gate.Enter()
	return err
}

func (a *attempt) readRequest() (err error) {
	a.head, a.have, err = handshake.ReadRequest(a.client, a.in, &a.req)
	if again, grown := grow(a.client, &a.in, a.have, err); grown {
		a.head, a.have, err = handshake.ReadRequest(again, a.in, &a.req)
	}
	a.began = time.Now()
	if a.waited != nil {
		a.began = a.waited.began
	}
	return err
}

// grow gives a head that has filled the usual buffer the largest allowed one,
// and a connection that begins with what was read.
func grow(c transport.Conn, buf *[]byte, have int, err error) (_ transport.Conn, grown bool) {
	if err == nil || have < usualHead || len(*buf) == maxHead {
		return nil, false
	}
	first := *buf
	*buf = make([]byte, maxHead)
	return &reread{c, first}, true
}

type reread struct {
	transport.Conn
	first []byte
}

func (r *reread) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

func (a *attempt) isWebSocket() bool { return handshake.IsWebSocket(&a.req) }

func (a *attempt) checkRequest() error { return handshake.Check(&a.req, &a.up) }

func (a *attempt) chooseRoute() (err error) {
	a.rule, err = a.gen.Routes.MatchBytes(a.up.Host, a.up.Path, true)
	return err
}

func (a *attempt) takeBackend() (err error) {
	if a.leased, err = a.takeReserved(); a.leased || err != nil {
		a.tries++
		return err
	}
	a.choice, a.affinity, err = a.take()
	if err != nil && a.gen != a.p.generation.Load() {
		// A reload has replaced the backends since: go by the new ones.
		a.gen, a.tried = a.p.generation.Load(), balance.Tried{}
		if err := a.chooseRoute(); err != nil {
			return err
		}
		a.choice, a.affinity, err = a.take()
	}
	if err != nil {
		return err
	}
	a.leased = true
	a.tries++
	return nil
}

func (a *attempt) pool() *Pool { return a.gen.Pools[a.rule.Pool] }

func (a *attempt) take() (c balance.Choice, affinity string, err error) {
	p := a.pool()
	by := a.rates(p)
	c, _, affinity, err = p.takeAt(by, (*attemptRequest)(a), balance.Query{Tried: a.tried})
	if err == nil && by != nil && by == p.queued {
		a.let = p.buckets[c.Index]
	}
	return c, affinity, err
}

// countAffinity is called at the attempt's end: a client that was with its
// backend again until that didn't answer was moved.
func (a *attempt) countAffinity() {
	if a.affinity != "" {
		a.p.Watcher.AffinityDone(a.affinity)
		a.affinity = ""
	}
}

func (a *attempt) connect() (err error) {
	deadline := time.Now().Add(a.gen.Dial.Timeout + a.gen.Handshake)
	a.client.SetDeadline(deadline.Add(time.Second)) // the backend's answer is to come first
	a.asked = time.Now()
	a.sent()
	a.backend, err = a.gen.Dial.Connect(a.client, a.choice.Addr, deadline)
	return err
}

// exchange sends the request and reads the backend's answer to it.
func (a *attempt) exchange() error {
	if len(a.out) == 0 {
		if a.pool().Reattach != nil {
			a.reattach = handshake.Reattach{ID: session.NewID()}
			a.up.Reattach = &a.reattach
		}
		a.writeRequest(a.client.LocalAddr())
	}
	return a.ask(time.Now().Add(a.gen.Handshake))
}

// writeRequest writes what a backend is asked; local is where the client
// connected to.
func (a *attempt) writeRequest(local netip.AddrPort) {
	hop := forwarded.Hop{Peer: a.peer, Local: local, Proto: "http"}
	hop.Host, _ = a.req.Fields.Get("Host")
	a.out = handshake.AppendRequest(a.out[:0], &a.req, &a.up, a.gen.Forwarded, hop)
}

// ask is exchange with what writeRequest wrote.
func (a *attempt) ask(deadline time.Time) (err error) {
	a.backend.SetDeadline(deadline)
	if _, err := a.backend.Write(a.out); err != nil {
		return &silentError{err}
	}
	a.respHead, a.respHave, err = handshake.ReadResponse(a.backend, a.ans, &a.resp)
	if again, grown := grow(a.backend, &a.ans, a.respHave, err); grown {
		a.respHead, a.respHave, err = handshake.ReadResponse(again, a.ans, &a.resp)
	}
	if err != nil {
		var broken *handshake.BackendError
		if errors.As(err, &broken) || errors.Is(err, transport.ErrHungUp) {
			return err
		}
		return &silentError{err}
	}
	err = handshake.CheckResponse(&a.resp, &a.up)
	if err == nil || errors.Is(err, handshake.ErrPlainAnswer) {
		a.choice.Backend.HandshakeOK()
		a.answered(a.resp.Status)
	}
	return err
}

// silentError is a backend that took the connection but gave no answer.
type silentError struct{ err error }

func (e *silentError) Error() string {
	if errors.Is(e.err, io.EOF) {
		return "closed the connection without an answer"
	}
	return fmt.Sprintf("gave no answer: %v", e.err)
}
func (e *silentError) Unwrap() error { return e.err }

// giveUpBackend gives back what the failed attempt held and reports whether
// the next choice is worth a try: only when this backend didn't answer, so
// that nothing of the handshake can have been acted on with a result.
func (a *attempt) giveUpBackend(err error) (again bool) {
	if errors.Is(err, handshake.ErrPlainAnswer) {
		return false // conclude passes the answer back
	}
	a.release()
	if !a.blame(err) {
		return false
	}
	again = a.tries < maxTries
	a.p.Log.Warn("a backend doesn't answer a handshake", "pool", a.choice.Backend.Pool,
		"backend", a.choice.Backend.Name, "address", a.choice.Addr.String(), "error", err, "next", again)
	return again
}

// blame notes what err says of the backend, and reports whether that is that
// it didn't answer. Where another of its addresses may do better, it isn't
// taken for tried.
func (a *attempt) blame(err error) (unanswered bool) {
	var unreached *dial.Error
	var silent *silentError
	var broken *handshake.BackendError
	switch {
	case errors.Is(err, transport.ErrHungUp):
		return false
	case errors.As(err, &unreached):
		if unreached.Reason == dial.Local {
			return false
		}
		a.answered(0)
		if another := a.choice.Backend.DialFailed(a.choice.Addr); !another {
			a.tried.Add(a.choice.Index)
			a.choice.Backend.HandshakeFailed(err.Error())
		}
	case errors.As(err, &silent):
		a.answered(0)
		a.tried.Add(a.choice.Index)
		a.choice.Backend.HandshakeFailed(err.Error())
	case errors.As(err, &broken):
		if !broken.DependsOnOffer() {
			a.choice.Backend.HandshakeFailed(err.Error())
		}
		return false
	default:
		return false
	}
	return true
}

// release closes the backend's connection and gives its lease back.
func (a *attempt) release() {
	if a.backend != nil {
		a.backend.Close()
		a.backend = nil
	}
	if a.leased {
		a.choice.Backend.Release()
		a.leased = false
	}
	if a.let != nil { // the backend wasn't even dialled
		a.let.Return()
		a.let = nil
	}
}

// relay tells the client that it is through and hands both connections over.
func (a *attempt) relay() error {
	a.back = handshake.AppendResponse(a.back, &a.resp, &a.up, a.setCookie())
	if _, err := a.client.Write(a.back); err != nil {
		return err
	}
	info := session.Info{
		ID:      a.reattach.ID,
		Client:  a.gen.Forwarded.ClientAddr(a.req.Fields, a.peer),
		Backend: a.choice.Backend.ID,
		Route:   a.gen.Labels[a.rule.Label],
		Started: time.Now(),
	}
	if a.up.Reattach == nil {
		info.ID = session.NewID()
	}
	start := relay.Start{Info: info, Limits: a.gen.Limits}
	a.keep(&start)
	a.countAffinity()
	a.p.Watcher.HandshakeDone(ResultOpened, info.Started.Sub(a.began))
	a.p.Watcher.SessionOpened(info)
	a.ticket.Opened()
	a.leased = false // from here on, the session's end gives it back
	start.Early[session.Client] = a.in[a.head:a.have]
	start.Early[session.Backend] = a.ans[a.respHead:a.respHave]
	if err := a.p.Engine.Start(a.client, a.backend, start); err != nil {
		panic(err) // both connections come from the engine's own network
	}
	return nil
}

// setCookie is the cookie that brings the client back to its backend; nil in a
// pool without. Each 101 renews it.
func (a *attempt) setCookie() []byte {
	cookie := a.pool().Cookie
	if cookie == nil {
		return nil
	}
	https := a.gen.Forwarded.IsHTTPS(a.req.Fields, forwarded.Hop{Peer: a.peer, Proto: "http"})
	a.out = cookie.AppendSetCookie(a.out[:0], a.choice.Index, https) // the request is out
	return a.out
}

// handToHTTP gives the connection, with what was read of it, to the plain HTTP
// server.
func (a *attempt) handToHTTP() error {
	conn, err := a.client.Detach()
	if err != nil {
		return err
	}
	// It takes a session's place, since it takes a session's descriptors;
	// httpEnded gives that back.
	a.ticket.Opened()
	a.p.HTTPBegins()
	if !a.p.server.Hand(conn, append([]byte(nil), a.in[:a.have]...)) {
		a.p.httpEnded()
	}
	return nil
}
