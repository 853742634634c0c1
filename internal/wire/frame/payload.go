package frame

import "encoding/binary"

// Payload is how many bytes are to come of the data frame whose payload the stream is
// in, or 0 if it isn't in one. Walking these bytes causes no event but the end of a
// message, whatever they are.
func (w *Walker) Payload() uint64 {
	if w.flags&flagPayload == 0 || w.head[0]&control != 0 {
		return 0
	}
	return w.remaining
}

// Skip walks n bytes without seeing them. n is at most Payload.
func (w *Walker) Skip(n uint64) {
	if w.remaining -= n; w.remaining == 0 {
		w.endFrame(0)
	}
}

// SawData reports whether bytes of a message, not only control frames, were walked
// since its last call.
func (w *Walker) SawData() bool {
	spoke := w.flags&flagData != 0
	w.flags &^= flagData
	return spoke
}

// LastPing says, after AfterPing, whether that was a ping and not a pong, and returns a
// checksum of its payload, to compare a pong with the ping that it answers.
func (w *Walker) LastPing() (ping bool, sum uint16) {
	return w.head[0]&opMask == OpPing, binary.BigEndian.Uint16(w.code[:])
}

// InClose reports whether the stream is in the payload of a Close frame.
func (w *Walker) InClose() bool {
	return w.headBytes != 0 && w.head[0]&opMask == OpClose && w.flags&flagPayload != 0
}

// ControlSize is the payload length of the control frame that the stream is in or has
// just left. For one that is longer than allowed (AllowAll), it is more than
// MaxControlPayload.
func (w *Walker) ControlSize() int { return int(w.head[1] &^ maskBit) }

// ControlPayload appends to dst the unmasked payload of the control frame that the
// stream is in or has just left, as far as it is in walked, the bytes walked last. dst
// must contain the payload that came before these.
func (w *Walker) ControlPayload(dst, walked []byte) []byte {
	n := w.ControlSize() - int(w.remaining) - len(dst)
	for _, b := range walked[max(0, len(walked)-max(0, n)):] {
		if w.head[1]&maskBit != 0 {
			b ^= w.key[len(dst)&3]
		}
		dst = append(dst, b)
	}
	return dst
}

// control processes payload of a control frame. The checksum of a ping need not resist
// attackers: two pings with the same one only cost their sender a pong.
func (w *Walker) control(p []byte) {
	if w.head[0]&opMask == OpClose {
		if w.haveCode < 2 {
			w.closeCode(p)
		}
		return
	}
	sum := binary.BigEndian.Uint16(w.code[:])
	at := w.ControlSize() - int(w.remaining)
	for i, b := range p {
		if w.head[1]&maskBit != 0 {
			b ^= w.key[(at+i)&3]
		}
		sum = sum*31 + uint16(b) + 1
	}
	binary.BigEndian.PutUint16(w.code[:], sum)
}
