package tlsconn

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// layers has Layers for connections that are not on an engine's loop. A Layer must
// not be used concurrently, and one for each connection would cost memory.
var layers = sync.Pool{New: func() any { return tlsrec.NewLayer(64) }}

// tinyRead is from how many bytes on a caller's buffer is used for reading the
// socket.
const tinyRead = 256

// link is the records of a connection. It has no buffers while nothing is under way.
type link struct {
	mu    sync.Mutex // guards state: a NetConn is read and written at the same time
	state tlsrec.State

	facts    *transport.TLS
	isClient bool

	// The following belong to the reader.
	tickets *handshake // of a client that may still get tickets; otherwise nil
	cipher  *buffer    // read and not opened
	plain   *buffer    // opened and not read
	first   []byte     // to be read before plain
	readErr error      // of Open
	header  [recordHeader]byte

	// The following belong to the writer.
	unsent []byte // sealed, but the deadline came first
	broken error  // writing has failed
}

// errTruncated is what a client gets after the end of a connection without a
// close_notify. It is io.EOF only to those who look for it by errors.Is, so that an
// answer that ends there isn't taken for complete (RFC 8446 §6.1).
var errTruncated error = truncated{}

type truncated struct{}

func (truncated) Error() string { return "tls: the connection was closed without a close_notify" }

func (truncated) Is(target error) bool { return target == io.EOF || target == io.ErrUnexpectedEOF }

// read is Read of a connection; src reads the socket.
func (l *link) read(p []byte, src func([]byte) (int, error)) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(l.first) > 0 {
			n := copy(p, l.first)
			if l.first = l.first[n:]; len(l.first) == 0 {
				l.first = nil
			}
			return n, nil
		}
		if !l.plain.isEmpty() {
			n := copy(p, l.plain.bytes())
			if l.plain.from += n; l.plain.isEmpty() {
				l.plain.free()
				l.plain = nil
			}
			return n, nil
		}
		if l.readErr != nil {
			return 0, l.readErr
		}
		if n, ok := l.open(p); n > 0 {
			return n, nil
		} else if ok {
			continue
		}
		if err := l.fill(p, src); err != nil {
			return 0, err
		}
	}
}

// fill reads the socket. What is there is less than a record.
func (l *link) fill(p []byte, src func([]byte) (int, error)) error {
	if l.cipher == nil {
		// A connection that waits has no buffer: p will do, and if that is too small,
		// the header of a record tells when to get one.
		to := l.header[:]
		if len(p) >= tinyRead {
			to = p[:min(len(p), largeBuffer)]
		}
		n, err := src(to)
		if n == 0 {
			return l.readEnd(err)
		}
		l.cipher = newBuffer(n)
		l.cipher.to = copy(l.cipher.b, to[:n])
		return nil
	}
	have, want := l.cipher.bytes(), recordHeader
	if len(have) >= recordHeader {
		want = recordSize(have)
	}
	var to []byte
	l.cipher, to = l.cipher.room(want - len(have))
	n, err := src(to)
	l.cipher.to += n
	if n == 0 {
		return l.readEnd(err)
	}
	return nil
}

// readEnd is what an error of the socket means.
func (l *link) readEnd(err error) error {
	switch {
	case err == nil:
		return io.ErrNoProgress
	case err != io.EOF:
		return err
	case l.isClient || !l.cipher.isEmpty():
		return errTruncated
	}
	return io.EOF // many clients send no close_notify
}

// open opens what it can of l.cipher: into p, otherwise into l.plain. n is how much is
// in p. ok means that something has changed.
func (l *link) open(p []byte) (n int, ok bool) {
	src := l.cipher.bytes()
	if len(src) < recordHeader {
		return 0, false
	}
	size := recordSize(src)
	dst := p
	switch {
	case len(src) < size:
		// It may fail by its header.
		src = src[:recordHeader]
	case size > len(p):
		l.plain = newBuffer(size)
		dst, src = l.plain.b, src[:size]
	case l.tickets != nil:
		src = src[:size]
	default:
		src = src[:min(len(src), len(p))]
	}
	n, used, err := l.openRecords(dst, src)
	if used == 0 && err == nil {
		return 0, false
	}
	if l.tickets != nil && (n > 0 || err != nil || !l.tickets.feed(src[:used])) {
		l.dropTickets()
	}
	if l.cipher.from += used; l.cipher.isEmpty() || err != nil {
		l.cipher.free()
		l.cipher = nil
	}
	if err == tlsrec.ErrClosed {
		err = io.EOF
	}
	l.readErr = err
	if l.plain != nil {
		l.plain.to = n
		if n = 0; l.plain.isEmpty() {
			l.plain.free()
			l.plain = nil
		}
	}
	return n, true
}

func (l *link) openRecords(dst, src []byte) (plain, used int, err error) {
	layer := layers.Get().(*tlsrec.Layer)
	l.mu.Lock()
	defer l.mu.Unlock()
	plain, used, err = layer.Open(&l.state, dst, src)
	layers.Put(layer)
	return plain, used, err
}

// dropTickets ends the wait for tickets.
func (l *link) dropTickets() {
	if l.tickets != nil {
		l.tickets.giveBack()
		l.tickets = nil
	}
}

// alertOf is the alert that must be sent after l.readErr; ok is false if there is
// none.
func (l *link) alertOf() (description uint8, ok bool) {
	var failed *tlsrec.Error
	if errors.As(l.readErr, &failed) && !failed.FromPeer {
		return failed.Alert, true
	}
	return 0, false
}

func (l *link) seal(dst, p []byte) []byte {
	layer := layers.Get().(*tlsrec.Layer)
	l.mu.Lock()
	defer l.mu.Unlock()
	dst = layer.Seal(&l.state, dst, p)
	layers.Put(layer)
	return dst
}

func (l *link) sealAlert(description uint8) []byte {
	layer := layers.Get().(*tlsrec.Layer)
	l.mu.Lock()
	defer l.mu.Unlock()
	b := layer.SealAlert(&l.state, nil, description)
	layers.Put(layer)
	return b
}

// write is Write of a connection; dst writes to the socket. If its deadline passes, a
// later write goes on where it ended: n includes what is sealed already.
func (l *link) write(p []byte, dst func([]byte) (int, error)) (n int, err error) {
	if l.broken != nil {
		return 0, l.broken
	}
	if len(l.unsent) > 0 {
		if progress, err := l.flush(dst); err != nil {
			if progress && l.broken == nil && len(p) > 0 {
				// The caller must see that the peer is taking something.
				n = min(len(p), tinyRead)
				l.unsent = l.seal(l.unsent, p[:n])
			}
			return n, err
		}
	}
	for {
		chunk := p[n:min(len(p), n+tlsrec.MaxPlaintext)]
		buf := newBuffer(len(chunk) + 2*tlsrec.MaxOverhead + recordHeader)
		sealed := l.seal(buf.b[:0], chunk)
		if len(sealed) == 0 && len(chunk) > 0 {
			buf.free()
			return n, net.ErrClosed // an alert was sent
		}
		n += len(chunk)
		if len(sealed) > 0 {
			done, err := dst(sealed)
			if err != nil {
				l.failed(err, sealed[done:])
				buf.free()
				if l.broken != nil {
					n -= len(chunk)
				}
				return n, err
			}
		}
		buf.free()
		if n == len(p) {
			return n, nil
		}
	}
}

// failed keeps what a write has left, if it may go on.
func (l *link) failed(err error, left []byte) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.unsent = slices.Clone(left)
		return
	}
	l.broken = err
}

// flush writes what an earlier write has left. progress means that the peer has taken
// some of it.
func (l *link) flush(dst func([]byte) (int, error)) (progress bool, err error) {
	left := l.unsent
	n, err := dst(left)
	l.unsent = nil
	if err != nil {
		l.failed(err, left[n:])
	}
	return n > 0, err
}

// end sends an alert, after which nothing more is sent.
func (l *link) end(description uint8, dst func([]byte) (int, error)) error {
	if len(l.unsent) > 0 {
		if _, err := l.flush(dst); err != nil {
			return err
		}
	}
	if l.broken != nil {
		return l.broken
	}
	alert := l.sealAlert(description)
	if len(alert) == 0 {
		return nil
	}
	_, err := dst(alert)
	if err != nil {
		l.broken = err
	}
	return err
}

// closed reports whether the peer has sent a close_notify.
func (l *link) closed() bool { return l.readErr == io.EOF }

// putCipher adds what was read of the socket elsewhere.
func (l *link) putCipher(p []byte) {
	if len(p) == 0 {
		return
	}
	if l.cipher == nil {
		l.cipher = newBuffer(len(p))
	}
	var to []byte
	l.cipher, to = l.cipher.room(len(p))
	l.cipher.to += copy(to, p)
}

// takeBuffers returns what was opened and not read, and what was read and not opened,
// and keeps neither.
func (l *link) takeBuffers() (plain, cipher []byte) {
	plain = append(l.first, l.plain.bytes()...)
	cipher = l.cipher.clone()
	l.plain.free()
	l.cipher.free()
	l.first, l.plain, l.cipher = nil, nil, nil
	return plain, cipher
}
