package frame_test

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// TestWalkRules tests the rules of RFC 6455 one by one, each frame whole and split at
// every place.
func TestWalkRules(t *testing.T) {
	big := make([]byte, 1<<16)
	for _, c := range []struct {
		name     string
		masked   bool
		rules    frame.Rules
		stream   []byte
		fault    frame.Fault
		closed   bool
		messages uint64
		code     uint16
		open     bool // a message is open at the end
	}{
		{name: "5.2 text", stream: wire(0x81, false, []byte("hi"), -1), messages: 1},
		{name: "5.2 binary", stream: wire(0x82, false, []byte("hi"), -1), messages: 1},
		{name: "5.2 empty", stream: wire(0x81, false, nil, -1), messages: 1},
		{name: "5.2 empty masked", masked: true, stream: wire(0x81, true, nil, -1), messages: 1},
		{name: "5.2 125 bytes", stream: wire(0x82, false, big[:125], -1), messages: 1},
		{name: "5.2 126 bytes", stream: wire(0x82, false, big[:126], -1), messages: 1},
		{name: "5.2 65535 bytes", masked: true, stream: wire(0x82, true, big[:65535], -1), messages: 1},
		{name: "5.2 65536 bytes", masked: true, stream: wire(0x82, true, big, -1), messages: 1},
		{name: "5.2 8 bytes of length for 1", stream: wire(0x82, false, []byte("x"), 8), fault: frame.FaultMinimal},
		{name: "5.2 2 bytes of length for 125", stream: wire(0x82, false, big[:125], 2), fault: frame.FaultMinimal},
		{name: "5.2 8 bytes of length for 65535", masked: true, stream: wire(0x82, true, big[:65535], 8), fault: frame.FaultMinimal},
		{name: "5.2 RSV1", stream: wire(0xC1, false, []byte("z"), -1), fault: frame.FaultReserved},
		{name: "5.2 RSV2", masked: true, stream: wire(0xA1, true, []byte("z"), -1), fault: frame.FaultReserved},
		{name: "5.2 RSV3", stream: wire(0x91, false, []byte("z"), -1), fault: frame.FaultReserved},
		{name: "7692 6 compressed text", rules: frame.AllowDeflate, stream: wire(0xC1, false, []byte("z"), -1), messages: 1},
		{name: "7692 6 compressed fragments", rules: frame.AllowDeflate, stream: join(wire(0x42, false, nil, -1), wire(0x80, false, nil, -1)), messages: 1},
		{name: "7692 6 RSV1 on a continuation", rules: frame.AllowDeflate, stream: join(wire(0x42, false, nil, -1), wire(0xC0, false, nil, -1)), fault: frame.FaultReserved, open: true},
		{name: "7692 6 RSV1 on a ping", rules: frame.AllowDeflate, stream: wire(0xC9, false, nil, -1), fault: frame.FaultReserved},
		{name: "7692 6 RSV2", rules: frame.AllowDeflate, stream: wire(0xE1, false, nil, -1), fault: frame.FaultReserved},
		{name: "5.8 bits of an extension", rules: frame.AllowExtension, stream: join(wire(0x71, false, nil, -1), wire(0xF0, false, nil, -1), wire(0xC9, false, nil, -1)), messages: 1},
		{name: "5.8 opcodes of an extension", rules: frame.AllowExtension, stream: join(wire(0x83, false, nil, -1), wire(0x8F, false, nil, -1)), messages: 1},
		{name: "5.8 an extension changes nothing else", rules: frame.AllowExtension, stream: wire(0x0F, false, nil, -1), fault: frame.FaultControlFragment},
		{name: "unchecked: masking", rules: frame.AllowAll, stream: join(wire(0x81, true, []byte("hi"), -1), wire(0x81, false, []byte("hi"), -1)), messages: 2},
		{name: "unchecked: bits and opcodes", rules: frame.AllowAll, stream: join(wire(0xF3, false, []byte("hi"), -1), wire(0xFB, false, nil, -1)), messages: 1},
		{name: "unchecked: fragments", rules: frame.AllowAll, stream: join(wire(0x80, false, nil, -1), wire(0x01, false, nil, -1), wire(0x81, false, nil, -1)), messages: 2},
		{name: "unchecked: control frames", rules: frame.AllowAll, stream: join(wire(0x09, false, big[:70], -1), wire(0x89, false, big, -1), wire(0x81, false, nil, -1)), messages: 1},
		{name: "unchecked: lengths", rules: frame.AllowAll, stream: join(wire(0x81, false, nil, 8), wire(0x89, false, big[:5], 2)), messages: 1},
		{name: "unchecked: close", rules: frame.AllowAll, stream: wire(0x88, false, []byte{3, 0xED}, -1), closed: true, code: 1005},
		{name: "unchecked: close of one byte", rules: frame.AllowAll, stream: wire(0x88, false, []byte{3}, -1), closed: true},
		{name: "unchecked: long close", rules: frame.AllowAll, stream: wire(0x88, false, big[:300], -1), closed: true},
		{name: "5.2 length's top bit", stream: []byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, fault: frame.FaultLength},
		{name: "5.2 reserved data opcode", stream: wire(0x83, false, nil, -1), fault: frame.FaultOpcode},
		{name: "5.2 last reserved data opcode", stream: wire(0x87, false, nil, -1), fault: frame.FaultOpcode},
		{name: "5.2 reserved control opcode", stream: wire(0x8B, false, nil, -1), fault: frame.FaultOpcode},
		{name: "5.2 last reserved control opcode", stream: wire(0x8F, false, nil, -1), fault: frame.FaultOpcode},
		{name: "5.1 a client must mask", masked: true, stream: wire(0x81, false, []byte("hi"), -1), fault: frame.FaultMask},
		{name: "5.1 a server must not", stream: wire(0x81, true, []byte("hi"), -1), fault: frame.FaultMask},
		{name: "5.4 two fragments", stream: join(wire(0x01, false, []byte("a"), -1), wire(0x80, false, []byte("b"), -1)), messages: 1},
		{name: "5.4 three fragments", stream: join(wire(0x02, false, nil, -1), wire(0x00, false, []byte("b"), -1), wire(0x80, false, nil, -1)), messages: 1},
		{name: "5.4 unfinished", stream: join(wire(0x02, false, nil, -1), wire(0x00, false, []byte("b"), -1)), open: true},
		{name: "5.4 control among fragments", stream: join(wire(0x01, false, []byte("a"), -1), wire(0x89, false, nil, -1), wire(0x80, false, nil, -1)), messages: 1},
		{name: "5.4 continuation of nothing", stream: wire(0x80, false, nil, -1), fault: frame.FaultFragment},
		{name: "5.4 continuation after the end", stream: join(wire(0x81, false, nil, -1), wire(0x00, false, nil, -1)), fault: frame.FaultFragment, messages: 1},
		{name: "5.4 new message inside another", stream: join(wire(0x01, false, nil, -1), wire(0x82, false, nil, -1)), fault: frame.FaultFragment, open: true},
		{name: "5.5 ping", stream: wire(0x89, false, big[:125], -1)},
		{name: "5.5 pong", masked: true, stream: wire(0x8A, true, []byte("p"), -1)},
		{name: "5.5 control over 125 bytes", stream: wire(0x89, false, big[:126], -1), fault: frame.FaultControl},
		{name: "5.5 control in 16 bits of length", stream: wire(0x89, false, big[:5], 2), fault: frame.FaultControl},
		{name: "5.5 masked close in 16 bits of length", masked: true, stream: wire(0x88, true, []byte{3, 0xE8}, 2), fault: frame.FaultControl},
		{name: "5.5 fragmented control", stream: wire(0x09, false, nil, -1), fault: frame.FaultControlFragment},
		{name: "5.5.1 close", stream: wire(0x88, false, []byte{3, 0xE8}, -1), closed: true, code: 1000},
		{name: "5.5.1 close masked, with a reason", masked: true, stream: wire(0x88, true, []byte("\x0f\xa0bye"), -1), closed: true, code: 4000},
		{name: "5.5.1 close without a code", stream: wire(0x88, false, nil, -1), closed: true},
		{name: "5.5.1 close without a code, masked", masked: true, stream: wire(0x88, true, nil, -1), closed: true},
		{name: "5.5.1 close of one byte", stream: wire(0x88, false, []byte{3}, -1), fault: frame.FaultClose},
		{name: "5.5.1 close of one byte, masked", masked: true, stream: wire(0x88, true, []byte{3}, -1), fault: frame.FaultClose},
		{name: "7.4.1 no status", stream: wire(0x88, false, []byte{3, 0xED}, -1), fault: frame.FaultCloseCode, code: 1005},
		{name: "7.4.1 abnormal, masked, with a reason", masked: true, stream: wire(0x88, true, []byte("\x03\xeebye"), -1), fault: frame.FaultCloseCode, code: 1006},
		{name: "5.5.1 close inside a message", stream: join(wire(0x01, false, nil, -1), wire(0x88, false, []byte{3, 0xE9}, -1)), closed: true, code: 1001, open: true},
		{name: "5.5.1 nothing counts after it", stream: join(wire(0x88, false, nil, -1), wire(0x81, false, nil, -1)), closed: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, w := walk(t, c.stream, c.masked, c.rules, nil)
			var last event
			if n := len(s.events); n > 0 {
				last = s.events[n-1]
			}
			if s.fault != c.fault || (last.kind == frame.Broken) != (c.fault != frame.NoFault) {
				t.Errorf("fault %q (events %v), want %q", s.fault, s.events, c.fault)
			}
			if c.fault != frame.NoFault && (c.fault.String() == "none" || w.FaultRule() == "") {
				t.Errorf("the fault %q has the rule %q", c.fault, w.FaultRule())
			}
			if (last.kind == frame.Closed) != c.closed || s.code != c.code {
				t.Errorf("events %v, code %d; want closed %v, %d", s.events, s.code, c.closed, c.code)
			}
			if s.messages != c.messages {
				t.Errorf("%d messages, want %d", s.messages, c.messages)
			}
			if !w.AtFrame() || w.AtMessage() == c.open {
				t.Errorf("AtFrame %v, AtMessage %v; want true, %v", w.AtFrame(), w.AtMessage(), !c.open)
			}
			for i := range min(len(c.stream), 40) {
				check(t, c.stream, c.masked, c.rules, []int{i})
			}
		})
	}
}

// TestWalkInside: no place inside a frame counts as a boundary.
func TestWalkInside(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, size := range []int{0, 1, 5, 126, 70000} {
			f := wire(0x82, masked, make([]byte, size), -1)
			step := max(1, len(f)/200)
			for cut := 1; cut < len(f); cut += step {
				w := frame.Walker{Masked: masked}
				if n, ev := w.Walk(f[:cut], 0); n != cut || ev != frame.More || w.AtFrame() || w.AtMessage() {
					t.Fatalf("%d of %d bytes: Walk = %d, %d; AtFrame %v, AtMessage %v", cut, len(f), n, ev, w.AtFrame(), w.AtMessage())
				}
				if n, ev := w.Walk(f[cut:], 0); n != len(f)-cut || ev != frame.More || !w.AtMessage() || w.Messages != 1 {
					t.Fatalf("the rest after %d of %d bytes: Walk = %d, %d", cut, len(f), n, ev)
				}
			}
		}
	}
}

// TestWalkStops: without stops, only the end of a stream stops Walk.
func TestWalkStops(t *testing.T) {
	stream := join(wire(0x81, false, []byte("a"), -1), wire(0x8A, false, nil, -1), wire(0x01, false, nil, -1), wire(0x80, false, nil, -1))
	var w frame.Walker
	if n, ev := w.Walk(stream, 0); n != len(stream) || ev != frame.More || w.Messages != 2 {
		t.Errorf("Walk = %d, %d, %d messages; want %d, More, 2", n, ev, w.Messages, len(stream))
	}
	w = frame.Walker{}
	if n, ev := w.Walk(stream, frame.StopAtPong); n != 3 || ev != frame.AtPong {
		t.Errorf("StopAtPong: Walk = %d, %d; want 3, AtPong", n, ev)
	}
	if n, ev := w.Walk(nil, frame.StopAtPong|frame.StopAtMessage); n != 0 || ev != frame.More {
		t.Errorf("nothing: Walk = %d, %d; want 0, More", n, ev)
	}
}

// TestWalkerSize: each session has two Walkers.
func TestWalkerSize(t *testing.T) {
	if size := unsafe.Sizeof(frame.Walker{}); size != 32 {
		t.Errorf("a Walker takes %d bytes, want 32", size)
	}
}
