package proxy

import (
	"errors"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/stage/secure"
)

// runOpaque is run for a connection whose bytes are passed on as they are: what the
// client speaks is not known, and it may wait for the server to speak first. An error
// ends it; conclude then tells the client, if it speaks TLS with a backend.
func (h *clientHandshake) runOpaque() error {
	transport.KeepHalfClosed(h.conn)
	h.req.NoRequest()
	if err := h.enter(); err != nil { // overload
		return err
	}
	if err := h.introduce(); err != nil { // introduce, by a proxy in front
		return err
	}
	if err := h.permitPeer(); err != nil { // access, by the connection's other end
		return err
	}
	if err := h.secure(); err != nil { // secure, on a listener with TLS
		return err
	}
	if err := h.readHello(); err != nil { // on a listener that passes TLS through
		return err
	}
	if err := h.enterClient(); err != nil { // overload, by the client's address
		return err
	}
	if err := h.chooseRoute(); err != nil { // route
		return h.unrouted(err)
	}
	if err := h.permit(); err != nil { // what the route asks of its connections
		return err
	}
	if err := h.reachBackend((*clientHandshake).connected); err != nil { // balance, ratelimit, dial
		return err
	}
	return h.startOpaque() // relay, and closing at the session's end
}

// readHello reads the first message of a TLS client, by which its route is chosen. The
// handshake begins here.
func (h *clientHandshake) readHello() (err error) {
	if h.req.Meta.Listener.Mode == transport.TLSPassthrough {
		h.hello, err = h.req.ReadHello(h.conn)
	}
	h.began, h.asked = time.Now(), true
	if h.waited != nil {
		h.began = h.waited.began
	}
	if err != nil {
		return withAnswer(err)
	}
	return nil
}

// withAnswer adds the answer for a client that speaks HTTP to an error of ReadHello.
func withAnswer(err error) error {
	var broken *attempt.HelloError
	if errors.As(err, &broken) {
		failure.Of(err).Refusal = secure.RefusePlain(broken.Began)
	}
	return err
}

// unrouted adds the fitting alert to an error of the route stage.
func (h *clientHandshake) unrouted(err error) error {
	if h.req.Meta.Listener.Mode != transport.TLSPassthrough {
		return err
	}
	alert := byte(alertUnrecognizedName) // RFC 6066 §3
	if h.hello.ServerName == nil {
		alert = alertMissingExtension // RFC 8446 §9.2
	}
	f := *failure.Of(err)
	f.Err = &attempt.HelloError{Alert: alert, Err: err}
	return &f
}

// connected is all that is asked of a backend: it has taken the connection.
func (h *clientHandshake) connected() error {
	h.try.Connected()
	return nil
}

// startOpaque hands both connections to the engine.
func (h *clientHandshake) startOpaque() error {
	h.id = h.req.NeedID()
	h.learn()
	start := h.newSession()
	start.Opaque = true
	t := h.req.Meta.TLS
	if h.hello.ServerName != nil {
		t = &transport.TLS{ServerName: string(h.hello.ServerName)} // nothing is agreed on yet
	}
	h.start(&start, Opened{TLS: t})
	return nil
}

// refuseOpaque tells the client that its connection failed with f, as far as it can be
// told.
func (h *clientHandshake) refuseOpaque(f *failure.Error) {
	var broken *attempt.HelloError
	silent := h.gen.ListenerOf(&h.req.Meta).Silent
	switch {
	case silent && f.Code != failure.TLSFailed:
	case errors.As(f, &broken) && broken.Alert != 0:
		h.write(alertRecord(broken.Alert))
	case f.Refusal != nil && f.Code == failure.TLSFailed:
		h.tell(f.Refusal) // it speaks HTTP
	case f.Refusal != nil && h.req.Meta.Listener.Mode == transport.TLSPassthrough:
		h.write(alertRecord(alertOf(f.Code)))
	}
	// Else closing the connection is all that any protocol understands.
}
