package secure

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// Results of a TLS handshake, for the metrics.
const (
	OK         = "ok"
	ClientGone = "client_gone" // the connection ended in the handshake
	Timeout    = "timeout"
	NotTLS     = "not_tls"  // something else came, such as plain HTTP
	Rejected   = "rejected" // the client sent an alert: it doesn't accept something of ours
	Refused    = "refused"  // the client got an alert
)

// Results lists every result of a TLS handshake.
func Results() []string { return []string{OK, ClientGone, Timeout, NotTLS, Rejected, Refused} }

// Result is the result of a handshake that ended with err, which may be nil. It is ""
// for a client that has sent nothing, which isn't counted.
func Result(err error) string {
	var e *tlsconn.HandshakeError
	if !errors.As(err, &e) {
		return OK
	}
	_, alert := e.Alert()
	switch {
	case e.Nothing:
		return ""
	case e.Plain != nil:
		return NotTLS
	case alert:
		return Rejected
	case errors.Is(e, os.ErrDeadlineExceeded):
		return Timeout
	case gone(e):
		return ClientGone
	}
	return Refused
}

// ServerName is the name that the client of a failed handshake asked for, if the
// handshake got so far.
func ServerName(err error) string {
	var e *tlsconn.HandshakeError
	if errors.As(err, &e) {
		return e.ServerName
	}
	return ""
}

// gone reports whether the connection has ended.
func gone(e *tlsconn.HandshakeError) bool {
	return errors.Is(e, transport.ErrHungUp) || errors.Is(e, io.EOF) || errors.Is(e, syscall.ECONNRESET) || errors.Is(e, syscall.EPIPE)
}

// explain makes a *failure.Error of an error of tlsconn.
func (s *Server) explain(err error) error {
	var e *tlsconn.HandshakeError
	if !errors.As(err, &e) {
		return failure.Wrap(failure.Internal, err)
	}
	f := &failure.Error{Code: failure.TLSFailed, Err: err}
	switch Result(err) {
	case "":
		f.Code = failure.NothingAsked
	case ClientGone:
		f.Code = failure.ClientGone
	case NotTLS:
		f.Reason = fmt.Sprintf("the client doesn't speak TLS: it sent %q", e.Plain[:min(len(e.Plain), 16)])
		if proxyproto.Looks(e.Plain) || strings.HasPrefix(string(e.Plain), "PROXY") {
			f.Reason = "a PROXY protocol header came to a listener with TLS that takes none: list the proxies in its proxy_protocol.trust"
		}
		if f.Refusal = RefusePlain(e.Plain); f.Refusal != nil {
			f.Reason = "plain HTTP came to a listener with TLS: connect with https:// or wss://"
		}
	case Refused:
		f.Reason = s.reason(e)
	}
	return f
}

// RefusePlain is what a client is told that sends these bytes instead of TLS: one that
// speaks HTTP gets an answer, others get none.
func RefusePlain(began []byte) *failure.Refusal {
	if !isHTTP(began) {
		return nil
	}
	return &failure.Refusal{Status: http.StatusBadRequest, Message: "This port speaks TLS only: use https:// or wss://."}
}

// isHTTP reports whether b begins like a request (RFC 9112 §3).
func isHTTP(b []byte) bool {
	for _, method := range []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "} {
		if n := min(len(b), len(method)); n > 3 && string(b[:n]) == method[:n] {
			return true
		}
	}
	return false
}

// maxReason bounds the text of an error, in bytes: some errors of crypto/tls have all
// that the client has offered.
const maxReason = 300

// reason says why the client was refused. Where the texts of crypto/tls leave open
// what to do, it says more.
func (s *Server) reason(e *tlsconn.HandshakeError) string {
	text := e.Error()
	if why, ok := strings.CutPrefix(text, "failed to verify certificate: x509: "); ok {
		return cut("the client's certificate is not accepted (client_ca): "+why, maxReason)
	}
	for _, known := range []struct{ begins, means string }{
		{"no certificates configured", fmt.Sprintf("no certificate has the name %q that the client asked for, and strict_sni is set", cut(e.ServerName, 255))},
		{"client didn't provide a certificate", "the client has shown no certificate, and client_auth requires one"},
		{"no cipher suite supported by both", "the client offers no cipher suite that is supported: in TLS 1.2 these are ECDHE with AES-GCM or ChaCha20-Poly1305, for the kind of key of the certificate"},
		{"client offered only unsupported versions", text + " (in hexadecimal; TLS 1.2 is 303, TLS 1.3 is 304): see min_version"},
	} {
		if strings.HasPrefix(text, known.begins) {
			return known.means
		}
	}
	return cut(text, maxReason)
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
