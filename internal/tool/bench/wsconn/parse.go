package wsconn

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// head is a frame header, see RFC 6455 §5.2.
type head struct {
	op     byte
	fin    bool
	masked bool
	key    [4]byte
	size   int // of the payload
	length int // of the header
}

// parseHead parses the header at the start of p. ok is false if it is incomplete.
// client says that the receiver is a client, so that frames must be unmasked. limit
// is the maximum size of the payload, 0 for no limit.
func parseHead(p []byte, client bool, limit int) (h head, ok bool, err error) {
	if len(p) < 2 {
		return h, false, nil
	}
	h = head{op: p[0] & 0x0F, fin: p[0]&finBit != 0, masked: p[1]&maskBit != 0, length: 2}
	control := h.op >= frame.OpClose
	size := uint64(p[1] &^ maskBit)
	switch {
	case p[0]&0x70 != 0:
		return h, false, &ProtocolError{"a reserved bit is set, but no extension was negotiated"}
	case h.op > frame.OpBinary && h.op < frame.OpClose || h.op > frame.OpPong:
		return h, false, &ProtocolError{frame.FaultOpcode.String()}
	case h.masked == client:
		return h, false, &ProtocolError{frame.FaultMask.String()}
	case control && !h.fin:
		return h, false, &ProtocolError{frame.FaultControlFragment.String()}
	case control && size > frame.MaxControlPayload:
		return h, false, &ProtocolError{frame.FaultControl.String()}
	case h.op == frame.OpClose && size == 1:
		return h, false, &ProtocolError{frame.FaultClose.String()}
	}
	switch size {
	case 126:
		if h.length += 2; len(p) < h.length {
			return h, false, nil
		}
		if size = uint64(binary.BigEndian.Uint16(p[2:])); size < 126 {
			return h, false, &ProtocolError{frame.FaultMinimal.String()}
		}
	case 127:
		if h.length += 8; len(p) < h.length {
			return h, false, nil
		}
		if size = binary.BigEndian.Uint64(p[2:]); size < 1<<16 {
			return h, false, &ProtocolError{frame.FaultMinimal.String()}
		}
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

// handle handles all complete frames in the buffer.
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
			c.grow(h.length + h.size) // after fill has moved the frame to the start
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
