// Package frame finds where WebSocket frames and messages begin and end (RFC 6455
// §5), without reading or copying their payload, and makes the control frames that
// the balancer sends itself.
//
// The relay feeds a Walker with the bytes of each direction of a session. The package
// doesn't do I/O, and doesn't unmask or decompress data. So it can't check that a text is
// UTF-8 (RFC 6455 §8.1): it would have to read each byte of each message, after
// inflating it if it is compressed, which the receiver does anyway.
package frame

import "encoding/binary"

// Opcodes, RFC 6455 §5.2.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xA
)

const (
	finBit  = 0x80
	maskBit = 0x80
	opMask  = 0x0F
	rsvBits = 0x70
	rsv1    = 0x40
	control = 0x8 // bit 3 of the opcode: control frames, RFC 6455 §5.5

	// MaxHead is the longest frame header: 2 bytes, 8 of length, 4 of mask.
	MaxHead = 14
	// MaxControlPayload is the limit of RFC 6455 §5.5.
	MaxControlPayload = 125
)

// Event says why Walk stopped.
type Event uint8

const (
	// More: all of p was walked, and nothing has happened.
	More Event = iota
	// AtMessage: p[:n] ends between two messages. Only with StopAtMessage.
	AtMessage
	// AtPong: p[n:] begins like a pong that answers AppendPing, to be checked by
	// HoldPong. Only with StopAtPong.
	AtPong
	// Closed: p[:n] ends with a Close frame. Nothing after it has a meaning (RFC
	// 6455 §5.5.1), so the Walker is done.
	Closed
	// AtClose: p[n:] begins with a Close frame. Only with StopAtClose.
	AtClose
	// AfterPing: p[:n] ends with a ping or a pong; Walker.LastPing says which.
	// Only with StopAfterPing.
	AfterPing
	// Broken: p[n:], or the frame whose first bytes were walked before, violates RFC
	// 6455 framing or the Quota; Walker.Fault says how. The Walker is done.
	Broken
)

// Stop selects events at which Walk stops. Without it, Walk goes on.
type Stop uint8

const (
	StopAtMessage Stop = 1 << iota
	StopAtPong
	StopAtClose
	StopAfterPing
)

// Walker follows the frames of one direction. It is plain data without pointers, so
// that it can be part of a record in a slab. The zero value is at the start of a
// stream from a server; set Masked for one from a client.
type Walker struct {
	// Messages counts the data messages that were walked to their end.
	Messages uint64

	// remaining is the number of payload bytes to come of the current frame; in
	// its header, the length so far; after Broken, how much of the frame was
	// walked before, see FaultOffset.
	remaining uint64
	key       [4]byte // of the current frame, or of the held pong
	head      [2]byte // of the current frame
	headBytes uint8   // bytes of its header so far, 0 between frames
	heldBytes uint8   // bytes of a held pong, see HoldPong; only while headBytes is 0

	code     [2]byte // the unmasked bytes of the close code; for a ping or pong, its checksum
	haveCode uint8
	flags    uint8
	fault    Fault
	// Masked says that frames must be masked, as a client's are; otherwise they
	// must not be (RFC 6455 §5.1).
	Masked bool
	// Rules are what the stream may do beyond RFC 6455.
	Rules Rules
}

const (
	flagOpen    = 1 << iota // a fragmented message is open
	flagPayload             // the header is complete, and its payload is being walked
	flagData                // bytes of a message were walked, see SawData
)

// AtFrame reports whether the stream is between two frames, where a control frame can
// be inserted.
func (w *Walker) AtFrame() bool { return w.headBytes == 0 }

// AtMessage reports whether the stream is between two messages.
func (w *Walker) AtMessage() bool { return w.headBytes == 0 && w.flags&flagOpen == 0 }

// Fault says what is wrong after Broken.
func (w *Walker) Fault() Fault { return w.fault }

// CloseCode is the code of the Close frame after Closed; 0 if it had none.
func (w *Walker) CloseCode() uint16 {
	if w.haveCode < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(w.code[:])
}

// Walk consumes p up to the first event and returns how many bytes that was.
func (w *Walker) Walk(p []byte, stop Stop) (n int, ev Event) { return w.WalkWithin(p, stop, nil) }

// WalkWithin is Walk for a stream that must keep within q. A nil q bounds nothing.
func (w *Walker) WalkWithin(p []byte, stop Stop, q *Quota) (n int, ev Event) {
	if w.flags&flagPayload != 0 && w.head[0]&control == 0 && len(p) > 0 {
		w.flags |= flagData // check does this for frames that begin in p
	}
	start := -1 // where the current frame begins in p; -1 if it began before
	for {
		if w.flags&flagPayload == 0 {
			if n == len(p) {
				return n, More
			}
			if w.headBytes == 0 && stop&(StopAtPong|StopAtClose) != 0 {
				switch {
				case p[n] == finBit|OpPong && stop&StopAtPong != 0:
					return n, AtPong
				case p[n] == finBit|OpClose && stop&StopAtClose != 0:
					return n, AtClose
				}
			}
			before := w.headBytes
			used, whole := w.header(p[n:])
			if start = -1; before == 0 {
				start = n
			}
			switch {
			case !whole:
			case q == nil && w.isUsual():
				w.flags |= flagPayload | flagData
			default:
				if w.check(q); w.fault != NoFault {
					return n, w.broken(start, uint64(before))
				}
			}
			n += used
			if !whole {
				return n, More
			}
		}
		if w.remaining > 0 {
			k := len(p) - n
			if uint64(k) > w.remaining {
				k = int(w.remaining)
			}
			if w.head[0]&control != 0 {
				if w.control(p[n : n+k]); w.fault != NoFault {
					if start >= 0 {
						n = start
					}
					return n, w.broken(start, uint64(headLen(w.head[1])+w.ControlSize())-w.remaining)
				}
			}
			n += k
			if w.remaining -= uint64(k); w.remaining > 0 {
				return n, More
			}
		}
		if ev := w.endFrame(stop); ev != More {
			return n, ev
		}
	}
}

// broken notes a fault of the current frame. If that began in the bytes that are being
// walked, at start, none of it was walked, so the stream is still between two frames.
// Otherwise start is negative, and so many bytes of the frame were walked before.
func (w *Walker) broken(start int, walked uint64) Event {
	w.remaining = walked
	if start >= 0 {
		w.remaining, w.headBytes, w.flags = 0, 0, w.flags&^flagPayload
	}
	return Broken
}

// header collects a frame header, RFC 6455 §5.2.
func (w *Walker) header(p []byte) (used int, whole bool) {
	if w.headBytes == 0 && len(p) >= MaxHead {
		// Usually the whole header is there.
		w.head = [2]byte(p)
		used = 2
		switch n := p[1] &^ maskBit; n {
		case 126:
			w.remaining = uint64(binary.BigEndian.Uint16(p[2:]))
			used += 2
		case 127:
			w.remaining = binary.BigEndian.Uint64(p[2:])
			used += 8
		default:
			w.remaining = uint64(n)
		}
		if p[1]&maskBit != 0 {
			w.key = [4]byte(p[used:])
			used += 4
		}
		w.headBytes = uint8(used)
		return used, true
	}
	for used < len(p) {
		b := p[used]
		used++
		switch at := int(w.headBytes); {
		case at == 0:
			w.head[0] = b
		case at == 1:
			w.head[1] = b
			if n := b &^ maskBit; n < 126 {
				w.remaining = uint64(n)
			}
		case at < keyAt(w.head[1]):
			w.remaining = w.remaining<<8 | uint64(b)
		default:
			w.key[at-keyAt(w.head[1])] = b
		}
		w.headBytes++
		if w.headBytes >= 2 && int(w.headBytes) == headLen(w.head[1]) {
			return used, true
		}
	}
	return used, false
}

// keyAt returns the offset of the masking key in a header, if there is one, from the
// header's second byte.
func keyAt(b byte) int {
	switch b &^ maskBit {
	case 126:
		return 2 + 2
	case 127:
		return 2 + 8
	}
	return 2
}

// headLen returns the length of a header from its second byte.
func headLen(b byte) int {
	n := keyAt(b)
	if b&maskBit != 0 {
		n += 4
	}
	return n
}

// isUsual reports whether the header is that of a whole message that breaks no rule: most
// are, and this costs less than check.
func (w *Walker) isUsual() bool {
	n := w.head[1] &^ maskBit
	return w.head[0]-(finBit|OpText) <= OpBinary-OpText && w.flags&flagOpen == 0 && (w.head[1] >= maskBit) == w.Masked &&
		(n <= MaxControlPayload || n == MaxControlPayload+1 && w.remaining > MaxControlPayload)
}

// check checks the complete header.
func (w *Walker) check(q *Quota) {
	op := w.head[0] & opMask
	bits := w.flags | flagPayload
	if op&control == 0 {
		bits |= flagData
	} else {
		w.code = [2]byte{}
	}
	w.flags = bits
	fault := NoFault
	switch {
	case w.Masked != (w.head[1]&maskBit != 0):
		fault = FaultMask
	case w.head[0]&rsvBits != 0 && !w.reserves(op):
		fault = FaultReserved
	case op&^control > OpBinary && w.Rules&AllowExtension == 0:
		fault = FaultOpcode
	case op&control != 0:
		// Since it needs no longer length, it must not use one, §5.2.
		if w.head[0]&finBit == 0 {
			fault = FaultControlFragment
		} else if w.head[1]&^maskBit > MaxControlPayload {
			fault = FaultControl
		} else if op == OpClose && w.remaining == 1 {
			fault = FaultClose
		}
	case w.remaining>>63 != 0:
		fault = FaultLength
	case w.head[1]&^maskBit > MaxControlPayload && !w.isMinimal():
		fault = FaultMinimal
	case (op == OpContinuation) != (bits&flagOpen != 0):
		fault = FaultFragment
	}
	if fault == NoFault || w.Rules&AllowAll != 0 {
		fault = NoFault
		if q != nil {
			fault = q.begin(w, op)
		}
	}
	w.fault = fault
}

// reserves reports whether a frame with that opcode may have its reserved bits, which an
// extension gives a meaning to. permessage-deflate marks compressed messages by RSV1, at
// the first of their frames (RFC 7692 §6).
func (w *Walker) reserves(op byte) bool {
	if w.Rules&AllowExtension != 0 {
		return true
	}
	return w.Rules&AllowDeflate != 0 && w.head[0]&rsvBits == rsv1 && (op == OpText || op == OpBinary)
}

// isMinimal reports whether a length of 2 or 8 bytes is necessary, RFC 6455 §5.2.
func (w *Walker) isMinimal() bool {
	if w.head[1]&^maskBit == 127 {
		return w.remaining > 1<<16-1
	}
	return w.remaining > MaxControlPayload
}

// closeCode keeps the first two payload bytes of a Close frame, RFC 6455 §5.5.1.
func (w *Walker) closeCode(p []byte) {
	for _, b := range p {
		if w.haveCode == 2 {
			break
		}
		if w.head[1]&maskBit != 0 {
			b ^= w.key[w.haveCode]
		}
		w.code[w.haveCode] = b
		w.haveCode++
	}
	if w.haveCode == 2 && w.Rules&AllowAll == 0 && !MayClose(binary.BigEndian.Uint16(w.code[:])) {
		w.fault = FaultCloseCode
	}
}

func (w *Walker) endFrame(stop Stop) Event {
	op := w.head[0] & opMask
	w.headBytes = 0
	w.flags &^= flagPayload
	switch {
	case op == OpClose:
		return Closed
	case op&control != 0:
		if stop&StopAfterPing != 0 && op <= OpPong {
			return AfterPing
		}
	case w.head[0]&finBit != 0:
		w.Messages++
		w.flags &^= flagOpen
	default:
		w.flags |= flagOpen
	}
	if stop&StopAtMessage != 0 && w.flags&flagOpen == 0 {
		return AtMessage
	}
	return More
}
