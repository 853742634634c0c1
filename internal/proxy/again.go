package proxy

import (
	"cmp"
	"errors"

	"github.com/holdfast-ws/holdfast/internal/failure"
	"github.com/holdfast-ws/holdfast/internal/proxy/attempt"
	"github.com/holdfast-ws/holdfast/internal/proxy/generation"
	"github.com/holdfast-ws/holdfast/internal/retry"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
)

// setAside is an answer of a backend that isn't passed back yet, since the pool wants
// another backend to be asked after such answers.
type setAside struct {
	try attempt.Try
	err error
}

// reachBackend tries backends until one accepts what ask asks of it.
func (h *clientHandshake) reachBackend(ask func(*clientHandshake) error) error {
	var failed error // of the backend tried last
	for {
		err := h.takeBackend()
		if h.aside != nil {
			if err = h.endAside(err); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, balance.ErrRateLimited):
			return h.wait() // it comes back to the beginning of run
		case errors.Is(err, generation.ErrAffinity):
			return err // no other is wanted, whatever its own failed with
		default:
			// A backend that failed says more than that none is left.
			return cmp.Or(failed, err)
		}
		err = h.connect()
		if err == nil {
			err = ask(h)
		}
		if err == nil {
			return nil
		}
		if again := h.giveUpBackend(err); !again {
			return err
		}
		failed = err
	}
}

// isUnavailable reports whether err says that there is no backend to ask, rather than that
// the client may not have one.
func isUnavailable(err error) bool {
	switch failure.Of(err).Code {
	case failure.NoBackend, failure.PoolFull:
		return true
	}
	return errors.Is(err, balance.ErrRateLimited) || errors.Is(err, generation.ErrAffinity)
}

// endAside decides about the answer that is set aside, once another backend was looked for:
// if err says that there is none, the answer is that of the handshake. Otherwise its
// connection is closed, since a handshake has only one.
func (h *clientHandshake) endAside(err error) error {
	aside := h.aside
	h.aside = nil
	if err != nil && isUnavailable(err) {
		h.try = aside.try
		return aside.err
	}
	aside.try.Release()
	return err
}

// passOver sets the answer of the try aside, if its status is one after which the pool
// wants another backend to be asked, and reports whether it is.
func (h *clientHandshake) passOver(err error) bool {
	status := h.try.Resp.Status
	if !retry.Answered(h.pool().RetryOn, status, string(h.req.Head.Method), len(h.req.Body()) > 0, h.tries) {
		return false
	}
	c := &h.try.Choice
	h.p.Log.Warn("a backend's answer to a handshake is passed over", "pool", c.Backend.Pool,
		"backend", c.Backend.Name, "address", c.Addr.String(), "status", status)
	h.tried.Add(c.Index)
	h.aside = &setAside{h.try, err}
	h.try = attempt.Try{}
	return true
}

// giveUpBackend ends a try that failed, and reports whether another backend is to
// be tried.
func (h *clientHandshake) giveUpBackend(err error) (again bool) {
	code := failure.Of(err).Code
	if code == failure.Declined {
		return h.passOver(err) // or else conclude passes the answer back
	}
	h.try.Release()
	h.try.Blame(err, &h.req, &h.tried)
	if !retry.Unanswered(code) {
		return false
	}
	again = retry.Handshake(code, h.tries)
	c := &h.try.Choice
	h.p.Log.Warn("a backend doesn't answer a handshake", "pool", c.Backend.Pool,
		"backend", c.Backend.Name, "address", c.Addr.String(), "error", err, "next", again)
	return again
}
