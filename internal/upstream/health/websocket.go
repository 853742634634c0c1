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
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// WebSocket is a check by a whole session: an upgrade, a message or ping, its
// answer, and a closing handshake.
type WebSocket struct {
	Path string // with a query, if any; "" means /
	// Send "ping" and Expect "pong" mean a ping frame and its pong. That is also
	// the default, if both or the other one are "". Otherwise they are about
	// text messages: Send is sent, and a message that begins with Expect must
	// come; "" means none.
	Send        string
	Expect      string
	Host        string // as of HTTP
	Headers     [][2]string
	Subprotocol string // offered, and must be accepted; "" means none
}

func (w WebSocket) label() string { return "websocket check " + cmp.Or(w.Path, "/") }

func (w WebSocket) newCheck(c *connector) check { return &wsCheck{connector: c, spec: w} }

// pings reports whether the check is a ping and its pong.
func (w WebSocket) pings() bool {
	return (w.Send == "" || w.Send == "ping") && (w.Expect == "" || w.Expect == "pong")
}

// wsCheck opens a session as a client would, and closes it. It detects a backend
// that answers HTTP but no longer accepts WebSockets.
type wsCheck struct {
	*connector
	spec WebSocket
}

func (p *wsCheck) run(ctx context.Context, addr hostport.Endpoint) result {
	conn, err := p.connect(ctx, addr)
	if err != nil {
		return failedResult(err.Error())
	}
	defer conn.Close()
	talk := &wsSession{wsCheck: p, httpExchange: newHTTPExchange(conn)}
	o := websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     upgrader{talk.httpExchange},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader:     headers(p.spec.Headers),
		Host:           cmp.Or(p.spec.Host, p.authority()),
		OnPongReceived: func(context.Context, []byte) { talk.ponged.Store(true) },
	}
	if p.spec.Subprotocol != "" {
		o.Subprotocols = []string{p.spec.Subprotocol}
	}
	ws, resp, err := websocket.Dial(ctx, "ws://"+p.authority()+cmp.Or(p.spec.Path, "/"), &o)
	if resp == nil {
		return p.failure(ctx, err)
	}
	a := readLoad(resp.Header)
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

// upgrader makes the handshake on the connection that a check has.
type upgrader struct{ *httpExchange }

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

// wsSession is the WebSocket session of one check.
type wsSession struct {
	*wsCheck
	*httpExchange
	ws      *websocket.Conn
	ponged  atomic.Bool
	reading sync.WaitGroup
}

// run sends and expects what the Spec says, and closes the session.
func (t *wsSession) run(ctx context.Context) finding {
	defer t.reading.Wait()
	defer t.ws.CloseNow()
	t.ws.SetReadLimit(-1) // maxFrames limits all messages, and none is kept
	if want := t.spec.Subprotocol; want != "" && t.ws.Subprotocol() == "" {
		return finding{verdict: failed, reason: fmt.Sprintf("subprotocol %q was not accepted", want)}
	}
	var heard string
	var err error
	if t.spec.pings() {
		heard, err = "pong", t.ping(ctx)
	} else {
		heard, err = t.exchangeMessages(ctx)
	}
	if err != nil {
		return finding{verdict: failed, reason: err.Error()}
	}
	// A backend may answer with a Close frame or just close the connection.
	// If it does neither, it is stuck.
	_ = t.ws.Close(websocket.StatusNormalClosure, "")
	if ctx.Err() != nil {
		return finding{verdict: failed, reason: fmt.Sprintf("%s, then Close was not answered within %v", heard, t.timeout)}
	}
	return finding{verdict: passed, reason: heard}
}

// ping sends a ping and waits for its pong. Messages that come are dropped.
func (t *wsSession) ping(ctx context.Context) error {
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
	// The reader knows more: about a pong that was followed by a close at
	// once, and why there was none.
	t.reading.Wait()
	if t.ponged.Load() {
		return nil
	}
	if cause := context.Cause(waiting); !errors.Is(cause, net.ErrClosed) {
		err = cause
	}
	return t.missingError(ctx, "pong", err)
}

// exchangeMessages sends the configured message and waits for one that begins with
// the expected text. Others are dropped.
func (t *wsSession) exchangeMessages(ctx context.Context) (heard string, err error) {
	if t.spec.Send != "" {
		if err := t.ws.Write(ctx, websocket.MessageText, []byte(t.spec.Send)); err != nil {
			return "", t.missingError(ctx, "message taken", err)
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
			return "", t.missingError(ctx, want, err)
		}
	}
}

// missingError says that something expected did not come.
func (t *wsSession) missingError(ctx context.Context, what string, err error) error {
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
