package httpproxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"time"
)

// continueTimeout is how long a backend may take to answer Expect: 100-continue.
// After that it gets the body anyway.
const continueTimeout = time.Second

// sendBody passes the request's body on until it ends or isn't needed any more.
func (x *exchange) sendBody(trailers []string) {
	defer close(x.bodyDone)
	if hasToken(x.in.Header["Expect"], "100-continue") && x.in.ProtoAtLeast(1, 1) {
		wait := time.NewTimer(continueTimeout)
		defer wait.Stop()
		select {
		case <-x.goOn:
		case <-wait.C:
		}
	}
	var chunks io.WriteCloser
	var framed bytes.Buffer
	to := io.Writer(&framed)
	if x.in.ContentLength < 0 {
		chunks = httputil.NewChunkedWriter(&framed)
		to = chunks
	}
	buf := x.p.buffers.Get()
	defer x.p.buffers.Put(buf)
	for {
		if !x.wait() {
			return
		}
		n, err := x.in.Body.Read(buf)
		framed.Reset()
		if n > 0 {
			to.Write(buf[:n])
		}
		if err == io.EOF && chunks != nil {
			chunks.Close()
			writeTrailers(&framed, trailers, x.in.Trailer)
		}
		if err != nil && err != io.EOF {
			x.bodyBroke(err)
			return
		}
		if framed.Len() > 0 && !x.writeBody(framed.Bytes()) {
			return
		}
		if err == io.EOF {
			x.bodyEnded()
			return
		}
	}
}

func writeTrailers(to *bytes.Buffer, names []string, values http.Header) {
	sent := http.Header{}
	for _, name := range names {
		if values[name] != nil {
			sent[name] = values[name]
		}
	}
	sent.Write(to)
	to.WriteString("\r\n")
}

// wait sets the deadline of the next bytes of the body. It reports false if the
// body isn't needed any more.
func (x *exchange) wait() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.stopped {
		x.bodyBy = time.Now().Add(x.timeouts.Body)
		x.rc.SetReadDeadline(x.bodyBy)
	}
	return !x.stopped
}

// writeBody writes to the backend as long as it accepts bytes. If it doesn't, its
// answer may say why, so run goes on reading.
func (x *exchange) writeBody(p []byte) bool {
	for len(p) > 0 {
		x.conn.SetWriteDeadline(time.Now().Add(x.timeouts.Response))
		n, err := x.conn.Write(p)
		p = p[n:]
		if err != nil && (n == 0 || !isTimeout(err)) {
			x.mu.Lock()
			defer x.mu.Unlock()
			switch { // it has answered, or never will
			case x.gotHead:
			case isTimeout(err):
				x.conn.SetReadDeadline(longAgo)
			default:
				x.conn.SetReadDeadline(time.Now().Add(x.timeouts.Response))
			}
			return false
		}
	}
	return true
}

// bodyBroke records that the client's body can't be read. The backend must not
// take what it has got for the complete body.
func (x *exchange) bodyBroke(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stopped && (x.in.ProtoMajor > 1 || isTimeout(err) && time.Now().Before(x.bodyBy)) {
		return // endBody caused that
	}
	x.bodyErr = err
	x.conn.hangUp()
}

func (x *exchange) bodyEnded() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bodySent = true
	if !x.stopped {
		x.rc.SetReadDeadline(time.Time{})
	}
	if !x.gotHead {
		x.conn.SetReadDeadline(time.Now().Add(x.timeouts.Response))
	}
}

func (x *exchange) bodyIsSent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bodySent
}

// endBody waits for the end of the body for at most grace, and then ends it. It
// reports whether the complete body was passed on.
func (x *exchange) endBody(grace time.Duration) (whole bool) {
	select {
	case <-x.bodyDone:
	default:
		if grace > 0 {
			timer := time.NewTimer(grace)
			select {
			case <-x.bodyDone:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
	x.mu.Lock()
	x.stopped = true
	whole = x.bodySent
	if !whole {
		if x.in.ProtoMajor > 1 {
			x.in.Body.Close() // net/http drops what comes then; after a deadline it would reset the stream
		} else {
			x.rc.SetReadDeadline(longAgo)
		}
		x.conn.SetWriteDeadline(longAgo)
	}
	x.mu.Unlock()
	x.goOnce.Do(func() { close(x.goOn) })
	<-x.bodyDone
	if !whole {
		x.client.endWithAnswer()
	}
	return whole
}
