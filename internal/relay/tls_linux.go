package relay

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsconn"
	"github.com/holdfast-ws/holdfast/internal/tls/tlsrec"
)

// maxCiphers is how many ciphers a loop keeps ready, two for each connection: those
// that were used last. Keeping all would take two KiB for each session.
const maxCiphers = 512

// tlsSides is what a loop's sessions with TLS need beyond their records. The zero value
// is ready, and costs nothing until the first of them.
type tlsSides struct {
	layer *tlsrec.Layer
	// chunks are by side and slot, each of chunkRecords; nil where no session has
	// TLS on that side.
	chunks [2][][]tlsSide
	begun  backlog // beginnings of records
	// ends are of sides with tlsSide.ended, of which there are few.
	ends   map[tlsPlace]error
	cipher []byte // what is read of a socket
	sealed []byte // what is sent to one
}

type tlsPlace struct {
	slot int32
	side session.Side
}

// tlsSide is one side of a session. Like a record it is plain data. The zero value is a
// side without TLS.
type tlsSide struct {
	state tlsrec.State
	begun int32 // the number of the beginning of a record in tlsSides.begun; 0 is none
	// unopened means that there may be whole records in it: what was read of the
	// connection before the session had it.
	unopened bool
	// ended means that there are no more records, for the reason in tlsSides.ends, but
	// that the session must not know before the side is read.
	ended bool
}

// of returns the side of a session; nil if it has no TLS.
func (t *tlsSides) of(slot int32, s session.Side) *tlsSide {
	chunks, c := t.chunks[s], int(slot)/chunkRecords
	if c >= len(chunks) || chunks[c] == nil {
		return nil
	}
	if side := &chunks[c][slot%chunkRecords]; !side.state.IsZero() {
		return side
	}
	return nil
}

// set gives a side of a session the state of its connection.
func (t *tlsSides) set(slot int32, s session.Side, state tlsrec.State) *tlsSide {
	c := int(slot) / chunkRecords
	for c >= len(t.chunks[s]) {
		t.chunks[s] = append(t.chunks[s], nil)
	}
	if t.chunks[s][c] == nil {
		t.chunks[s][c] = make([]tlsSide, chunkRecords)
	}
	side := &t.chunks[s][c][slot%chunkRecords]
	side.state = state
	return side
}

// records is the loop's Layer.
func (t *tlsSides) records() *tlsrec.Layer {
	if t.layer == nil {
		t.layer = tlsrec.NewLayer(maxCiphers)
	}
	return t.layer
}

// drop ends the TLS of a side, if it has any.
func (t *tlsSides) drop(slot int32, s session.Side) {
	if side := t.of(slot, s); side != nil {
		t.records().Forget(&side.state)
		t.take(side)
		if side.ended {
			t.takeEnd(slot, s, side)
		}
		*side = tlsSide{}
	}
}

// take drops the beginning of a record.
func (t *tlsSides) take(side *tlsSide) {
	if side.begun != 0 {
		t.begun.drop(side.begun)
		side.begun, side.unopened = 0, false
	}
}

// keepEnd keeps the end of a side's records until the side is read.
func (t *tlsSides) keepEnd(slot int32, s session.Side, side *tlsSide, err error) {
	if t.ends == nil {
		t.ends = map[tlsPlace]error{}
	}
	t.ends[tlsPlace{slot, s}], side.ended = err, true
}

// takeEnd is the inverse of keepEnd.
func (t *tlsSides) takeEnd(slot int32, s session.Side, side *tlsSide) error {
	err := t.ends[tlsPlace{slot, s}]
	if delete(t.ends, tlsPlace{slot, s}); len(t.ends) == 0 {
		t.ends = nil // a map never gives memory back by itself
	}
	side.ended = false
	return err
}

// trim releases what can be made again.
func (t *tlsSides) trim() {
	t.cipher, t.sealed = nil, nil
	t.begun.trim()
	if t.layer != nil {
		t.layer.Trim()
	}
}

// trimChunk releases what belongs to a chunk of records without a session.
func (t *tlsSides) trimChunk(c int) {
	for s := range t.chunks {
		if c < len(t.chunks[s]) {
			t.chunks[s][c] = nil
		}
	}
}

// socketOf is the socket below c, which may have TLS on it. It fails for any other layer,
// which would be taken off without notice.
func socketOf(c transport.Conn) (transport.Conn, error) {
	if t, ok := c.(*tlsconn.Conn); ok {
		c = t.Inner()
	}
	if _, ok := c.(transport.Layer); ok {
		return nil, fmt.Errorf("relay: %T is a layer that this engine doesn't know", c)
	}
	return c, nil
}

// released takes what a connection has above its socket, whose owner is the loop
// already.
func released(c transport.Conn) (r tlsconn.Released) {
	if c, ok := c.(*tlsconn.Conn); ok {
		r = c.Release()
	}
	return r
}

// secure begins the TLS of a side, or notes that it has none.
func (el *epollLoop) secure(slot int32, r *record, s session.Side, state tlsrec.State) {
	if !state.IsZero() {
		el.tls.set(slot, s, state)
	}
	r.marks &^= hasTLS
	if el.tls.of(slot, session.Client) != nil || el.tls.of(slot, session.Backend) != nil {
		r.marks |= hasTLS
	}
}

// readTLS is read for a side with TLS.
func (el *epollLoop) readTLS(slot int32, r *record, s session.Side, side *tlsSide) {
	h, o := &r.sides[s], &r.sides[s.Other()]
	if el.tls.cipher == nil {
		el.tls.cipher = make([]byte, eventloop.ReadBufferSize)
	}
	reads, size := el.turn()
	size = max(size, tlsrec.MaxRecord) // one must fit
	for range reads {
		if o.pending != 0 || h.flags&(isEOF|isLost|readPaused) != 0 || r.isThrottling(s) {
			return
		}
		if el.backlog.isFull() {
			break // Again makes room
		}
		if side.ended {
			el.recordsEnd(slot, r, s, side, el.tls.takeEnd(slot, s, side))
			return
		}
		if side.unopened {
			early := slices.Clone(el.tls.begun.bytes(side.begun))
			el.tls.take(side)
			el.open(slot, r, s, side, early)
			continue
		}
		buf := el.tls.cipher[:size]
		if r.phase >= awaitingBoundary && s == session.Client || el.paces(slot, r, s) {
			buf = buf[:tlsrec.MaxRecord] // what lies beyond the boundary is kept
		}
		begun := 0
		if side.begun != 0 {
			begun = len(el.tls.begun.bytes(side.begun))
		}
		n, e := eventloop.Recv(h.fd, buf[begun:])
		switch {
		case e == syscall.EAGAIN:
			h.flags &^= isReadable
			return
		case e != 0:
			r.lose(s, el.Now())
			return
		case n == 0:
			// Without a close_notify. Frames and Closes say whether something is
			// missing, and many peers send none.
			r.eof(s, el.Now())
			return
		}
		if begun > 0 {
			copy(buf, el.tls.begun.bytes(side.begun))
			el.tls.take(side)
		}
		el.open(slot, r, s, side, buf[:begun+n])
		if begun+n < len(buf) && h.flags&isEnded == 0 && !side.unopened {
			h.flags &^= isReadable
			return
		}
		if size = firstRead; el.readsMuch() {
			size = len(el.tls.cipher)
		}
	}
	el.resume(slot, r, s)
}

// open passes on what the whole records of p say, which came from side s, and keeps
// the rest.
func (el *epollLoop) open(slot int32, r *record, s session.Side, side *tlsSide, p []byte) {
	paces := el.paces(slot, r, s)
	for len(p) > 0 {
		src := p[:min(len(p), len(el.Buf))]
		if paces {
			if r.isThrottling(s) {
				side.begun, side.unopened = el.tls.begun.keep(p, turn{slot, s}, el.Now()), true
				r.sides[s].flags |= isReadable
				return
			}
			src = tlsrec.First(src)
		}
		n, used, err := el.tls.records().Open(&side.state, el.Buf, src)
		if p = p[used:]; n > 0 {
			el.carry(slot, r, s, el.Buf[:n])
		}
		switch {
		case err != nil:
			el.recordsEnd(slot, r, s, side, err)
			return
		case used == 0:
			side.begun = el.tls.begun.keep(p, turn{slot, s}, el.Now())
			return
		}
	}
}

// recordsEnd acts on the end of the records of side s: a close_notify, or a
// *tlsrec.Error.
func (el *epollLoop) recordsEnd(slot int32, r *record, s session.Side, side *tlsSide, err error) {
	var failed *tlsrec.Error
	switch h := &r.sides[s]; {
	case errors.As(err, &failed):
		if !failed.FromPeer {
			el.sendAlert(r, s, side, failed.Alert)
		}
		el.lose(slot, r, s, err)
	case h.flags&readPaused != 0:
		// Its last bytes wait for the end of a move. A client without TLS isn't read
		// meanwhile, either.
		el.tls.keepEnd(slot, s, side, err)
		h.flags |= isReadable | isEnded
		r.clientEnds(el.Now())
	default:
		r.eof(s, el.Now())
	}
}

// paces reports whether side s may be throttled. Then records are opened one by one.
func (el *epollLoop) paces(slot int32, r *record, s session.Side) bool {
	b := el.budgetOf(slot, r, s)
	return b != nil && b.paces()
}

// seal returns the records with p, which are valid until the next call; p itself for a
// side without TLS.
func (el *epollLoop) seal(slot int32, s session.Side, p []byte) []byte {
	side := el.tls.of(slot, s)
	if side == nil {
		return p
	}
	el.tls.sealed = el.tls.records().Seal(&side.state, el.tls.sealed[:0], p)
	return el.tls.sealed
}

// sendAlert sends an alert to side s, after which nothing more is sent. It doesn't wait
// for a socket that takes nothing.
func (el *epollLoop) sendAlert(r *record, s session.Side, side *tlsSide, description uint8) {
	h := &r.sides[s]
	if h.fd == closedFD || h.pending != 0 {
		return
	}
	el.tls.sealed = el.tls.records().SealAlert(&side.state, el.tls.sealed[:0], description)
	if len(el.tls.sealed) > 0 {
		eventloop.Send(h.fd, el.tls.sealed)
	}
}

// closeNotify tells side s, if it has TLS, that it has got everything.
func (el *epollLoop) closeNotify(slot int32, r *record, s session.Side) {
	if r.isCut(s) {
		return
	}
	if side := el.tls.of(slot, s); side != nil {
		el.sendAlert(r, s, side, tlsrec.AlertCloseNotify)
	}
}

// keepEarly keeps what was read of a connection before a session has it, until the side
// is read.
func (el *epollLoop) keepEarly(slot int32, s session.Side, cipher []byte) {
	if len(cipher) > 0 {
		side := el.tls.of(slot, s)
		side.begun, side.unopened = el.tls.begun.keep(cipher, turn{slot, s}, el.Now()), true
	}
}
