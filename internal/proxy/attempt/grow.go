package attempt

import "github.com/holdfast-ws/holdfast/internal/sock/transport"

// grow replaces a head's buffer that is full by one of the largest size that is
// allowed, and returns a connection that begins with what was read.
func grow(c transport.Conn, buf *[]byte, have, largest int, err error) (_ transport.Conn, grown bool) {
	if err == nil || have < usualHead || len(*buf) >= largest {
		return nil, false
	}
	first := *buf
	*buf = make([]byte, largest)
	return &reread{c, first}, true
}

type reread struct {
	transport.Conn
	first []byte
}

func (r *reread) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}
