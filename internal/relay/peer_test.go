package relay_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/session"
)

const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
	fin     = 0x80
)

// wire returns an encoded frame. A client's must be masked.
func wire(first byte, masked bool, payload []byte) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	key := [4]byte{0xA1, 0xB2, 0xC3, byte(len(payload))}
	b = append(b, key[:]...)
	at := len(b)
	b = append(b, payload...)
	for i := range payload {
		b[at+i] ^= key[i%4]
	}
	return b
}

// peer is a client or backend, controlled by the test.
type peer struct {
	*net.TCPConn
	tls   *tls.Conn // nil without TLS
	keyed *keyed    // with TLS and changes of keys; otherwise nil
	t     *testing.T
	side  session.Side
	r     *bufio.Reader
}

func newPeer(t *testing.T, side session.Side, c net.Conn) *peer {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	p := &peer{TCPConn: c.(*net.TCPConn), t: t, side: side}
	p.r = bufio.NewReader(p)
	return p
}

// frame is a frame as this side sends it.
func (p *peer) frame(first byte, payload string) []byte {
	return wire(first, p.side == session.Client, []byte(payload))
}

func (p *peer) send(parts ...[]byte) {
	p.t.Helper()
	if _, err := p.Write(bytes.Join(parts, nil)); err != nil {
		p.t.Errorf("the %s cannot write: %v", p.side, err)
	}
}

func (p *peer) text(s string) { p.t.Helper(); p.send(p.frame(fin|opText, s)) }

func (p *peer) close(code uint16) {
	p.t.Helper()
	p.send(p.frame(fin|opClose, string(binary.BigEndian.AppendUint16(nil, code))))
}

// got is a received frame.
type got struct {
	first   byte
	payload string
	raw     []byte
}

func (g got) String() string { return fmt.Sprintf("%#x %q", g.first, g.payload) }

// next reads a frame, and checks its masking.
func (p *peer) next() (g got, err error) {
	read := func(n uint64) []byte {
		b := make([]byte, n)
		if err == nil {
			var k int
			k, err = io.ReadFull(p.r, b)
			if len(g.raw)+k > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			g.raw = append(g.raw, b[:k]...)
		}
		return b
	}
	head := read(2)
	g.first = head[0]
	size := uint64(head[1] & 127)
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(read(2)))
	case 127:
		size = binary.BigEndian.Uint64(read(8))
	}
	var key [4]byte
	masked := head[1] >= 0x80
	if err == nil && masked != (p.side == session.Backend) {
		return g, fmt.Errorf("the %s got a frame with masking %v", p.side, masked)
	}
	if masked {
		key = [4]byte(read(4))
	}
	b := read(size)
	for i := range b {
		b[i] ^= key[i%4]
	}
	g.payload = string(b)
	return g, err
}

// want reads a frame. Before a Close, a ping of the balancer may come.
func (p *peer) want(first byte, payload string) {
	p.t.Helper()
	g, err := p.next()
	for err == nil && first == fin|opClose && g.first == fin|opPing && len(g.payload) == 8 {
		g, err = p.next()
	}
	if err != nil || g.first != first || g.payload != payload {
		p.t.Fatalf("the %s got %v (%v), want %#x %q", p.side, g, err, first, payload)
	}
}

func (p *peer) wantText(s string) { p.t.Helper(); p.want(fin|opText, s) }

// wantClose reads a Close frame, and ignores pings before it.
func (p *peer) wantClose(code uint16) {
	p.t.Helper()
	g, err := p.next()
	for err == nil && g.first == fin|opPing {
		g, err = p.next()
	}
	if err != nil || g.first != fin|opClose || len(g.payload) < 2 || binary.BigEndian.Uint16([]byte(g.payload)) != code {
		p.t.Fatalf("the %s got %v (%v), want a Close with %d", p.side, g, err, code)
	}
}

// wantEnd reads the end of the connection and nothing before it.
func (p *peer) wantEnd() {
	p.t.Helper()
	if g, err := p.next(); err != io.EOF {
		p.t.Fatalf("the %s got %v (%v), want EOF", p.side, g, err)
	}
}

// wantCut reads until the connection ends in any way, without a Close.
func (p *peer) wantCut() {
	p.t.Helper()
	for {
		g, err := p.next()
		if errors.Is(err, os.ErrDeadlineExceeded) || err == nil && g.first == fin|opClose {
			p.t.Fatalf("the %s got %v (%v), want its connection cut", p.side, g, err)
		}
		if err != nil {
			return
		}
	}
}

// quiet checks that nothing comes for a while.
func (p *peer) quiet(d time.Duration) {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(d))
	if b, err := p.r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		rest, _ := p.r.Peek(p.r.Buffered())
		p.t.Fatalf("the %s got %x %x (%v), want nothing", p.side, b, rest, err)
	}
	p.SetReadDeadline(time.Now().Add(patience))
}

// reset ends the connection with an RST.
func (p *peer) reset() {
	p.SetLinger(0)
	p.TCPConn.Close()
}

// answer answers pings with pongs until the connection ends, and calls others for
// other frames.
func (p *peer) answer(others func(got)) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		for {
			g, err := p.next()
			if err != nil {
				return
			}
			if g.first == fin|opPing {
				p.Write(p.frame(fin|opPong, g.payload))
			} else if others != nil {
				others(g)
			}
		}
	}()
	return done
}

// noise is n random bytes.
func noise(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 1000 {
		copy(b[i:], binary.LittleEndian.AppendUint64(nil, rnd.Uint64()))
	}
	return b
}
