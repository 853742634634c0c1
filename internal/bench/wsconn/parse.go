package wsconn

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/holdfast-ws/holdfast/internal/frame"
)

// head is a frame header, RFC 6455 §5.2.
type head struct {
	op     byte
	fin    bool
	masked bool
	key    [4]byte
	size   int // of the payload
	length int // of the header
}

// parseHead reads the header that p begins with; ok is false while it is
// incomplete. client says that frames come to a client, and so unmasked.
func parseHead(p []byte, client bool, limit int) (h head, ok bool, err error) {
	if len(p) < 2 {
		return h, false, nil
	}
	h = head{op: p[0] & 0x0F, fin: p[0]&finBit != 0, masked: p[1]&maskBit != 0, length: 2}
	control := h.op >= frame.OpClose
	size := uint64(p[1] &^ maskBit)
	switch {
	case p[0]&0x70 != 0:
		return h, false, &ProtocolError{"a reserved bit is set, and no extension was agreed on"}
	case h.op > frame.OpBinary && h.op < frame.OpClose || h.op > frame.OpPong:
		return h, false, &ProtocolError{frame.FaultOpcode.String()}
	case h.masked == client:
		return h, false, &ProtocolError{frame.FaultMask.String()}
	case control && (!h.fin || size > frame.MaxControlPayload):
		return h, false, &ProtocolError{frame.FaultControl.String()}
	case h.op == frame.OpClose && size == 1:
		return h, false, &ProtocolError{frame.FaultClose.String()}
	}
	switch size {
	case 126:
		if h.length += 2; len(p) < h.length {
			return h, false, nil
		}
		size = uint64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		if h.length += 8; len(p) < h.length {
			return h, false, nil
		}
		size = binary.BigEndian.Uint64(p[2:])
	}
	if limit > 0 && size > uint64(limit) || size>>40 != 0 {
		return h, false, &ProtocolError{fmt.Sprintf("a frame of %d bytes, more than any message sent", size)}
	}
	h.size = int(size)
	if h.masked {
		if h.length += 4; len(p) < h.length {
			return h, false, nil
		}
		copy(h.key[:], p[h.length-4:])
	}
	return h, true, nil
}

// handle takes every whole frame in the buffer.
func (c *Conn) handle(to Handler) error {
	var at time.Time
	for {
		p := c.buf[c.r:c.w]
		h, ok, err := parseHead(p, c.client, c.maxMessage)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if len(p) < h.length+h.size {
			c.grow(h.length + h.size) // r is 0 once fill has moved it
			return nil
		}
		payload := p[h.length : h.length+h.size]
		c.r += h.length + h.size
		if h.masked {
			mask(payload, h.key, 0)
		}
		if h.op < frame.OpClose && at.IsZero() {
			at = time.Now()
		}
		if err := c.frame(h, payload, at, to); err != nil {
			return err
		}
	}
}

func (c *Conn) frame(h head, payload []byte, at time.Time, to Handler) error {
	switch h.op {
	case frame.OpPong:
		return nil
	case frame.OpPing:
		return c.Send(frame.OpPong, payload)
	case frame.OpClose:
		closed := &CloseError{}
		if len(payload) >= 2 {
			closed.Code, closed.Reason = binary.BigEndian.Uint16(payload), string(payload[2:])
		}
		code := closed.Code
		if code == 0 {
			code = 1000
		}
		_ = c.SendClose(code, "") // RFC 6455 §5.5.1: answered with the same code
		return closed
	}
	if (h.op == frame.OpContinuation) != (c.op != 0) {
		return &ProtocolError{frame.FaultFragment.String()}
	}
	if h.fin && c.op == 0 {
		to.Message(h.op, payload, at)
		return nil
	}
	if c.op == 0 {
		c.op = h.op
	}
	if c.fragments = append(c.fragments, payload...); c.maxMessage > 0 && len(c.fragments) > c.maxMessage {
		return &ProtocolError{"a message that is longer than any sent"}
	}
	if h.fin {
		to.Message(c.op, c.fragments, at)
		c.op, c.fragments = 0, c.fragments[:0]
	}
	return nil
}
