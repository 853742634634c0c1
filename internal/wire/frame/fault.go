package frame

// FaultOffset is where the frame that caused Broken begins, as an offset in the
// stream. SetFaultEnd must be called before.
func (w *Walker) FaultOffset() uint64 { return w.remaining }

// SetFaultEnd tells the Walker, after Broken, the offset in the stream at which the
// bytes end that Walk consumed.
func (w *Walker) SetFaultEnd(end uint64) { w.remaining = end - w.remaining }

// FaultRule is the rule of RFC 6455 that was violated at Broken, for logs.
func (w *Walker) FaultRule() string {
	switch w.fault {
	case FaultMask:
		if w.Masked {
			return "a client's frame is not masked (RFC 6455 section 5.1)"
		}
		return "a server's frame is masked (RFC 6455 section 5.1)"
	case FaultOpcode:
		return "the opcode is reserved (RFC 6455 section 5.2)"
	case FaultControl:
		return "a control frame is longer than 125 bytes (RFC 6455 section 5.5)"
	case FaultControlFragment:
		return "a control frame is fragmented (RFC 6455 section 5.5)"
	case FaultFragment:
		if w.flags&flagOpen != 0 {
			return "a message begins before the one before it ends (RFC 6455 section 5.4)"
		}
		return "a continuation frame continues no message (RFC 6455 section 5.4)"
	case FaultLength:
		return "a frame is longer than 2^63 bytes (RFC 6455 section 5.2)"
	case FaultClose:
		return "the body of a Close frame is a single byte (RFC 6455 section 5.5.1)"
	}
	return ""
}
