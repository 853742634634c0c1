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
	// maxFraming is what a body of maxBody may cost on the wire, in chunks
	// however small.
	maxFraming = 1 << 20
	// maxFrames is how much a backend may send on a WebSocket before what is
	// awaited: some greet with all they have.
	maxFrames = 16 << 20
	// readSize is small, as most answers are.
	readSize = 1 << 10
)

var errHead = errors.New("the head of its answer is longer than 64 KiB")

// exchange is one request and its answer on a connection. net/http's client
// would take two goroutines and a pool of connections for the same.
type exchange struct {
	conn    net.Conn
	limited io.LimitedReader
	r       *bufio.Reader
}

func newExchange(conn net.Conn) *exchange {
	e := &exchange{conn: conn, limited: io.LimitedReader{R: conn, N: maxHead}}
	e.r = bufio.NewReaderSize(&e.limited, readSize)
	return e
}

// do sends a request and reads the head of its final answer.
func (e *exchange) do(request []byte, req *http.Request) (*http.Response, error) {
	if _, err := e.conn.Write(request); err != nil {
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
			continue // interim, RFC 9110 §15.2: the answer is yet to come
		}
		return resp, nil
	}
}

// readBody reads so much of the body as is to be read. A body that breaks off
// is an error.
func (e *exchange) readBody(resp *http.Response) error {
	e.limited.N = maxFraming
	_, err := io.CopyN(io.Discard, resp.Body, maxBody)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// upgraded is what follows a 101.
func (e *exchange) upgraded() io.ReadWriteCloser {
	e.limited.N = maxFrames
	return struct {
		io.Reader
		io.WriteCloser
	}{e.r, e.conn}
}
