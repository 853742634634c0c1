package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-ws/holdfast/internal/admission"
	"github.com/holdfast-ws/holdfast/internal/admit"
	"github.com/holdfast-ws/holdfast/internal/balance"
	"github.com/holdfast-ws/holdfast/internal/dial"
	"github.com/holdfast-ws/holdfast/internal/handshake"
	"github.com/holdfast-ws/holdfast/internal/route"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// Results of handshakes: the label of holdfast_handshakes_total, and the word
// in the log. Those of handshake.Refusal are further ones.
const (
	ResultOpened             = "opened"
	resultDeclined           = "backend_declined" // a plain answer, passed back
	resultNoRoute            = "no_route"
	resultBadPath            = "bad_path"
	resultNoBackend          = "no_backend"
	resultPoolFull           = "pool_full"
	resultSticky             = "affinity_refused"
	resultUnreachable        = "backend_unreachable"
	resultSilent             = "backend_silent"
	resultBroken             = "backend_broken"
	resultClientGone         = "client_gone"
	resultTooManyHandshakes  = "too_many_handshakes"
	resultTooManySessions    = "too_many_sessions"
	resultStopping           = "stopping"
	resultQueueFull          = "queue_full"
	resultQueueAddress       = "queue_address"
	resultQueueTimeout       = "queue_timeout"
	resultInternal           = "internal_error"
	messageTryAgain          = "The balancer is full. Try again later, after a random pause."
	messageBackendNoAnswer   = "No server answered the handshake."
	messageBackendBrokeRules = "The server's answer to the handshake broke the WebSocket protocol."
)

// Results lists every result a handshake can have.
func Results() []string {
	return append(handshake.Results(), ResultOpened, resultDeclined, resultNoRoute, resultBadPath,
		resultNoBackend, resultPoolFull, resultSticky, resultUnreachable, resultSilent, resultBroken, resultClientGone,
		resultTooManyHandshakes, resultTooManySessions, resultStopping, resultQueueFull, resultQueueAddress, resultQueueTimeout,
		resultInternal)
}

var errInternal = errors.New("the balancer failed, see the log")

// refusal is one of the spine itself; those of the handshake are its own.
func refusal(status int, result, message string) *handshake.Refusal {
	return &handshake.Refusal{Status: status, Result: result, Message: message}
}

var (
	refuseNoRoute     = refusal(http.StatusNotFound, resultNoRoute, "No route leads to this host and path.")
	refuseBadPath     = refusal(http.StatusBadRequest, resultBadPath, "The path is malformed or can be read in more than one way.")
	refuseNoBackend   = refusal(http.StatusServiceUnavailable, resultNoBackend, "No server is up. Try again later, after a random pause.")
	refusePoolFull    = refusal(http.StatusServiceUnavailable, resultPoolFull, "Every server has all the sessions it may have. Try again later, after a random pause.")
	refuseSticky      = refusal(http.StatusServiceUnavailable, resultSticky, "Your server is not available. Try again later, after a random pause.")
	refuseUnreachable = refusal(http.StatusBadGateway, resultUnreachable, messageBackendNoAnswer)
	refuseSilent      = refusal(http.StatusBadGateway, resultSilent, messageBackendNoAnswer)
	refuseTimeout     = refusal(http.StatusGatewayTimeout, resultSilent, messageBackendNoAnswer)
	refuseBroken      = refusal(http.StatusBadGateway, resultBroken, messageBackendBrokeRules)
	refuseHandshakes  = refusal(http.StatusServiceUnavailable, resultTooManyHandshakes, messageTryAgain)
	refuseSessions    = refusal(http.StatusServiceUnavailable, resultTooManySessions, messageTryAgain)
	refuseStopping    = refusal(http.StatusServiceUnavailable, resultStopping, "The balancer is shutting down.")
	refuseQueueFull   = refusal(http.StatusServiceUnavailable, resultQueueFull, "Too many wait for a server. Try again later, after a random pause.")
	refuseAddress     = refusal(http.StatusServiceUnavailable, resultQueueAddress, "Too many from your address wait for a server. Try again later, after a random pause.")
	refuseWaited      = refusal(http.StatusServiceUnavailable, resultQueueTimeout, "No server had room in time. Try again later, after a random pause.")
	refuseInternal    = refusal(http.StatusInternalServerError, resultInternal, "The balancer failed.")
)

// conclude ends an attempt: the client is told, and the result counted.
func (a *attempt) conclude(err error) {
	if err == nil || errors.Is(err, errWaiting) {
		return // a session, or handed to the HTTP server or a queue
	}
	defer a.client.Close()
	defer a.release()
	a.countAffinity()
	if errors.Is(err, handshake.ErrPlainAnswer) {
		if err = a.passBack(); err == nil {
			return
		}
	}
	r, result := answer(err)
	if result == "" {
		return // nothing was asked: a port scan, a health check, a spare connection
	}
	var took time.Duration
	if !a.began.IsZero() {
		took = time.Since(a.began)
	}
	a.p.Watcher.HandshakeDone(result, took)
	a.p.Log.Info("handshake refused", "result", result, "client", a.client.RemoteAddr().String(),
		"host", string(a.up.Host), "path", string(a.up.Path), "error", err)
	if r == nil {
		return
	}
	a.client.SetDeadline(time.Now().Add(a.gen.Handshake))
	a.back = a.comeAgain(r).Append(a.back[:0])
	if _, err := a.client.Write(a.back); err == nil {
		a.linger()
	}
}

// Retry-After of a 503, in seconds: 5 to 30, as a client waits after Close 1012
// (https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number).
const (
	leastRetry = 5
	mostRetry  = 30
)

// comeAgainIn is when to come again: by chance, or all that are turned away
// together would come back together (RFC 9110 §10.2.3).
func comeAgainIn() time.Duration {
	return time.Duration(leastRetry+rand.IntN(mostRetry-leastRetry+1)) * time.Second
}

// comeAgain adds to a 503 when to come again.
func (a *attempt) comeAgain(r *handshake.Refusal) *handshake.Refusal {
	if r.Status != http.StatusServiceUnavailable {
		return r
	}
	in := comeAgainIn()
	switch r {
	case refuseQueueFull, refuseAddress, refuseWaited:
		if p := a.gen.Pools[a.rule.Pool]; p.Admit != nil {
			in = p.Admit.RetryAfter().Round(time.Second)
		}
	}
	again := *r
	again.Header = append(slices.Clip(r.Header), [2]string{"Retry-After", strconv.Itoa(int(in.Seconds()))})
	return &again
}

// passBack gives the client the backend's plain answer. It returns an error
// only where the client can still be told another.
func (a *attempt) passBack() error {
	until := time.Now().Add(a.gen.Handshake)
	a.client.SetDeadline(until)
	a.backend.SetDeadline(until)
	err := handshake.PassBack(a.client, a.backend, a.ans[:a.respHave])
	var broken *handshake.BackendError
	if errors.As(err, &broken) {
		return err
	}
	a.p.Watcher.HandshakeDone(resultDeclined, time.Since(a.began))
	a.p.Log.Info("handshake declined by the backend", "result", resultDeclined, "client", a.client.RemoteAddr().String(),
		"host", string(a.up.Host), "path", string(a.up.Path), "status", a.resp.Status,
		"pool", a.choice.Backend.Pool, "backend", a.choice.Backend.Name)
	a.linger()
	return nil
}

// linger reads what the client may still send, for a moment: closing a
// connection with unread bytes resets it, and the client would never see the
// answer (RFC 9112 §9.6).
func (a *attempt) linger() {
	if a.client.CloseWrite() != nil {
		return
	}
	a.client.SetDeadline(time.Now().Add(time.Second))
	for range 16 {
		if _, err := a.client.Read(a.in); err != nil {
			return
		}
	}
}

// answer says what an error means for the client and for the count. No refusal
// means that there is nobody to tell; no result, that nothing was asked.
func answer(err error) (*handshake.Refusal, string) {
	var r *handshake.Refusal
	var unreached *dial.Error
	var silent *silentError
	var broken *handshake.BackendError
	switch {
	case errors.As(err, &r):
	case errors.Is(err, transport.ErrHungUp):
		return nil, resultClientGone
	case errors.Is(err, route.ErrNoRoute):
		r = refuseNoRoute
	case errors.Is(err, route.ErrBadPath):
		r = refuseBadPath
	case errors.Is(err, errInternal):
		r = refuseInternal
	case errors.Is(err, balance.ErrNone):
		r = refuseNoBackend
	case errors.Is(err, balance.ErrFull):
		r = refusePoolFull
	case errors.Is(err, errSticky):
		r = refuseSticky
	case errors.Is(err, admit.ErrQueueFull):
		r = refuseQueueFull
	case errors.Is(err, admit.ErrAddressFull):
		r = refuseAddress
	case errors.Is(err, errQueueTimeout):
		r = refuseWaited
	case errors.Is(err, admit.ErrClosed):
		r = refuseStopping
	case errors.Is(err, admission.ErrTooManyHandshakes):
		r = refuseHandshakes
	case errors.Is(err, admission.ErrTooManySessions):
		r = refuseSessions
	case errors.Is(err, admission.ErrStopping):
		r = refuseStopping
	case errors.As(err, &unreached):
		r = refuseUnreachable
		switch unreached.Reason {
		case dial.Timeout:
			r = refuseTimeout
		case dial.Local:
			r = refuseSessions
		}
	case errors.As(err, &silent):
		r = refuseSilent
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r = refuseTimeout
		}
	case errors.As(err, &broken):
		r = refuseBroken
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
		return nil, ""
	default:
		return nil, resultClientGone // a failed read or write of the client's connection
	}
	return r, r.Result
}
