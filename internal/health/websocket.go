package health

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
)

// webSocketProbe opens a session as a client would, and closes it. It finds
// the backend that answers HTTP and takes no more WebSockets.
type webSocketProbe struct {
	*connector
	spec WebSocket
}

func (p *webSocketProbe) ask(ctx context.Context, addr netip.AddrPort) answer {
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return answer{finding: finding{verdict: failed, reason: err.Error()}}
	}
	defer conn.Close()
	talk := &talk{webSocketProbe: p, exchange: newExchange(conn)}
	o := websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     upgrader{talk.exchange},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader:     headers(p.spec.Header),
		Host:           cmp.Or(p.spec.Host, p.backend.Address),
		OnPongReceived: func(context.Context, []byte) { talk.ponged.Store(true) },
	}
	if p.spec.Subprotocol != "" {
		o.Subprotocols = []string{p.spec.Subprotocol}
	}
	ws, resp, err := websocket.Dial(ctx, "ws://"+addr.String()+cmp.Or(p.spec.Path, "/"), &o)
	if resp == nil {
		return p.failure(ctx, err)
	}
	a := heardLoad(resp.Header)
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable:
		a.verdict, a.reason = drains, "status 503"
	case resp.StatusCode != http.StatusSwitchingProtocols:
		a.reason = fmt.Sprintf("status %d, want 101", resp.StatusCode)
	case err != nil:
		a.reason = strings.TrimPrefix(p.explain(ctx, err), "failed to WebSocket dial: ")
	default:
		talk.ws = ws
		a.finding = talk.run(ctx)
	}
	return a
}

// upgrader makes the handshake on the connection that a probe has.
type upgrader struct{ *exchange }

func (u upgrader) RoundTrip(req *http.Request) (*http.Response, error) {
	var request bytes.Buffer
	if err := req.Write(&request); err != nil {
		return nil, err
	}
	resp, err := u.do(request.Bytes(), req)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = u.upgraded()
	}
	return resp, err
}

// talk is the session of one check.
type talk struct {
	*webSocketProbe
	*exchange
	ws      *websocket.Conn
	ponged  atomic.Bool
	reading sync.WaitGroup
}

// run says and awaits what the Spec wants, and closes the session.
func (t *talk) run(ctx context.Context) finding {
	defer t.reading.Wait()
	defer t.ws.CloseNow()
	t.ws.SetReadLimit(-1) // maxFrames is the limit, and no message is kept
	if want := t.spec.Subprotocol; want != "" && t.ws.Subprotocol() == "" {
		return finding{verdict: failed, reason: fmt.Sprintf("subprotocol %q was not accepted", want)}
	}
	var heard string
	var err error
	if t.spec.pings() {
		heard, err = "pong", t.ping(ctx)
	} else {
		heard, err = t.message(ctx)
	}
	if err != nil {
		return finding{verdict: failed, reason: err.Error()}
	}
	// Whether it answers with a Close frame, or just closes, is a matter of
	// manners. One that does neither is stuck.
	_ = t.ws.Close(websocket.StatusNormalClosure, "")
	if ctx.Err() != nil {
		return finding{verdict: failed, reason: fmt.Sprintf("%s, then Close was not answered within %v", heard, t.timeout)}
	}
	return finding{verdict: passed, reason: heard}
}

// ping sends a ping and awaits its pong. Messages that come are let pass.
func (t *talk) ping(ctx context.Context) error {
	// Only a reader sees pongs, and it must be able to end the wait: a
	// backend that closes sends none.
	waiting, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	t.reading.Go(func() {
		for {
			_, r, err := t.ws.Reader(ctx)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				giveUp(err)
				return
			}
		}
	})
	err := t.ws.Ping(waiting)
	if err == nil {
		return nil
	}
	// The reader knows better: of a pong with a close at its heels, and why
	// there was none.
	t.reading.Wait()
	if t.ponged.Load() {
		return nil
	}
	if cause := context.Cause(waiting); !errors.Is(cause, net.ErrClosed) {
		err = cause
	}
	return t.missing(ctx, "pong", err)
}

// message sends what is to be sent and awaits a message that begins with what
// is expected. Others are let pass.
func (t *talk) message(ctx context.Context) (heard string, err error) {
	if t.spec.Send != "" {
		if err := t.ws.Write(ctx, websocket.MessageText, []byte(t.spec.Send)); err != nil {
			return "", t.missing(ctx, "message taken", err)
		}
	}
	if t.spec.Expect == "" {
		return "message sent", nil
	}
	want := fmt.Sprintf("message that begins with %.64q", t.spec.Expect)
	begin := make([]byte, len(t.spec.Expect))
	for {
		_, r, err := t.ws.Reader(ctx)
		if err == nil {
			_, err = io.ReadFull(r, begin)
			if err == nil && string(begin) == t.spec.Expect {
				return "a " + want, nil
			}
			if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				_, err = io.Copy(io.Discard, r)
			}
		}
		if err != nil {
			return "", t.missing(ctx, want, err)
		}
	}
}

// missing says that what was awaited did not come.
func (t *talk) missing(ctx context.Context, what string, err error) error {
	var closed websocket.CloseError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("no %s within %v", what, t.timeout)
	case t.limited.N <= 0:
		return fmt.Errorf("no %s in the first 16 MiB", what)
	case errors.As(err, &closed):
		return fmt.Errorf("no %s, closed with %d %.128q", what, int(closed.Code), closed.Reason)
	}
	return fmt.Errorf("no %s: %s", what, t.explain(ctx, err))
}
