package handshake

import (
	"bytes"
	"io"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// conn is a transport.Conn in memory: each Read returns one of its pieces, then end,
// and it keeps what is written.
type conn struct {
	transport.Conn // nil: this package only reads and writes

	pieces  []string
	end     error // io.EOF where nil
	written bytes.Buffer
	broken  error // what Write fails with
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.pieces) == 0 {
		if c.end == nil {
			return 0, io.EOF
		}
		return 0, c.end
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; c.pieces[0] == "" {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *conn) Write(p []byte) (int, error) {
	if c.broken != nil {
		return 0, c.broken
	}
	return c.written.Write(p)
}

func (c *conn) SetDeadline(time.Time) error { return nil }

// bytewise splits s into pieces of one byte.
func bytewise(s string) (pieces []string) {
	for i := range s {
		pieces = append(pieces, s[i:i+1])
	}
	return pieces
}
