package frame

// Rules are what a stream may do that RFC 6455 forbids without an extension, or at all.
type Rules uint8

const (
	// AllowDeflate: permessage-deflate was negotiated (RFC 7692).
	AllowDeflate Rules = 1 << iota
	// AllowExtension: another extension was negotiated, which may give a meaning to
	// the reserved bits and opcodes (RFC 6455 §5.8).
	AllowExtension
	// AllowAll: nothing is checked. The boundaries of frames are still found, but
	// those of messages only if fragments come in order.
	AllowAll
)

// Fault is a violation of RFC 6455 framing, or of a Quota.
type Fault uint8

const (
	NoFault Fault = iota
	FaultOpcode
	FaultMask
	FaultReserved
	FaultControl
	FaultControlFragment
	FaultFragment
	FaultLength
	FaultMinimal
	FaultClose
	FaultCloseCode

	// Of a Quota.
	FaultSize     // the message is larger than MaxMessage
	FaultMessages // no message was left
	FaultBytes    // no byte was left
)

// faults has a few words about each Fault, and the rule of RFC 6455.
var faults = [...]struct{ words, rule string }{
	NoFault:              {"none", ""},
	FaultOpcode:          {"reserved opcode", "the opcode is reserved (RFC 6455 section 5.2)"},
	FaultMask:            {"wrong masking", "a client's frame is not masked (RFC 6455 section 5.1)"},
	FaultReserved:        {"reserved bit", "a reserved bit is set without an extension that uses it (RFC 6455 section 5.2)"},
	FaultControl:         {"control frame over 125 bytes", "a control frame is longer than 125 bytes (RFC 6455 section 5.5)"},
	FaultControlFragment: {"control frame fragmented", "a control frame is fragmented (RFC 6455 section 5.5)"},
	FaultFragment:        {"fragment out of order", "a continuation frame continues no message (RFC 6455 section 5.4)"},
	FaultLength:          {"frame length over 2^63", "a frame is longer than 2^63 bytes (RFC 6455 section 5.2)"},
	FaultMinimal:         {"length in too many bytes", "a length takes more bytes than it needs (RFC 6455 section 5.2)"},
	FaultClose:           {"close frame of one byte", "the body of a Close frame is a single byte (RFC 6455 section 5.5.1)"},
	FaultCloseCode:       {"close code not allowed", "the code of a Close frame must not be sent (RFC 6455 section 7.4)"},
	FaultSize:            {"message too big", ""},
	FaultMessages:        {"too many messages", ""},
	FaultBytes:           {"too many bytes", ""},
}

func (f Fault) String() string { return faults[f].words }

// FaultOffset is where the frame that caused Broken begins, as an offset in the
// stream. SetFaultEnd must be called before.
func (w *Walker) FaultOffset() uint64 { return w.remaining }

// SetFaultEnd tells the Walker, after Broken, the offset in the stream at which the
// bytes end that Walk consumed.
func (w *Walker) SetFaultEnd(end uint64) { w.remaining = end - w.remaining }

// Refuse makes f the Fault of a stream that is not to be walked any more, without an
// event.
func (w *Walker) Refuse(f Fault) { w.fault = f }

// FaultRule is the rule of RFC 6455 that was violated at Broken, for logs. It is empty
// for a violation of a Quota.
func (w *Walker) FaultRule() string {
	switch {
	case w.fault == FaultMask && !w.Masked:
		return "a server's frame is masked (RFC 6455 section 5.1)"
	case w.fault == FaultFragment && w.flags&flagOpen != 0:
		return "a message begins before the one before it ends (RFC 6455 section 5.4)"
	}
	return faults[w.fault].rule
}

// MayClose reports whether a Close frame may have this code: those that are registered
// for it, and those for libraries and applications (RFC 6455 §7.4 and the IANA registry).
// 1005, 1006 and 1015 only stand for what happened without one.
func MayClose(code uint16) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}
