package frame

import "math/bits"

// Quota bounds what one side sends. It is plain data, as a Walker is. WalkWithin counts
// at the header of each frame, before any of its payload has come. A frame that is too
// much is Broken, so that nothing of it is passed on.
type Quota struct {
	// MaxMessage bounds the payload of a message, over all of its frames, in bytes as
	// they are sent: compressed, with permessage-deflate. 0 is no bound.
	MaxMessage uint64
	// Left is how many messages may still begin; what counts as one, see costs.
	// Beyond that it becomes negative, unless Stops is set.
	Left int64
	// Stops means that the message for which nothing is left is Broken.
	Stops bool
	// Spent means that the next frame of any kind, except a Close, is Broken.
	Spent bool

	size uint64 // of the open message so far
}

// smallFragment is the payload of a fragment, in bytes, from which on it costs nothing.
const smallFragment = 512

// begin counts the frame whose header w has checked.
func (q *Quota) begin(w *Walker, op byte) Fault {
	if op&control == 0 {
		var before uint64
		if w.flags&flagOpen != 0 {
			before = q.size
		}
		sum, over := bits.Add64(before, w.remaining, 0)
		if q.MaxMessage != 0 && (over != 0 || sum > q.MaxMessage) {
			return FaultSize
		}
		q.size = sum
	}
	if op == OpClose {
		return NoFault
	}
	if q.Spent {
		return FaultBytes
	}
	if w.costs(op) {
		if q.Stops && q.Left <= 0 {
			return FaultMessages
		}
		q.Left--
	}
	return NoFault
}

// costs reports whether the frame counts as a message: the first of each message, pings
// and pongs, since their receivers have to do as much for one. So do small fragments
// other than the last: a message may have any number of them.
func (w *Walker) costs(op byte) bool {
	if op != OpContinuation {
		return true
	}
	return w.head[0]&finBit == 0 && w.remaining < smallFragment
}
