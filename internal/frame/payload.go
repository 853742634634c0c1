package frame

// Payload is how many bytes are still to come of the data frame whose payload
// the stream stands in, and 0 where it stands elsewhere. Whatever they are,
// walking them ends in no event but the end of a message.
func (w *Walker) Payload() uint64 {
	if w.bits&bitPayload == 0 || w.head[0]&control != 0 {
		return 0
	}
	return w.left
}

// Skip walks n bytes that nobody has seen, at most Payload.
func (w *Walker) Skip(n uint64) {
	if w.left -= n; w.left == 0 {
		w.endFrame(0)
	}
}
