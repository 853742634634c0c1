package httpproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// bodyGrace is how long a body may take to end after the answer has ended,
	// so that the connections can be used again.
	bodyGrace = 50 * time.Millisecond
	// maxInterim bounds the interim answers to one request.
	maxInterim = 32
)

// exchange is one request on one connection to a backend. run reads the answer and
// passes it on. A goroutine of its own does that with the request's body, since an
// answer may come before the body has ended.
type exchange struct {
	p        *Proxy
	w        http.ResponseWriter
	rc       *http.ResponseController
	in       *http.Request
	progress *progress
	client   client
	conn     *backendConn
	target   *Target
	timeouts Timeouts
	by       time.Time // it must have ended; zero is never
	reached  func()
	passOver func(status int) bool
	entry    *runningRequest

	nothingSent bool
	goOn        chan struct{} // closed when the backend wants the body, or it isn't needed
	goOnce      sync.Once
	bodyDone    chan struct{} // closed when sendBody has ended

	mu       sync.Mutex // guards the following
	answered bool       // the head of the final answer was passed on
	stopped  bool       // the body isn't needed any more
	gotHead  bool
	bodySent bool      // completely
	bodyErr  error     // of reading it from the client
	bodyBy   time.Time // deadline of the next bytes of the body
	cut      *Error
}

// run returns an error if the client can still be sent one.
func (x *exchange) run() error {
	conn := x.conn
	kept, whole := false, false
	defer func() {
		switch {
		case kept:
		case whole:
			conn.Close()
		default:
			conn.hangUp()
		}
	}()
	ctx, cancel := context.WithCancel(x.in.Context())
	defer cancel()
	stop := context.AfterFunc(ctx, conn.hangUp)
	if x.timeouts.AbortOnClose {
		defer x.client.onHalfClosed(cancel)()
	}
	x.entry = x.p.running.add(x.target.Backend, x.cutOff)
	defer x.p.running.remove(x.entry)
	inTime := func() bool { return true }
	if !x.by.IsZero() {
		inTime = time.AfterFunc(time.Until(x.by), func() { x.cutOff(errLate) }).Stop
		defer inTime()
	}

	head, trailers := x.p.newHead(x.in, x.p.o.Via == nil || x.p.o.Via())
	if logsInRequest(x.in.Header) {
		x.conn.dedicated = true
	}
	x.sendHead(head)
	x.bodyDone = make(chan struct{})
	x.goOn = make(chan struct{})
	if x.in.ContentLength == 0 {
		x.bodySent = true
		close(x.bodyDone)
		x.conn.SetReadDeadline(time.Now().Add(x.timeouts.Response))
	} else {
		go x.sendBody(trailers)
	}
	res, err := x.readHead()
	if err != nil {
		// This comes first, since net/http takes the client for gone once the
		// body was ended.
		gone := x.in.Context().Err() != nil
		x.endBody(0)
		if told := conn.rejected(err); told != nil && x.in.ContentLength == 0 && !gone {
			return &connectError{told} // as if the handshake had failed
		}
		if err = x.blame(err); !gone {
			err = &answerError{refusalOf(err), err}
		}
		return err
	}
	if !x.conn.dedicated && !logsInAnswer(res.Header) && x.passOver(res.StatusCode) {
		x.endBody(0)
		return errPassedOver
	}
	x.reached()
	if err = x.passAnswer(res, cancel); err != nil {
		x.endBody(0)
		// What the client has of the answer must not look complete.
		panic(http.ErrAbortHandler)
	}
	whole = x.endBody(bodyGrace)
	x.p.running.remove(x.entry)
	if stop() && inTime() && whole && !res.Close {
		kept = true
		x.keep()
	}
	return nil
}

// sendHead writes the head. It ignores an error, since the backend may have
// answered before it closed the connection.
func (x *exchange) sendHead(head []byte) {
	x.conn.SetWriteDeadline(time.Now().Add(x.timeouts.Response))
	n, err := x.conn.Write(head)
	x.nothingSent = n == 0 && err != nil
}

// again reports whether to ask the same backend once more on a new connection,
// since it had closed the idle one. If it may have seen the request, that is right
// only for methods without an effect (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
func (x *exchange) again(err error) bool {
	if err == nil || !x.conn.reused || x.conn.got || x.in.Context().Err() != nil || isTimeout(err) {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cut != nil || x.bodyErr != nil {
		return false
	}
	if x.in.ContentLength != 0 {
		return false // the body may have been read in part
	}
	switch x.in.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return x.nothingSent
}

// readHead reads the head of the final answer, and passes interim ones on.
func (x *exchange) readHead() (*http.Response, error) {
	x.conn.headLeft = maxAnswerHead
	defer func() {
		x.mu.Lock()
		x.gotHead = true
		x.conn.SetReadDeadline(time.Time{})
		x.mu.Unlock()
		x.conn.headLeft = -1
	}()
	for range maxInterim {
		res, err := http.ReadResponse(x.conn.r, x.in)
		if err != nil {
			return nil, err
		}
		switch code := res.StatusCode; {
		case code == http.StatusContinue:
			x.goOnce.Do(func() { close(x.goOn) })
		case code == http.StatusSwitchingProtocols:
			return nil, errors.New("101 without an upgrade that was asked for")
		case code >= 200:
			return res, nil
		case x.in.ProtoAtLeast(1, 1): // RFC 9110 §15.2
			removeHopByHop(res.Header)
			header := x.w.Header()
			for name, values := range res.Header {
				header[name] = values
			}
			x.w.WriteHeader(code)
			clear(header)
		}
	}
	return nil, errors.New("too many interim answers")
}

// answerError is what a client gets instead of an answer that didn't come.
type answerError struct {
	told  *Error
	cause error
}

func (e *answerError) Error() string   { return e.cause.Error() }
func (e *answerError) Unwrap() []error { return []error{e.told, e.cause} }

// blame returns what the client gets instead of an answer that didn't come.
func (x *exchange) blame(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch told := (*Error)(nil); {
	case x.cut != nil:
		return x.cut
	case errors.As(x.bodyErr, &told):
		return told // the body's reader has its own reason
	case isTimeout(x.bodyErr):
		return &Error{Status: http.StatusRequestTimeout, Text: "the request's body took too long"}
	case errors.As(x.bodyErr, new(*net.OpError)), x.bodyErr != nil && x.in.ProtoMajor > 1 && x.in.Context().Err() != nil:
		return x.bodyErr // the client has gone
	case x.bodyErr != nil:
		return &Error{Status: http.StatusBadRequest, Text: "the request's body is broken or broke off"}
	}
	return err
}

// passAnswer passes the final answer on to the client. cancel ends the request to
// the backend.
func (x *exchange) passAnswer(res *http.Response, cancel func()) error {
	defer res.Body.Close()
	if logsInAnswer(res.Header) {
		x.conn.dedicated = true
	}
	header := x.w.Header()
	upgrade := res.Header["Upgrade"]
	removeHopByHop(res.Header)
	for name, values := range res.Header {
		header[name] = values
	}
	if res.StatusCode == http.StatusUpgradeRequired && upgrade != nil && x.in.ProtoMajor == 1 {
		header["Upgrade"] = upgrade // RFC 9110 §15.5.22
		header["Connection"] = []string{"Upgrade"}
	}
	x.p.o.editAnswer(x.w, x.in, false)
	if header["Content-Type"] == nil {
		header["Content-Type"] = nil // otherwise net/http guesses one from the first bytes
	}
	if x.target.SetCookie != "" {
		header.Add("Set-Cookie", x.target.SetCookie)
	}
	announced := make(map[string]bool, len(res.Trailer))
	for name := range res.Trailer {
		header.Add("Trailer", name)
		announced[name] = true
	}
	if res.StatusCode >= 300 && !x.bodyIsSent() && x.in.ProtoMajor == 1 {
		// The backend doesn't need the rest. Closing is simpler than reading it
		// (RFC 9112 §9.6).
		header.Set("Connection", "close")
	}
	if isEvents(res.Header) {
		// A reader of events doesn't close only its half: it has gone. The
		// backend should know that before its next event.
		defer x.client.onHalfClosed(cancel)()
		x.p.running.isEvents(x.entry)
	}
	x.mu.Lock()
	x.answered = true
	x.mu.Unlock()
	x.w.WriteHeader(res.StatusCode)
	if err := x.copyAnswer(res.Body); err != nil {
		return err
	}
	for name, values := range res.Trailer {
		if !announced[name] {
			name = http.TrailerPrefix + name
		}
		header[name] = values
	}
	return nil
}

func isEvents(header http.Header) bool {
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}

// copyAnswer passes on at once whatever comes. The head waits for the first bytes
// of the body only if they have come with it.
func (x *exchange) copyAnswer(body io.Reader) error {
	buf := x.p.buffers.Get()
	defer x.p.buffers.Put(buf)
	if x.conn.r.Buffered() == 0 && body != http.NoBody {
		if err := x.rc.Flush(); err != nil {
			return err
		}
	}
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, err := x.w.Write(buf[:n]); err != nil {
				return err
			}
			if err != io.EOF {
				if err := x.rc.Flush(); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			x.progress.broken = err
			return err
		}
	}
}

// cutOff ends the exchange from outside. A client that has no answer yet gets why.
func (x *exchange) cutOff(why *Error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut = why
	if x.answered {
		x.client.stopWriting()
	}
	x.conn.hangUp()
}

// keep keeps the connection for later requests.
func (x *exchange) keep() {
	conn := x.conn
	conn.SetDeadline(time.Time{})
	if conn.dedicated || conn.to.header != "" {
		x.client.putDedicated(conn, x.timeouts.BackendIdle)
	} else {
		x.p.conns.put(conn, x.timeouts.BackendIdle)
	}
}
