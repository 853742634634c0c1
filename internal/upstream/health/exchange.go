package health

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
)

const (
	maxHead = 64 << 10
	maxBody = 64 << 10
	// maxFraming bounds a body of maxBody on the wire, in chunks however
	// small.
	maxFraming = 1 << 20
	// maxFrames is how much a backend may send on a WebSocket before the
	// expected answer: some greet clients with all they have.
	maxFrames = 16 << 20
	// readSize is small since most answers are.
	readSize = 1 << 10
)

var errHead = errors.New("the head of its answer is longer than 64 KiB")

// httpExchange is one request and its response on a connection. net/http's client
// would need two goroutines and a connection pool for that.
type httpExchange struct {
	conn    net.Conn
	limited io.LimitedReader
	r       *bufio.Reader
}

func newHTTPExchange(conn net.Conn) *httpExchange {
	e := &httpExchange{conn: conn, limited: io.LimitedReader{R: conn, N: maxHead}}
	e.r = bufio.NewReaderSize(&e.limited, readSize)
	return e
}

// do sends a request and reads the head of the final response.
func (e *httpExchange) do(request []byte, req *http.Request) (*http.Response, error) {
	if _, err := e.conn.Write(request); err != nil {
		// A backend that has rejected the TLS handshake says why before it closes the
		// connection.
		if _, read := e.r.Peek(1); read != nil && !errors.Is(read, io.EOF) {
			err = read
		}
		return nil, err
	}
	for {
		resp, err := http.ReadResponse(e.r, req)
		switch {
		case err != nil && e.limited.N <= 0:
			return nil, errHead
		case err != nil:
			return nil, err
		case resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols:
			continue // interim response, RFC 9110 §15.2
		}
		return resp, nil
	}
}

// readBody reads the body, up to maxBody, and returns it if it is wanted. A body that
// breaks off is an error.
func (e *httpExchange) readBody(resp *http.Response, wanted bool) ([]byte, error) {
	e.limited.N = maxFraming
	if wanted {
		return io.ReadAll(io.LimitReader(resp.Body, maxBody))
	}
	_, err := io.CopyN(io.Discard, resp.Body, maxBody)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return nil, err
}

// upgraded is the connection after a 101.
func (e *httpExchange) upgraded() io.ReadWriteCloser {
	e.limited.N = maxFrames
	return struct {
		io.Reader
		io.WriteCloser
	}{e.r, e.conn}
}
