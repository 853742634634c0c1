package attempt

import (
	"errors"
	"net/http"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/dial"
	"github.com/holdfast-ws/holdfast/internal/stage/handshake"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// Try is one try at one backend. It holds the backend's lease and connection
// until Release or Handed. It is used for one backend after another; the zero
// value is ready for Reset.
type Try struct {
	// Choice is what Begin was given last; its Backend is nil before.
	Choice balance.Choice
	Conn   transport.Conn    // to the backend; nil unless connected
	Resp   httphead.Response // valid after Ask

	pool     *generation.Pool
	leased   bool
	inFlight *ratelimit.Bucket // whose token is not used yet; nil if there is none
	began    time.Time         // the connect

	header     []byte // for the backend, see AppendProxyHeader
	buf        []byte
	size, have int // of buf: the response's head, and everything that was read
}

// Reset prepares t for the next handshake. It holds nothing.
func (t *Try) Reset() {
	t.Choice, t.Conn, t.pool, t.leased, t.inFlight = balance.Choice{}, nil, nil, false, nil
	t.Resp.Status = 0
	t.size, t.have = 0, 0
}

// IsUsual is Request.IsUsual.
func (t *Try) IsUsual() bool { return len(t.buf) <= usualHead }

// Begin takes over the lease of c, a member of pool, and the queued token of
// inFlight, if that isn't nil.
func (t *Try) Begin(pool *generation.Pool, c balance.Choice, inFlight *ratelimit.Bucket) {
	t.pool, t.Choice, t.leased, t.inFlight = pool, c, true, inFlight
}

// Connect connects to the backend for r within the task of parent, with a header of the
// PROXY protocol and with TLS if the pool has that.
func (t *Try) Connect(parent transport.Conn, r *Request, d *dial.Dialer, deadline time.Time) (err error) {
	t.began = time.Now()
	if t.inFlight != nil {
		t.inFlight.MarkSent()
		t.inFlight = nil
	}
	to := t.pool.Target(t.Choice)
	t.header = AppendProxyHeader(t.header[:0], t.pool, &r.Meta, r.Client)
	to.Header = t.header
	t.Conn, err = d.Connect(parent, to, deadline)
	return unlessClientGone(err)
}

// Connected notes that the backend took the connection, if nothing else is asked of it.
func (t *Try) Connected() {
	t.Choice.Backend.HandshakeSucceeded()
	t.observe(http.StatusOK)
}

// Ask sends the backend a request that Request.AppendRequest made, and reads and
// checks its answer. Unless that is a correct 101, the error is a *failure.Error.
func (t *Try) Ask(request []byte, r *Request, deadline time.Time) (err error) {
	if t.buf == nil {
		t.buf = make([]byte, usualHead)
	}
	t.Conn.SetDeadline(deadline)
	if _, err := t.Conn.Write(request); err != nil {
		return t.unanswered(t.lastWords(err))
	}
	t.size, t.have, err = handshake.ReadResponse(t.Conn, t.buf, &t.Resp)
	if again, grown := grow(t.Conn, &t.buf, t.have, generation.MaxHead, err); grown {
		t.size, t.have, err = handshake.ReadResponse(again, t.buf, &t.Resp)
	}
	if err != nil {
		return t.unanswered(err)
	}
	err = handshake.CheckResponse(&t.Resp, &r.Upgrade)
	switch {
	case err == nil:
		t.Choice.Backend.SessionOpened(r.Path())
		t.observe(t.Resp.Status)
	case errors.Is(err, handshake.ErrPlainAnswer):
		t.Choice.Backend.HandshakeSucceeded()
		t.observe(t.Resp.Status)
	}
	return err
}

// Bytes is everything that was read of the backend's answer, and Early what
// follows its head. Both are slices of the buffer.
func (t *Try) Bytes() []byte { return t.buf[:t.have] }
func (t *Try) Early() []byte { return t.buf[t.size:t.have] }

// observe reports to the rate limiter, which adapts the rate by it, how the
// backend took the handshake; status 0 is no answer. A backend that answers that
// it is overloaded has failed.
func (t *Try) observe(status int) {
	if bucket := t.pool.Bucket(t.Choice.Index); bucket != nil {
		ok := status > 0 && status < 500 && status != http.StatusTooManyRequests
		bucket.Observe(time.Since(t.began), ok)
	}
}

// Blame records what the failure of the try says about the backend, and adds the
// backend to tried unless it has another address, which may do better.
func (t *Try) Blame(err error, r *Request, tried *balance.Tried) {
	b := t.Choice.Backend
	switch failure.Of(err).Code {
	case failure.ConnectTimeout, failure.Unreachable, failure.BackendTLS:
		t.observe(0)
		if another := b.DialFailed(t.Choice.Addr); another {
			return
		}
		b.ConnectFailed(err.Error())
	case failure.AnswerTimeout, failure.Silent:
		if b.HandshakeFailed(r.ClientIP(), r.Path(), err.Error()) {
			t.observe(0)
		}
	case failure.Broken:
		var broken *handshake.BackendError
		if errors.As(err, &broken) && !broken.DependsOnOffer() {
			b.HandshakeFailed(r.ClientIP(), r.Path(), err.Error())
		}
	}
	tried.Add(t.Choice.Index)
}

// Release closes the connection, releases the lease and returns a token that is
// not used.
func (t *Try) Release() {
	if t.Conn != nil {
		t.Conn.Close()
		t.Conn = nil
	}
	if t.leased {
		t.Choice.Backend.Release()
		t.leased = false
	}
	if t.inFlight != nil { // the backend was not even dialled
		t.inFlight.Return()
		t.inFlight = nil
	}
}

// Handed ends the hold on the lease, which the session has from now on. The
// caller hands over Conn.
func (t *Try) Handed() { t.leased = false }
