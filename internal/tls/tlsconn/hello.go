package tlsconn

import "encoding/binary"

// Types of records and of handshake messages, RFC 8446 §4 and §5.1.
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordData             = 23

	messageClientHello = 1
	messageServerHello = 2
)

const (
	recordHeader  = 5
	messageHeader = 4
	// overhead13 is by how much a record of TLS 1.3 is longer than its content.
	overhead13 = 1 + 16
	// maxHello is the longest ClientHello that crypto/tls accepts.
	maxHello = 64 << 10
	// maxPlaintext is the longest record that isn't encrypted.
	maxPlaintext = 16 << 10
)

// recordSize is the length of the record that begins with header, with its header.
func recordSize(header []byte) int { return recordHeader + int(binary.BigEndian.Uint16(header[3:])) }

// messageSize is the length of the handshake message that begins with header,
// without its header.
func messageSize(header []byte) int { return int(binary.BigEndian.Uint32(header) & 0xffffff) }

// isWhole reports whether b has the whole ClientHello, in one record or more, or
// something that crypto/tls will refuse.
func isWhole(b []byte) bool {
	var header [messageHeader]byte
	got := 0 // bytes of the message
	for {
		if len(b) > 0 && b[0] != recordHandshake {
			return len(b) >= recordHeader
		}
		if len(b) < recordHeader {
			return false
		}
		size := recordSize(b)
		if size > recordHeader+maxPlaintext || size == recordHeader {
			return true
		}
		if got < messageHeader {
			copy(header[got:], b[recordHeader:min(size, len(b))])
		}
		if len(b) < size {
			return false
		}
		got += size - recordHeader
		if got >= messageHeader {
			if n := messageSize(header[:]); header[0] != messageClientHello || n > maxHello || got >= messageHeader+n {
				return true
			}
		}
		b = b[size:]
	}
}

// retryRandom is the random of a ServerHello that is a HelloRetryRequest, RFC 8446
// §4.1.3.
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91" +
	"\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// hello finds the random in the hello of one side, and in that of a server the cipher
// suite. crypto/tls reports neither.
type hello struct {
	// head is the beginning of a message: its header, version, random and session
	// ID, and the suite.
	head   [messageHeader + 2 + 32 + 1 + 32 + 2]byte
	have   int
	skip   int // bytes of a message that are of no interest
	done   bool
	random [32]byte
	suite  uint16
}

// feed gets the content of handshake records, as they come.
func (h *hello) feed(b []byte) {
	for len(b) > 0 && !h.done {
		if h.skip > 0 {
			n := min(h.skip, len(b))
			h.skip -= n
			b = b[n:]
			continue
		}
		want := messageHeader
		if h.have >= messageHeader {
			want += min(messageSize(h.head[:]), len(h.head)-messageHeader)
		}
		n := copy(h.head[h.have:want], b)
		h.have += n
		b = b[n:]
		if h.have >= messageHeader {
			size := messageSize(h.head[:])
			if got := h.have - messageHeader; got == min(size, len(h.head)-messageHeader) {
				h.message(h.head[messageHeader:h.have])
				h.have, h.skip = 0, size-got
			}
		}
	}
}

// message takes from a message what it has.
func (h *hello) message(body []byte) {
	const session = 2 + 32 // where the session ID begins, with its length
	if len(body) <= session {
		h.done = true // crypto/tls refuses it
		return
	}
	random := body[2:session]
	switch h.head[0] {
	case messageClientHello:
		h.done = true // a second one has the same random
	case messageServerHello:
		if suite := session + 1 + int(body[session]); suite+2 <= len(body) {
			h.suite = binary.BigEndian.Uint16(body[suite:])
		}
		h.done = string(random) != retryRandom
	default:
		h.done = true
		return
	}
	copy(h.random[:], random)
}
