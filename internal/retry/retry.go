// Package retry decides what follows when a backend doesn't take a handshake:
// whether another one is asked, and when a session that has lost its backend
// searches again. The balancer (internal/proxy, internal/relay) and its
// simulation (internal/tool/simulate) both call it, so that the one does what
// the other predicts. It keeps no state and doesn't wait.
package retry

import (
	"net/http"
	"time"

	"github.com/holdfast-ws/holdfast/internal/failure"
)

// MaxBackends is how many backends are asked for one handshake, or in one
// search for another backend of a session.
const MaxBackends = 3

// Handshake reports whether another backend is asked for a client's handshake
// after one that failed as code says; asked counts that one. Only a backend
// that didn't answer is replaced: one that did may have acted on the request. What
// operators want beyond that is in Answered.
func Handshake(code failure.Code, asked int) bool {
	return Unanswered(code) && asked < MaxBackends
}

// Statuses are ranges of the statuses of answers, from the first to the last.
type Statuses [][2]int

// Has reports whether status is in one of them.
func (s Statuses) Has(status int) bool {
	for _, r := range s {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}

// Answered reports whether another backend is asked for a request after one that answered
// with status, which is no error in itself: the operator lists in on after which that
// happens. asked counts that one. hasBody says whether the request has a body, which has
// been sent. A request that a backend may have acted on is asked again only if it is safe
// to repeat (RFC 9110 §9.2.1).
func Answered(on Statuses, status int, method string, hasBody bool, asked int) bool {
	return on.Has(status) && IsSafe(method) && !hasBody && asked < MaxBackends
}

// IsSafe reports whether a method asks for no effect on the server.
func IsSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// Unanswered reports whether a backend failed without an answer.
func Unanswered(code failure.Code) bool {
	switch code {
	case failure.ConnectTimeout, failure.Unreachable, failure.BackendTLS, failure.AnswerTimeout, failure.Silent:
		return true
	}
	return false
}

// Search reports whether a search for another backend of a session goes on
// after one that failed as code says; asked counts that one. A session has
// nothing to lose by asking another after any answer.
func Search(code failure.Code, asked int) bool {
	return code.Side() == failure.Backend && asked < MaxBackends
}

// MayPass reports whether a search that failed may succeed within seconds:
// a backend that doesn't run may be started, a full one may lose sessions.
// status is that of the answer, if code is failure.Declined. Of those, only the
// ones of a server that doesn't run, or of a gateway before it, pass (RFC 9110
// §15.6.3 to §15.6.5).
func MayPass(code failure.Code, status int) bool {
	switch code {
	case failure.NoBackend, failure.PoolFull, failure.NoResources:
		return true
	case failure.Declined:
		return status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout
	}
	return Unanswered(code)
}

// A session that has lost its backend searches until its time is over. The
// pauses grow from MinPause to MaxPause.
const (
	MinPause = 250 * time.Millisecond
	MaxPause = time.Second
)

// Pause is how long a session waits before it searches again, a time since it
// has lost its backend: half of that time, within MinPause and MaxPause, and
// then up to a half more or less. random, in [0, 1), chooses which, so that
// sessions that have lost their backends at the same moment don't search in
// step.
func Pause(sinceLoss time.Duration, random float64) time.Duration {
	d := min(max(sinceLoss/2, MinPause), MaxPause)
	return d/2 + time.Duration(random*float64(d))
}
