package handshake

import (
	"bufio"
	"bytes"
	"io"
	"net/http"

	"github.com/holdfast-ws/holdfast/internal/httphead"
	"github.com/holdfast-ws/holdfast/internal/transport"
)

// PassBack sends the client the backend's plain answer to its handshake,
// after CheckResponse returned ErrPlainAnswer. head is what ReadResponse read,
// buf[:have]. Both connections are left to be closed by the caller, whose
// deadlines on them bound it all.
//
// A *BackendError says that the answer broke before any of it was sent; the
// client can be told 502. Any other error came too late for that.
//
// This is off the path to a session, so it lets net/http do the body.
func PassBack(client, backend transport.Conn, head []byte) error {
	var parsed httphead.Response // before net/http has taken things out of it
	if n, err := parsed.Parse(head); n == 0 {
		return &BackendError{Reason: ReasonMalformed, Err: err}
	}
	from := bufio.NewReader(io.MultiReader(bytes.NewReader(head), reader{backend}))
	resp, err := http.ReadResponse(from, &http.Request{Method: http.MethodGet})
	if err != nil {
		return &BackendError{Reason: ReasonMalformed, Err: err}
	}
	defer resp.Body.Close()
	removeHopByHop(resp, parsed.Fields)
	// The version is ours, not the backend's (RFC 9110 §2.5), and the client's
	// was 1.1, or Check had refused it.
	resp.Proto, resp.ProtoMajor, resp.ProtoMinor = "HTTP/1.1", 1, 1
	resp.Close = true

	to := &answer{conn: client}
	out := bufio.NewWriterSize(to, 16<<10)
	if err := resp.Write(out); err != nil {
		if !to.started {
			return &BackendError{Reason: ReasonMalformed, Err: err}
		}
		// What came is passed on; the close without a proper end tells the
		// client that it is not all.
		out.Flush()
		return err
	}
	return out.Flush()
}

func removeHopByHop(resp *http.Response, fields httphead.Fields) {
	for name := range resp.Header {
		if fields.HasToken("connection", name) {
			delete(resp.Header, name)
		}
	}
	for _, name := range hopByHop {
		resp.Header.Del(name)
	}
	// A 426 must say to what (RFC 9110 §15.5.22), and only WebSockets are
	// asked for here.
	if resp.StatusCode == http.StatusUpgradeRequired {
		resp.Header.Set("Upgrade", "websocket")
		resp.Header.Set("Connection", "Upgrade")
	}
	resp.Trailer = nil
}

// reader is the reading half of a Conn: io.MultiReader and net/http look for
// more methods in what they are given.
type reader struct{ conn transport.Conn }

func (r reader) Read(p []byte) (int, error) { return r.conn.Read(p) }

// answer is the writing half of a Conn, which remembers that it was used.
type answer struct {
	conn    transport.Conn
	started bool
}

func (a *answer) Write(p []byte) (int, error) {
	a.started = true
	return a.conn.Write(p)
}
