package httpproxy

import (
	"cmp"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Timeouts bound the steps of a request. 0 means the default.
type Timeouts struct {
	Connect time.Duration // to one backend; 5 s
	// Response bounds the wait for the head of an answer after the request was
	// sent, and how long a backend may accept no bytes of the request; 60 s.
	Response time.Duration
	Body     time.Duration // between bytes of the client's body; 60 s
	// Whole bounds a request from its head to the end of the answer, with all attempts; 0
	// doesn't.
	Whole time.Duration
	// BackendIdle is how long a connection to a backend is kept for later
	// requests; 60 s. Negative means not at all.
	BackendIdle time.Duration
	// AbortOnClose means that a client that has closed its half of the
	// connection has gone. Otherwise it still gets its answer.
	AbortOnClose bool
}

func (t Timeouts) orDefaults() Timeouts {
	return Timeouts{
		Connect:     cmp.Or(t.Connect, 5*time.Second),
		Response:    cmp.Or(t.Response, time.Minute),
		Body:        cmp.Or(t.Body, time.Minute),
		BackendIdle: cmp.Or(t.BackendIdle, time.Minute),

		Whole:        t.Whole,
		AbortOnClose: t.AbortOnClose,
	}
}

// forward tries one backend after another until one can be connected to, and
// passes the request on to it. After that it doesn't repeat the request, which the
// backend may have acted on, unless that is impossible.
//
// It returns an error if the client can still be sent one, and panics with
// http.ErrAbortHandler if the answer breaks off.
func (p *Proxy) forward(w http.ResponseWriter, in *http.Request, t *progress) error {
	var tried []uint32
	var failed *connectError
	client := clientOf(in)
	if err := client.refused(); err != nil {
		return err
	}
	if p.o.Permit != nil {
		if err := p.o.Permit(in); err != nil {
			refusal := asRefusal(err)
			t.pool = refusal.Pool
			return refusal
		}
	}
	by := p.deadline(in)
	attempts := cmp.Or(p.o.Attempts, 3)
	var next *Target // chosen already
	for n := range attempts {
		var target Target
		var err error
		if next != nil {
			target = *next
		} else if target, err = p.o.Upstream.Pick(in, tried, client.backends()); err != nil {
			refusal := asRefusal(err)
			if t.pool == "" {
				t.pool = refusal.Pool
			}
			if failed != nil && !refusal.Final {
				break // the failure of the last one says more than that none is left
			}
			return refusal
		}
		t.pool, t.backend = target.Pool, target.Name
		// A login belongs to one backend.
		mayPassOver := target.PassOver != nil && n+1 < attempts && len(client.backends()) == 0
		next = nil
		err = p.forwardTo(w, in, t, &target, p.timeouts(in), by, func(status int) bool {
			if !mayPassOver || !target.PassOver(status) {
				return false
			}
			another, err := p.o.Upstream.Pick(in, append(tried[:len(tried):len(tried)], target.Key), nil)
			if err != nil {
				return false
			}
			next = &another
			return true
		})
		if next != nil {
			tried = append(tried, target.Key)
			continue
		}
		if err == nil || !errors.As(err, &failed) || in.Context().Err() != nil {
			return err
		}
		if late(by) {
			return &answerError{errLate, failed}
		}
		tried = append(tried, target.Key)
	}
	told := &Error{Status: http.StatusBadGateway, Text: "no backend could be connected to"}
	if isTimeout(failed) {
		told = &Error{Status: http.StatusGatewayTimeout, Text: "no backend accepted a connection in time"}
	}
	return &answerError{told, failed} // the log has the failure of the last one
}

// errLate is what the client gets when Timeouts.Whole is over.
var errLate = &Error{Status: http.StatusGatewayTimeout, Text: "the request took too long"}

// deadline is when a request must have ended that begins now; zero is never.
func (p *Proxy) deadline(in *http.Request) time.Time {
	if whole := p.timeouts(in).Whole; whole > 0 {
		return time.Now().Add(whole)
	}
	return time.Time{}
}

// late reports whether a deadline is over.
func late(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }

func (p *Proxy) timeouts(in *http.Request) Timeouts {
	if p.o.Timeouts == nil {
		return Timeouts{}.orDefaults()
	}
	return p.o.Timeouts(in).orDefaults()
}

// asRefusal converts an error of Pick to an *Error.
func asRefusal(err error) *Error {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal
	}
	return &Error{Status: http.StatusServiceUnavailable, Text: "no backend is available"}
}

// errPassedOver ends an attempt whose answer isn't passed on, since another backend is to
// be asked.
var errPassedOver = errors.New("the answer is passed over")

// forwardTo makes one attempt. At the end it releases target. passOver reports whether
// another attempt follows instead of an answer with that status. by is when the request must
// have ended; zero is never.
func (p *Proxy) forwardTo(w http.ResponseWriter, in *http.Request, t *progress, target *Target, timeouts Timeouts, by time.Time, passOver func(status int) bool) error {
	if target.Release != nil {
		defer target.Release()
	}
	reached := sync.OnceFunc(func() {
		if target.Reached != nil {
			target.Reached(nil)
		}
	})
	failed := func(err error) {
		if in.Context().Err() == nil && target.Reached != nil {
			target.Reached(err)
		}
	}
	if !by.IsZero() {
		timeouts.Connect = min(timeouts.Connect, max(time.Until(by), time.Millisecond))
	}
	client := clientOf(in)
	conn := client.takeDedicated(target)
	if conn == nil {
		conn = p.conns.take(target.endpoint())
	}
	for {
		if conn == nil {
			var err error
			if conn, err = dialBackend(in.Context(), target.endpoint(), timeouts.Connect); err != nil {
				failed(err)
				return err
			}
		}
		conn.backend = target.Backend
		x := &exchange{p: p, w: w, rc: http.NewResponseController(w), in: in, progress: t, client: client, conn: conn,
			target: target, timeouts: timeouts, by: by, reached: reached, passOver: passOver}
		err := x.run()
		if errors.As(err, new(*connectError)) {
			failed(err)
			return err
		}
		if !x.again(err) {
			return err
		}
		conn = nil // the backend closed an idle connection just then
	}
}
