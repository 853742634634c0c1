package relay_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/relay"
	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// longer is a frame of p with a length in more bytes than it needs.
func longer(p *peer, first byte, width int, payload string) []byte {
	f := p.frame(first, payload)
	head := []byte{f[0], f[1]&0x80 | 126}
	if width == 8 {
		head[1]++
		head = binary.BigEndian.AppendUint64(head, uint64(len(payload)))
	} else {
		head = binary.BigEndian.AppendUint16(head, uint16(len(payload)))
	}
	return append(head, f[2:]...) // the payload is short
}

// hostile are streams that violate RFC 6455 at the frame that follows first, if there is
// one.
var hostile = []struct {
	name       string
	first, bad func(*peer) []byte
}{
	{"masking", nil, func(p *peer) []byte { return wire(fin|opText, p.side == session.Backend, []byte("bad")) }},
	{"masking of an empty frame", nil, func(p *peer) []byte { return wire(fin|opText, p.side == session.Backend, nil) }},
	{"masking of a ping", nil, func(p *peer) []byte { return wire(fin|opPing, p.side == session.Backend, nil) }},
	{"masking of a close", nil, func(p *peer) []byte { return wire(fin|opClose, p.side == session.Backend, nil) }},
	{"RSV1", nil, func(p *peer) []byte { return p.frame(fin|opText|0x40, "bad") }},
	{"RSV2", nil, func(p *peer) []byte { return p.frame(fin|opText|0x20, "bad") }},
	{"RSV3", nil, func(p *peer) []byte { return p.frame(fin|opText|0x10, "bad") }},
	{"RSV1 of a ping", nil, func(p *peer) []byte { return p.frame(fin|opPing|0x40, "bad") }},
	{"RSV1 of a close", nil, func(p *peer) []byte { return p.frame(fin|opClose|0x40, "\x03\xe8") }},
	{"RSV1 of a fragment", func(p *peer) []byte { return p.frame(opText, "a") }, func(p *peer) []byte { return p.frame(fin|0x40, "bad") }},
	{"opcode 3", nil, func(p *peer) []byte { return p.frame(fin|3, "bad") }},
	{"opcode 7", nil, func(p *peer) []byte { return p.frame(fin|7, "bad") }},
	{"opcode 11", nil, func(p *peer) []byte { return p.frame(fin|11, "") }},
	{"opcode 15", nil, func(p *peer) []byte { return p.frame(fin|15, "") }},
	{"a ping in fragments", nil, func(p *peer) []byte { return p.frame(opPing, "bad") }},
	{"a close in fragments", nil, func(p *peer) []byte { return p.frame(opClose, "\x03\xe8") }},
	{"a ping of 126 bytes", nil, func(p *peer) []byte { return p.frame(fin|opPing, string(make([]byte, 126))) }},
	{"a pong of 64 KiB", nil, func(p *peer) []byte { return p.frame(fin|opPong, string(make([]byte, 1<<16))) }},
	{"a close of 126 bytes", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x03\xe8"+string(make([]byte, 124))) }},
	{"a ping with a long length", nil, func(p *peer) []byte { return longer(p, fin|opPing, 2, "bad") }},
	{"a long length", nil, func(p *peer) []byte { return longer(p, fin|opText, 2, "bad") }},
	{"a very long length", nil, func(p *peer) []byte { return longer(p, fin|opText, 8, "bad") }},
	{"a length of 2^63", nil, func(p *peer) []byte {
		return append([]byte{fin | 2, 127 | p.frame(0, "")[1], 0x80, 0, 0, 0, 0, 0, 0, 0}, 1, 2, 3, 4)
	}},
	{"a continuation of nothing", nil, func(p *peer) []byte { return p.frame(fin, "bad") }},
	{"a fragment of nothing", nil, func(p *peer) []byte { return p.frame(0, "bad") }},
	{"a message in a message", func(p *peer) []byte { return p.frame(opText, "a") }, func(p *peer) []byte { return p.frame(fin|opText, "bad") }},
	{"a fragment in a message", func(p *peer) []byte { return p.frame(opText, "a") }, func(p *peer) []byte { return p.frame(opText, "bad") }},
	{"a close of one byte", nil, func(p *peer) []byte { return p.frame(fin|opClose, "x") }},
	{"close 0", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x00\x00") }},
	{"close 999", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x03\xe7") }},
	{"close 1004", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x03\xec") }},
	{"close 1005", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x03\xed") }},
	{"close 1006", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x03\xeewhy") }},
	{"close 1015", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x03\xf7") }},
	{"close 1016", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x03\xf8") }},
	{"close 2999", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x0b\xb7") }},
	{"close 5000", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\x13\x88") }},
	{"close 65535", nil, func(p *peer) []byte { return p.frame(fin|opClose, "\xff\xff") }},
}

// testBroken: of a frame that violates RFC 6455 the other side gets nothing. Both get a
// Close, and the session has the rule.
func testBroken(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixture(t, e, quick, relay.Limits{})
		for _, c := range hostile {
			p, q := r.both(from)
			sent := p.frame(fin|opText, "good")
			if c.first != nil {
				sent = append(sent, c.first(p)...)
			}
			p.send(append(bytes.Clone(sent), c.bad(p)...), p.frame(fin|opText, "unheard"))
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(q.r, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%s's %s: %x came before (%v), want %x", from, c.name, got, err, sent)
			}
			other := uint16(relay.CodeGoingAway)
			if from == session.Backend {
				other = relay.CodeInternal
			}
			q.wantClose(other)
			q.close(other)
			p.wantClose(relay.CodeProtocol)
			p.TCPConn.Close()
			q.TCPConn.Close()
			s := r.endAny()
			if s.Cause != protocol(from) || s.Code != relay.CodeProtocol && s.Code != other || s.Fault == "" {
				t.Errorf("%s's %s: ended with %s, code %d and rule %q", from, c.name, s.Cause, s.Code, s.Fault)
			}
			if s.From[from].Messages != 1 || s.FaultAt != uint64(len(sent)) {
				t.Errorf("%s's %s: %d messages, fault at %d; want 1, %d", from, c.name, s.From[from].Messages, s.FaultAt, len(sent))
			}
		}
	}
}

// testExtensions: what the extensions of a session allow passes, and nothing else.
func testExtensions(t *testing.T, e engine) {
	for _, from := range sides {
		r := newFixtureWith(t, e, quick, &fixture{rules: frame.AllowDeflate})
		p, q := r.both(from)
		for _, first := range []byte{fin | opText | 0x40, opText | 0x40, fin, fin | 2 | 0x40} {
			p.send(p.frame(first, "squeezed"))
			q.want(first, "squeezed")
		}
		p.send(p.frame(fin|opPing|0x40, ""))
		p.wantClose(relay.CodeProtocol)
		p.TCPConn.Close()
		q.TCPConn.Close()
		if s := r.endAny(); s.Cause != protocol(from) {
			t.Errorf("ended with %s", s.Cause)
		}

		r = newFixtureWith(t, e, quick, &fixture{rules: frame.AllowExtension})
		p, q = r.both(from)
		for _, first := range []byte{fin | 3 | 0x70, fin | 15 | 0x20, opText | 0x10, fin | 0x40} {
			p.send(p.frame(first, "extended"))
			q.want(first, "extended")
		}
		p.send(p.frame(fin, "of nothing"))
		p.wantClose(relay.CodeProtocol)
		p.TCPConn.Close()
		q.TCPConn.Close()
		if s := r.endAny(); s.Cause != protocol(from) {
			t.Errorf("ended with %s", s.Cause)
		}
	}
}

// testPassFrames: without rules, frames pass unchanged, and the boundaries that matter
// are found nevertheless.
func testPassFrames(t *testing.T, e engine) {
	for _, from := range sides {
		for _, c := range hostile {
			r := newFixture(t, e, quick, relay.Limits{PassFrames: true})
			p, q := r.both(from)
			var sent []byte
			if c.first != nil {
				sent = c.first(p)
			}
			sent = append(sent, c.bad(p)...)
			p.send(sent)
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(q.r, got); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%s's %s: %x came (%v), want %x", from, c.name, got, err, sent)
			}
			if sent[0]&15 == opClose {
				q.close(1000)
				p.wantClose(1000)
			}
			p.TCPConn.Close()
			q.TCPConn.Close()
			s := r.endAny()
			if want := lost(from); s.Cause != want && s.Cause != lost(from.Other()) && s.Cause != closed(from) {
				t.Errorf("%s's %s: ended with %s", from, c.name, s.Cause)
			}
		}
	}
}
