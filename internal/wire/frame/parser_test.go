package frame_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// wire writes one frame by hand, so that the tests don't depend on the code under test.
// Its length takes lenBytes (0, 2 or 8) besides the second byte; -1 means as few as
// possible.
func wire(first byte, masked bool, payload []byte, lenBytes int) []byte {
	if lenBytes < 0 {
		switch n := len(payload); {
		case n < 126:
			lenBytes = 0
		case n < 1<<16:
			lenBytes = 2
		default:
			lenBytes = 8
		}
	}
	b := []byte{first}
	switch lenBytes {
	case 0:
		b = append(b, byte(len(payload)))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(len(payload)))
	case 8:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(len(payload)))
	}
	if !masked {
		return append(b, payload...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b[1] |= 0x80
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// parsed is a frame as the naive parser sees it, by offsets into the stream.
type parsed struct {
	start, head, end uint64 // head is where the payload begins
	op               byte
	fin              bool
	payload          []byte // unmasked; what there is of it
	fault            frame.Fault
}

// parse parses one frame at start of a whole stream; ok is false if its header is
// incomplete.
func parse(stream []byte, start uint64, masked, open bool, rules frame.Rules) (f parsed, ok bool) {
	p := stream[start:]
	if len(p) < 2 {
		return f, false
	}
	f = parsed{start: start, op: p[0] & 15, fin: p[0] >= 0x80}
	size, at := uint64(p[1]&127), uint64(2)
	long := size > 125
	var width uint64
	switch size {
	case 126:
		width = 2
	case 127:
		width = 8
	}
	hasMask := p[1] >= 0x80
	f.head = start + at + width
	if hasMask {
		f.head += 4
	}
	if f.head > uint64(len(stream)) {
		return f, false
	}
	if width > 0 {
		size = 0
		for _, b := range p[at : at+width] {
			size = size<<8 | uint64(b)
		}
	}
	extended := rules&frame.AllowExtension != 0
	compressed := rules&frame.AllowDeflate != 0 && p[0]&0x70 == 0x40 && (f.op == 1 || f.op == 2)
	switch {
	case rules&frame.AllowAll != 0:
	case hasMask != masked:
		f.fault = frame.FaultMask
	case p[0]&0x70 != 0 && !extended && !compressed:
		f.fault = frame.FaultReserved
	case (f.op > 2 && f.op < 8 || f.op > 10) && !extended:
		f.fault = frame.FaultOpcode
	case f.op >= 8 && !f.fin:
		f.fault = frame.FaultControlFragment
	case f.op >= 8 && long:
		f.fault = frame.FaultControl
	case f.op == 8 && size == 1:
		f.fault = frame.FaultClose
	case size >= 1<<63:
		f.fault = frame.FaultLength
	case width == 2 && size < 126, width == 8 && size < 65536:
		f.fault = frame.FaultMinimal
	case f.op == 0 && !open, f.op != 0 && f.op < 8 && open:
		f.fault = frame.FaultFragment
	}
	if f.end = f.head + size; f.end < size {
		f.end = math.MaxUint64
	}
	rest := stream[f.head:]
	if uint64(len(rest)) > size {
		rest = rest[:size]
	}
	for i, b := range rest {
		if hasMask {
			b ^= stream[f.head-4+uint64(i%4)]
		}
		f.payload = append(f.payload, b)
	}
	return f, true
}

// event is an event that Walk stopped with, and its offset in the stream.
type event struct {
	kind frame.Event
	at   uint64
}

// story is all that happens in a stream.
type story struct {
	events   []event
	messages uint64
	code     uint16
	fault    frame.Fault
	bad      parsed // the frame of the fault
	atFrame  bool
	atMsg    bool
}

// mayClose has the close codes that may be sent, RFC 6455 section 7.4.
func mayClose(code uint16) bool {
	switch code {
	case 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014:
		return true
	}
	return code/1000 == 3 || code/1000 == 4
}

// expect computes with the naive parser what walking the stream should give with both
// stops selected.
func expect(stream []byte, masked bool, rules frame.Rules) (s story) {
	open := false
	for at := uint64(0); ; {
		if at == uint64(len(stream)) {
			s.atFrame, s.atMsg = true, !open
			return s
		}
		if stream[at] == 0x8A {
			s.events = append(s.events, event{frame.AtPong, at})
		}
		f, ok := parse(stream, at, masked, open, rules)
		if !ok {
			return s
		}
		if f.fault != frame.NoFault {
			s.events = append(s.events, event{frame.Broken, at})
			s.fault, s.bad = f.fault, f
			return s
		}
		if f.op == 8 && len(f.payload) >= 2 {
			s.code = binary.BigEndian.Uint16(f.payload)
			if !mayClose(s.code) && rules&frame.AllowAll == 0 {
				s.events = append(s.events, event{frame.Broken, at})
				f.head += 2 // it is found here
				s.fault, s.bad = frame.FaultCloseCode, f
				return s
			}
		}
		if f.end > uint64(len(stream)) {
			return s
		}
		at = f.end
		switch {
		case f.op == 8:
			s.events = append(s.events, event{frame.Closed, at})
			s.atFrame, s.atMsg = true, !open
			return s
		case f.op < 8:
			open = !f.fin
			if f.fin {
				s.messages++
			}
		}
		if !open {
			s.events = append(s.events, event{frame.AtMessage, at})
		}
	}
}

// walk feeds the stream to a Walker in pieces of the given sizes and the rest in one, and
// returns what happened.
func walk(t tester, stream []byte, masked bool, rules frame.Rules, sizes []int) (s story, w frame.Walker) {
	t.Helper()
	w = frame.Walker{Masked: masked, Rules: rules}
	const stops = frame.StopAtMessage | frame.StopAtPong
	for at := 0; at < len(stream); {
		size := len(stream) - at
		if len(sizes) > 0 {
			size, sizes = min(size, max(1, sizes[0])), sizes[1:]
		}
		p := stream[at : at+size]
		stop := stops
		for len(p) > 0 {
			n, ev := w.Walk(p, stop)
			if n < 0 || n > len(p) {
				t.Fatalf("Walk consumed %d of %d bytes", n, len(p))
			}
			at, p = at+n, p[n:]
			stop = stops
			switch ev {
			case frame.More:
				if len(p) > 0 {
					t.Fatalf("Walk wants more with %d bytes left", len(p))
				}
				continue
			case frame.AtPong:
				s.events = append(s.events, event{ev, uint64(at)})
				stop = frame.StopAtMessage // step over its first byte
				n, ev := w.Walk(p[:1], stop)
				if n != 1 || ev != frame.More {
					t.Fatalf("one byte of a header: Walk = %d, %d", n, ev)
				}
				at, p = at+1, p[1:]
				stop = stops
				continue
			}
			s.events = append(s.events, event{ev, uint64(at)})
			if ev == frame.Closed || ev == frame.Broken {
				s.take(&w)
				return s, w
			}
		}
	}
	s.take(&w)
	return s, w
}

func (s *story) take(w *frame.Walker) {
	s.messages, s.code, s.fault = w.Messages, w.CloseCode(), w.Fault()
	s.atFrame, s.atMsg = w.AtFrame(), w.AtMessage()
}

// check compares the results of a Walker and of the naive parser.
func check(t tester, stream []byte, masked bool, rules frame.Rules, sizes []int) {
	t.Helper()
	want := expect(stream, masked, rules)
	got, _ := walk(t, stream, masked, rules, sizes)
	where := func() string {
		return fmt.Sprintf("stream %x, masked %v, rules %d, pieces %v", stream[:min(len(stream), 200)], masked, rules, sizes)
	}
	if want.fault != frame.NoFault {
		// A header that came in pieces is found to be broken once it is complete.
		i := len(got.events) - 1
		if i < 0 || got.events[i].kind != frame.Broken || got.fault != want.fault {
			t.Fatalf("%s: got %v with fault %q, want %q", where(), got.events, got.fault, want.fault)
		}
		if at := got.events[i].at; at < want.bad.start || at >= want.bad.head || got.atFrame != (at == want.bad.start) {
			t.Fatalf("%s: broken at %d, AtFrame %v; the header is %d to %d", where(), at, got.atFrame, want.bad.start, want.bad.head)
		}
		got.events[i].at = want.bad.start
		got.atFrame, got.atMsg = want.atFrame, want.atMsg
	}
	if !slices.Equal(got.events, want.events) {
		t.Fatalf("%s: events {kind, at}\n got %v\nwant %v", where(), got.events, want.events)
	}
	if got.messages != want.messages || got.code != want.code || got.fault != want.fault || got.atFrame != want.atFrame || got.atMsg != want.atMsg {
		t.Fatalf("%s:\n got %+v\nwant %+v", where(), got, want)
	}
}
