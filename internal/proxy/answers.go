package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// ownAnswer ends a plain HTTP request that the balancer answers itself. It is no
// handshake, and isn't counted as one.
type ownAnswer struct{ failure.Refusal }

func (a *ownAnswer) Error() string { return a.Message }

// answerItself answers what is for the balancer and not for a backend: the
// challenges of ACME, and all else on a listener that redirects to https. nil means
// that the request is for a backend.
func (h *clientHandshake) answerItself() error {
	if answer, ok := h.p.challenge(&h.req.Head); ok {
		return &ownAnswer{failure.Refusal{Status: http.StatusOK, Message: answer}}
	}
	if on := h.req.Meta.Listener; on != nil && on.RedirectHTTPS && h.req.Meta.Scheme() != "https" {
		return h.redirect(on.HTTPSPort)
	}
	return nil
}

// answerByRoute ends a handshake whose route has an answer of its own. nil means that it
// is for a backend.
func (h *clientHandshake) answerByRoute() error {
	a := h.gen.PolicyOf(h.rule).Answer
	if a == nil {
		return nil
	}
	facts := h.req.Facts(h.gen, "")
	facts.Route = h.rule.Label
	return a.Error(facts, h.req.Head.Path)
}

// answerByRoute is clientHandshake.answerByRoute for a request of plain HTTP.
func (s *plainRequest) answerByRoute() error {
	if s.err != nil {
		return nil // it gets no backend, for that reason
	}
	a := s.gen.PolicyOf(s.rule).Answer
	if a == nil {
		return nil
	}
	path, _, _ := strings.Cut(s.target, "?")
	err := plainRefusal(a.Error(s.source(), []byte(path)))
	err.Own = err.Status == a.Status
	return err
}

// challenge asks for the answer to a challenge of ACME.
func (p *Proxy) challenge(r *httphead.Request) (answer string, ok bool) {
	if p.ACMEChallenge == nil || !bytes.HasPrefix(r.Path, []byte("/.well-known/acme-challenge/")) {
		return "", false
	}
	return p.ACMEChallenge(string(httphead.AppendHostname(nil, r.Host)), string(r.Path))
}

// redirect sends the client to the same URL with https. The status is 308, since a
// client may change a POST to a GET after a 301 (RFC 9110 §15.4).
func (h *clientHandshake) redirect(port uint16) error {
	head := &h.req.Head
	host := httphead.AppendHostname(nil, head.Host) // nothing else can be in it
	if len(host) == 0 {
		const text = "The request has no Host, and is to be redirected to https."
		return &failure.Error{Code: failure.BadRequest, Reason: text, Refusal: &failure.Refusal{Status: http.StatusBadRequest, Message: text}}
	}
	to := append([]byte("https://"), host...)
	if port != 0 && port != 443 {
		to = strconv.AppendUint(append(to, ':'), uint64(port), 10)
	}
	if path := head.Path; path[0] == '/' { // else it is the "*" of OPTIONS
		to = append(append(to, path...), head.Query...)
	}
	refusal := failure.Refusal{
		Status: http.StatusPermanentRedirect, Message: "Use https or wss.",
		Header: [][2]string{{"Location", string(to)}},
	}
	if !h.req.IsWebSocket() {
		return &ownAnswer{refusal}
	}
	return &failure.Error{Code: failure.Redirected, Refusal: &refusal, Reason: "a listener that redirects to https takes no WebSockets"}
}

// refuseTLS answers a client that speaks TLS to a plain listener, with an alert.
// protocol_version is right for every client (RFC 8446 §6.2): no version is spoken.
func (h *clientHandshake) refuseTLS() error {
	h.write(alertRecord(alertProtocolVersion))
	return failure.New(failure.TLSFailed, fmt.Sprintf("a TLS handshake came to the plain listener %q: set its tls, or connect with http:// or ws://", h.req.Meta.ListenerName()))
}

// Alerts of TLS that are sent without a handshake, RFC 8446 §6.
const (
	alertAccessDenied     = 49
	alertProtocolVersion  = 70
	alertInternalError    = 80
	alertMissingExtension = 109
	alertUnrecognizedName = 112
)

// alertOf is the alert for a client that is refused before its TLS handshake.
func alertOf(code failure.Code) byte {
	if code == failure.AddressRefused {
		return alertAccessDenied
	}
	return alertInternalError
}

// alertRecord is the record of a fatal alert, in the form that all versions have in
// common.
func alertRecord(description byte) []byte { return []byte{21, 3, 1, 0, 2, 2, description} }
