package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// message is the header of each message.
type message struct {
	window uint32
	sender uint32        // index of the sending session in the group
	seq    uint32        // number of the message within the window, from 0 for each sender
	due    time.Duration // since the run began
}

const headerSize = 4 + 4 + 4 + 4 + 8 // checksum, window, sender, seq, due

// codec writes and checks messages. The header is followed by part of a fixed text,
// at an offset that depends on the header, so that mixed up, truncated and joined
// messages are detected.
type codec struct {
	size int
	text bool
	run  [4]byte // random for each run, to recognize messages of other clients of the same server
}

const fillerPeriod = 8191 // prime, so that blocks shifted by a power of two are detected

var filler = func() []byte {
	r := rand.New(rand.NewPCG(6455, 13))
	b := make([]byte, 2*fillerPeriod)
	for i := range fillerPeriod {
		b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[r.IntN(64)]
		b[i+fillerPeriod] = b[i]
	}
	return b
}()

func newCodec(size int, text bool) codec {
	c := codec{size: size, text: text}
	binary.LittleEndian.PutUint32(c.run[:], rand.Uint32())
	return c
}

func (c *codec) op() byte {
	if c.text {
		return frame.OpText
	}
	return frame.OpBinary
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *codec) checksum(header []byte) uint32 {
	return crc32.Update(crc32.Checksum(c.run[:], castagnoli), castagnoli, header[4:headerSize])
}

// append appends m to dst with a length of c.size bytes.
func (c *codec) append(dst []byte, m message) []byte {
	var h [headerSize]byte
	binary.BigEndian.PutUint32(h[4:], m.window)
	binary.BigEndian.PutUint32(h[8:], m.sender)
	binary.BigEndian.PutUint32(h[12:], m.seq)
	binary.BigEndian.PutUint64(h[16:], uint64(m.due))
	sum := c.checksum(h[:])
	binary.BigEndian.PutUint32(h[:], sum)
	end := len(dst) + c.size
	if c.text {
		dst = hex.AppendEncode(dst, h[:])
	} else {
		dst = append(dst, h[:]...)
	}
	for from := int(sum % fillerPeriod); len(dst) < end; {
		dst = append(dst, filler[from:from+min(end-len(dst), fillerPeriod)]...)
	}
	return dst
}

// parse is the inverse of append. ok is false for anything that append didn't write.
func (c *codec) parse(op byte, p []byte) (m message, ok bool) {
	if op != c.op() || len(p) != c.size {
		return m, false
	}
	var h [headerSize]byte
	if c.text {
		if _, err := hex.Decode(h[:], p[:2*headerSize]); err != nil {
			return m, false
		}
		p = p[2*headerSize:]
	} else {
		p = p[copy(h[:], p):]
	}
	sum := binary.BigEndian.Uint32(h[:])
	if sum != c.checksum(h[:]) {
		return m, false
	}
	for from := int(sum % fillerPeriod); len(p) > 0; {
		n := min(len(p), fillerPeriod)
		if !bytes.Equal(p[:n], filler[from:from+n]) {
			return m, false
		}
		p = p[n:]
	}
	return message{
		window: binary.BigEndian.Uint32(h[4:]),
		sender: binary.BigEndian.Uint32(h[8:]),
		seq:    binary.BigEndian.Uint32(h[12:]),
		due:    time.Duration(binary.BigEndian.Uint64(h[16:])),
	}, true
}
