// Package frame knows where WebSocket frames and messages begin and end
// (RFC 6455 §5) without touching what is in them.
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
	control = 0x8 // bit 3 of the opcode: control frames, RFC 6455 §5.5

	// MaxHead is the longest frame header: 2 bytes, 8 of length, 4 of mask.
	MaxHead = 14
	// MaxControlPayload is RFC 6455 §5.5's bound.
	MaxControlPayload = 125
)

// Event says why Walk stopped.
type Event uint8

const (
	// More: all of p was walked; the rest of the stream is still to come.
	More Event = iota
	// AtMessage: p[:n] ends where no message is open in either a frame or a
	// run of fragments. Only with StopAtMessage.
	AtMessage
	// AtPong: p[n:] begins as a pong that answers AppendPing does, so that
	// HoldPong may have it. Only with StopAtPong.
	AtPong
	// Closed: p[:n] ends a Close frame. Nothing after it has a meaning
	// (RFC 6455 §5.5.1), so the Walker is done.
	Closed
	// AtClose: p[n:] begins with a Close frame. Only with StopAtClose.
	AtClose
	// Broken: p[n:], or the header whose first bytes were walked before,
	// violates RFC 6455 framing; Walker.Fault says how. The Walker is done.
	Broken
)

// Stop selects events that are otherwise walked over.
type Stop uint8

const (
	StopAtMessage Stop = 1 << iota
	StopAtPong
	StopAtClose
)

// Fault is a violation of RFC 6455 framing.
type Fault uint8

const (
	NoFault Fault = iota
	FaultOpcode
	FaultMask
	FaultControl
	FaultFragment
	FaultLength
	FaultClose
)

func (f Fault) String() string {
	switch f {
	case FaultOpcode:
		return "reserved opcode"
	case FaultMask:
		return "wrong masking"
	case FaultControl:
		return "control frame fragmented or over 125 bytes"
	case FaultFragment:
		return "fragment out of order"
	case FaultLength:
		return "frame length over 2^63"
	case FaultClose:
		return "close frame of one byte"
	}
	return "none"
}

// Walker follows the frames of one direction. It is plain data without
// pointers, so that it may live in a slab and travel to another process.
// The zero value stands at the start of a stream from a server; set Masked for
// one from a client.
type Walker struct {
	// Messages counts the data messages whose last byte was walked.
	Messages uint64

	left uint64  // payload bytes of the current frame still to come; in its header, the length so far
	key  [4]byte // of the current frame, or of the pong that is held
	head [2]byte // of the current frame
	have uint8   // bytes of its header that have come, 0 between frames
	held uint8   // bytes of a pong that are held back, see HoldPong; only while have is 0

	code     [2]byte // the close code's bytes, unmasked
	haveCode uint8
	bits     uint8
	fault    Fault
	// Masked says that frames must be masked, as a client's are; otherwise
	// they must not be (RFC 6455 §5.1).
	Masked bool
}

const (
	bitOpen    = 1 << iota // a fragmented message is open
	bitPayload             // the header is whole, its payload is being walked
)

// AtFrame reports whether the stream stands between two frames, where a
// control frame may be put in.
func (w *Walker) AtFrame() bool { return w.have == 0 }

// AtMessage reports whether the stream stands between two messages.
func (w *Walker) AtMessage() bool { return w.have == 0 && w.bits&bitOpen == 0 }

// Fault says what Broken was about.
func (w *Walker) Fault() Fault { return w.fault }

// CloseCode is the code of the Close frame that Closed was about; 0 where it
// had none.
func (w *Walker) CloseCode() uint16 {
	if w.haveCode < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(w.code[:])
}

// Walk consumes p up to the first event and returns how much of it that was.
func (w *Walker) Walk(p []byte, stop Stop) (n int, ev Event) {
	for {
		if w.bits&bitPayload == 0 {
			if n == len(p) {
				return n, More
			}
			if w.have == 0 && stop&(StopAtPong|StopAtClose) != 0 {
				switch {
				case p[n] == finBit|OpPong && stop&StopAtPong != 0:
					return n, AtPong
				case p[n] == finBit|OpClose && stop&StopAtClose != 0:
					return n, AtClose
				}
			}
			fresh := w.have == 0
			used, whole := w.header(p[n:])
			if w.fault != NoFault {
				if fresh {
					// None of the bad frame was walked, so the stream
					// still stands between two frames.
					w.have, w.bits = 0, w.bits&^bitPayload
				}
				return n, Broken
			}
			n += used
			if !whole {
				return n, More
			}
		}
		if w.left > 0 {
			k := len(p) - n
			if uint64(k) > w.left {
				k = int(w.left)
			}
			if w.head[0]&opMask == OpClose && w.haveCode < 2 {
				w.closeCode(p[n : n+k])
			}
			n += k
			if w.left -= uint64(k); w.left > 0 {
				return n, More
			}
		}
		if ev := w.endFrame(stop); ev != More {
			return n, ev
		}
	}
}

// header collects and checks a frame header, RFC 6455 §5.2.
func (w *Walker) header(p []byte) (used int, whole bool) {
	if w.have == 0 && len(p) >= MaxHead {
		// The usual case: the whole header is at hand.
		w.head = [2]byte(p)
		used = 2
		switch n := p[1] &^ maskBit; n {
		case 126:
			w.left = uint64(binary.BigEndian.Uint16(p[2:]))
			used += 2
		case 127:
			w.left = binary.BigEndian.Uint64(p[2:])
			used += 8
		default:
			w.left = uint64(n)
		}
		if p[1]&maskBit != 0 {
			w.key = [4]byte(p[used:])
			used += 4
		}
		w.have = uint8(used)
		w.check()
		return used, true
	}
	for used < len(p) {
		b := p[used]
		used++
		switch at := int(w.have); {
		case at == 0:
			w.head[0] = b
		case at == 1:
			w.head[1] = b
			if n := b &^ maskBit; n < 126 {
				w.left = uint64(n)
			}
		case at < keyAt(w.head[1]):
			w.left = w.left<<8 | uint64(b)
		default:
			w.key[at-keyAt(w.head[1])] = b
		}
		w.have++
		if w.have >= 2 && int(w.have) == headLen(w.head[1]) {
			w.check()
			return used, true
		}
	}
	return used, false
}

// keyAt is where in a header the masking key stands, if there is one, from the
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

// headLen is the length of a header from its second byte.
func headLen(b byte) int {
	n := keyAt(b)
	if b&maskBit != 0 {
		n += 4
	}
	return n
}

// check judges the whole header.
func (w *Walker) check() {
	op := w.head[0] & opMask
	fin := w.head[0]&finBit != 0
	w.bits |= bitPayload
	open := w.bits&bitOpen != 0
	switch {
	case w.Masked != (w.head[1]&maskBit != 0):
		w.fault = FaultMask
	case op&^control > OpBinary:
		w.fault = FaultOpcode
	case op&control != 0:
		// One that needs no longer length must not use it either, §5.2.
		if !fin || w.head[1]&^maskBit > MaxControlPayload {
			w.fault = FaultControl
		} else if op == OpClose && w.left == 1 {
			w.fault = FaultClose
		}
	case w.left>>63 != 0:
		w.fault = FaultLength
	case (op == OpContinuation) != open:
		w.fault = FaultFragment
	}
}

// closeCode keeps the first two payload bytes of a Close frame, RFC 6455 §5.5.1.
func (w *Walker) closeCode(p []byte) {
	for _, b := range p {
		if w.haveCode == 2 {
			return
		}
		if w.Masked {
			b ^= w.key[w.haveCode]
		}
		w.code[w.haveCode] = b
		w.haveCode++
	}
}

func (w *Walker) endFrame(stop Stop) Event {
	op := w.head[0] & opMask
	w.have = 0
	w.bits &^= bitPayload
	switch {
	case op == OpClose:
		return Closed
	case op&control != 0:
	case w.head[0]&finBit != 0:
		w.Messages++
		w.bits &^= bitOpen
	default:
		w.bits |= bitOpen
	}
	if stop&StopAtMessage != 0 && w.bits&bitOpen == 0 {
		return AtMessage
	}
	return More
}
