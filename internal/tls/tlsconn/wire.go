package tlsconn

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// wire is the net.Conn that crypto/tls makes a handshake on. It never gives a byte
// beyond the record that is being read, so that nothing is left in crypto/tls after
// the handshake. It watches the records for what crypto/tls doesn't report.
type wire struct {
	conn transport.Conn // nil once the handshake is done
	in   *buffer        // read and not given to crypto/tls
	left int            // of the record that crypto/tls is reading

	// kind is the type of that record, and header how much is left of its header.
	kind   uint8
	header int

	heard, said hello
	// secret is with what our records of application data are encrypted in TLS 1.3,
	// once it is known.
	secret []byte
	// written is how many records of ours were encrypted with it. crypto/tls may have
	// sent tickets, which look like the rest of the handshake. They come after what
	// has the size of a Finished.
	written  uint64
	finished bool
	// In TLS 1.2, records in each direction since its change_cipher_spec.
	keyedIn, keyedOut     bool
	recordsIn, recordsOut uint64

	// alert is the content of the last record that came, if that was an alert which
	// isn't encrypted: level and description.
	alert    [2]byte
	alertLen int

	// isClient and hadTurn: a client awaits its turn for what follows the server's first
	// flight.
	isClient, hadTurn bool

	began   bool  // a byte has come
	readErr error // of conn
	odd     bool  // crypto/tls has written something other than whole records
}

// errAgain is returned where there is nothing more to read for now. crypto/tls can
// go on after it, since it is temporary.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "tls: nothing more for now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// begin prepares w for a handshake on conn.
func (w *wire) begin(conn transport.Conn, isClient bool) {
	*w = wire{conn: conn, in: newBuffer(smallBuffer), isClient: isClient}
}

// fill reads something from conn.
func (w *wire) fill(room int) error {
	if w.conn == nil {
		return errAgain
	}
	var to []byte
	w.in, to = w.in.room(room)
	n, err := w.conn.Read(to)
	w.in.to += n
	return w.have(n, err)
}

func (w *wire) have(n int, err error) error {
	if n > 0 {
		w.began = true
		return nil
	}
	w.readErr = err
	return err
}

// awaitHello returns when the client's whole ClientHello has come.
func (w *wire) awaitHello() error {
	for !isWhole(w.in.bytes()) {
		if err := w.fill(1); err != nil {
			return err
		}
	}
	return nil
}

// awaitTurn is called with the first record of a server. Its flight costs a client a key
// exchange and the verification of a chain, and crypto/tls reads all of it now. It holds
// nothing but locks of this connection meanwhile.
func (w *wire) awaitTurn() error {
	if !w.isClient || w.hadTurn {
		return nil
	}
	w.hadTurn = true
	if err := transport.AwaitTurn(w.conn); err != nil {
		w.readErr = err
		return err
	}
	return nil
}

// Read is part of net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		for w.in.to-w.in.from < recordHeader {
			if err := w.fill(recordHeader); err != nil {
				return 0, err
			}
		}
		if err := w.awaitTurn(); err != nil {
			return 0, err
		}
		header := w.in.bytes()
		w.kind, w.left, w.header, w.alertLen = header[0], recordSize(header), recordHeader, 0
		if w.keyedIn {
			w.recordsIn++
		}
		w.keyedIn = w.keyedIn || w.kind == recordChangeCipherSpec
	}
	p = p[:min(len(p), w.left)]
	if w.in.isEmpty() {
		if len(p) >= smallBuffer && w.conn != nil {
			n, err := w.conn.Read(p)
			return w.gave(p[:n]), w.have(n, err)
		}
		if err := w.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.in.bytes())
	w.in.from += n
	return w.gave(p[:n]), nil
}

// gave records that crypto/tls gets p.
func (w *wire) gave(p []byte) int {
	w.left -= len(p)
	header := min(w.header, len(p))
	w.header -= header
	if w.kind == recordHandshake && !w.keyedIn {
		w.heard.feed(p[header:])
	}
	if w.kind == recordAlert && w.alertLen+w.left+len(p[header:]) == len(w.alert) {
		w.alertLen += copy(w.alert[w.alertLen:], p[header:])
	}
	return len(p)
}

// Write is part of net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	if w.conn == nil {
		return len(p), nil // an answer to what gets a copy only
	}
	for b := p; len(b) > 0; {
		if len(b) < recordHeader || len(b) < recordSize(b) {
			w.odd = true
			break
		}
		size := recordSize(b)
		w.wrote(b[:size])
		b = b[size:]
	}
	return w.conn.Write(p)
}

// wrote watches one record of ours.
func (w *wire) wrote(record []byte) {
	if w.keyedOut {
		w.recordsOut++
	}
	switch kind := record[0]; {
	case kind == recordChangeCipherSpec:
		w.keyedOut = true
	case kind == recordHandshake && !w.keyedOut:
		w.said.feed(record[recordHeader:])
	case kind == recordData && w.secret != nil:
		switch {
		case !w.finished:
			w.finished = len(record) == recordHeader+messageHeader+len(w.secret)+overhead13
		case tlsrec.TryOpen(tls.VersionTLS13, w.suite(), w.secret, w.written, record):
			w.written++
		}
	}
}

// suite is the server's choice.
func (w *wire) suite() uint16 {
	if w.said.suite != 0 {
		return w.said.suite
	}
	return w.heard.suite
}

// end detaches w from its connection. What was read and not used is in the result,
// which may be nil.
func (w *wire) end() *buffer {
	in := w.in
	w.conn, w.in = nil, nil
	if in.isEmpty() {
		in.free()
		return nil
	}
	return in
}

var errOdd = errors.New("tls: crypto/tls has written a part of a record")

// LocalAddr is part of net.Conn.
func (w *wire) LocalAddr() net.Addr {
	if w.conn == nil {
		return &net.TCPAddr{}
	}
	return net.TCPAddrFromAddrPort(w.conn.LocalAddr())
}

// RemoteAddr is part of net.Conn.
func (w *wire) RemoteAddr() net.Addr {
	if w.conn == nil {
		return &net.TCPAddr{}
	}
	return net.TCPAddrFromAddrPort(w.conn.RemoteAddr())
}

// Close is part of net.Conn. The connection belongs to the caller of the handshake.
func (w *wire) Close() error { return nil }

// SetDeadline is part of net.Conn. The deadline of the connection applies.
func (w *wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline is part of net.Conn.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is part of net.Conn.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
