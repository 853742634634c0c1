package handshake

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// PassBack sends the client the backend's plain answer to its handshake up, after
// CheckResponse returned ErrPlainAnswer. head is what ReadResponse read,
// buf[:have]. PassBack sends the answer's head at once and its body as it comes,
// however long that takes, unless nothing moves for the time idle; it sets the
// deadlines of both connections. changes are made in the head. The caller closes both.
//
// If the error wraps a *BackendError, nothing was sent and the client can be told
// 502. Any other error came too late for that.
//
// Speed doesn't matter here, so net/http reads the body.
func PassBack(client, backend transport.Conn, up *Upgrade, head []byte, idle time.Duration, changes *Changes) error {
	var parsed httphead.Response
	n, err := parsed.Parse(head)
	if n == 0 {
		return broken(ReasonMalformed, err)
	}
	pair := bounded{client, backend, idle}
	from := bufio.NewReader(io.MultiReader(bytes.NewReader(head), reader{pair}))
	resp, err := http.ReadResponse(from, &http.Request{Method: string(up.Method)})
	if err != nil {
		return broken(ReasonMalformed, err)
	}
	defer resp.Body.Close()
	// The client's version is 1.1: Check refuses any other. A body without a
	// length is sent in chunks, so that the client can tell a complete body from
	// one that was cut off.
	chunked := resp.ContentLength < 0
	chunked = chunked && resp.Body != http.NoBody // a HEAD has none
	out := appendAnswer(nil, up, &parsed, chunked, changes)
	if body := head[n:]; resp.ContentLength == 0 {
		return pair.write(out)
	} else if !chunked && int64(len(body)) >= resp.ContentLength {
		return pair.write(append(out, body[:resp.ContentLength]...)) // the usual case
	}
	if err := pair.write(out); err != nil {
		return err
	}
	return pair.passBody(resp.Body, chunked)
}

// appendAnswer appends the head of a plain answer as the client gets it.
func appendAnswer(dst []byte, up *Upgrade, resp *httphead.Response, chunked bool, changes *Changes) []byte {
	dst = append(dst, "HTTP/1.1 "...) // our version, not the backend's (RFC 9110 §2.5)
	dst = strconv.AppendInt(dst, int64(resp.Status), 10)
	dst = append(append(dst, ' '), resp.Reason...)
	dst = append(dst, "\r\n"...)
	named := namesFields(resp.Fields)
	for i := range resp.Fields {
		field := &resp.Fields[i]
		length := httphead.EqualFold(field.Name, "content-length") && resp.Status != http.StatusNoContent
		if (length || endToEnd(resp.Fields, field.Name, named)) && !changes.replacesInAnswer(field.Name) {
			dst = appendField(dst, field)
		}
	}
	dst = changes.appendToAnswer(dst)
	if chunked {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	// A 426 must have Upgrade (RFC 9110 §15.5.22).
	if resp.Status == http.StatusUpgradeRequired {
		dst = up.appendProtocol(append(dst, "Upgrade: "...))
		return append(dst, "\r\nConnection: close, Upgrade\r\n\r\n"...)
	}
	return append(dst, "Connection: close\r\n\r\n"...)
}

// bounded are both connections while an answer is passed back. Each step may take
// the time idle.
type bounded struct {
	client, backend transport.Conn
	idle            time.Duration
}

func (b bounded) write(p []byte) error {
	b.client.SetDeadline(time.Now().Add(b.idle))
	_, err := b.client.Write(p)
	return err
}

func (b bounded) passBody(body io.Reader, chunked bool) error {
	const room = len("ffff\r\n") // for a chunk's size
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf[room : len(buf)-len("\r\n")])
		if n > 0 {
			piece := buf[room : room+n]
			if chunked {
				size := append(strconv.AppendInt(nil, int64(n), 16), "\r\n"...)
				start := room - len(size)
				copy(buf[start:], size)
				copy(buf[room+n:], "\r\n")
				piece = buf[start : room+n+len("\r\n")]
			}
			if err := b.write(piece); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && chunked:
			return b.write([]byte("0\r\n\r\n"))
		case err == io.EOF:
			return nil
		case err != nil:
			return err // the client sees that it is not complete
		}
	}
}

// reader is the backend's connection with nothing but Read: io.MultiReader and
// net/http look for further methods.
type reader struct{ pair bounded }

func (r reader) Read(p []byte) (int, error) {
	r.pair.backend.SetDeadline(time.Now().Add(r.pair.idle))
	return r.pair.backend.Read(p)
}
