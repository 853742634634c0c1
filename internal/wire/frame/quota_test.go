package frame_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

func TestQuota(t *testing.T) {
	big := make([]byte, 100_000)
	first, more, last := byte(0x01), byte(0x00), byte(0x80)
	for _, c := range []struct {
		name   string
		q      frame.Quota
		rules  frame.Rules
		stream []byte
		fault  frame.Fault
		walked int // before the frame that is too much, in bytes
		left   int64
	}{
		{name: "as large as may be", q: frame.Quota{MaxMessage: 1000}, stream: wire(0x82, true, big[:1000], -1), left: -1},
		{name: "one byte more", q: frame.Quota{MaxMessage: 1000}, stream: wire(0x82, true, big[:1001], -1), fault: frame.FaultSize},
		{name: "the header is enough", q: frame.Quota{MaxMessage: 1000}, stream: []byte{0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4}, fault: frame.FaultSize},
		{name: "fragments add up", q: frame.Quota{MaxMessage: 1000}, stream: join(wire(first, true, big[:600], -1), wire(last, true, big[:401], -1)),
			fault: frame.FaultSize, walked: 608, left: -1},
		{name: "empty fragments add nothing", q: frame.Quota{MaxMessage: 10}, stream: join(wire(first, true, big[:10], -1), wire(more, true, nil, -1), wire(last, true, nil, -1)), left: -2},
		{name: "a message begins at 0", q: frame.Quota{MaxMessage: 1000}, stream: join(wire(0x82, true, big[:1000], -1), wire(0x82, true, big[:1000], -1)), left: -2},
		{name: "a ping between fragments is no payload", q: frame.Quota{MaxMessage: 100}, stream: join(wire(first, true, big[:60], -1), wire(0x89, true, big[:60], -1), wire(last, true, big[:40], -1)), left: -2},
		{name: "lengths that overflow", q: frame.Quota{MaxMessage: math.MaxUint64}, rules: frame.AllowAll,
			stream: join(wire(first, true, big[:600], -1), []byte{0x80, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4}), fault: frame.FaultSize, walked: 608, left: -1},
		{name: "unchecked, a continuation of nothing", q: frame.Quota{MaxMessage: 1000}, rules: frame.AllowAll,
			stream: join(wire(0x82, true, big[:900], -1), wire(last, true, big[:900], -1)), left: -1},
		{name: "messages and pings", q: frame.Quota{Left: 3}, stream: join(wire(0x81, true, nil, -1), wire(0x89, true, nil, -1), wire(0x8A, true, nil, -1))},
		{name: "below 0", q: frame.Quota{Left: 1}, stream: join(wire(0x81, true, nil, -1), wire(0x89, true, nil, -1), wire(0x8A, true, nil, -1)), left: -2},
		{name: "no message is left", q: frame.Quota{Left: 1, Stops: true}, stream: join(wire(0x81, true, nil, -1), wire(0x81, true, nil, -1)), fault: frame.FaultMessages, walked: 6},
		{name: "no ping is left", q: frame.Quota{Left: 1, Stops: true}, stream: join(wire(0x81, true, nil, -1), wire(0x89, true, nil, -1)), fault: frame.FaultMessages, walked: 6},
		{name: "a Close costs nothing", q: frame.Quota{Stops: true, Spent: true}, stream: wire(0x88, true, nil, -1)},
		{name: "large fragments cost nothing", q: frame.Quota{Left: 1, Stops: true}, stream: join(wire(first, true, big, -1), wire(more, true, big[:512], -1), wire(last, true, nil, -1))},
		{name: "small ones do", q: frame.Quota{Left: 2, Stops: true}, stream: join(wire(first, true, big, -1), wire(more, true, big[:511], -1), wire(more, true, nil, -1)),
			fault: frame.FaultMessages, walked: 100_014 + 519},
		{name: "no byte is left", q: frame.Quota{Left: 9, Spent: true}, stream: wire(0x81, true, nil, -1), fault: frame.FaultBytes, left: 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			for cut := range min(len(c.stream), 30) {
				q := c.q
				w := frame.Walker{Masked: true, Rules: c.rules}
				n, ev := w.WalkWithin(c.stream[:cut], 0, &q)
				if ev == frame.More {
					var m int
					m, ev = w.WalkWithin(c.stream[cut:], 0, &q)
					n += m
				}
				if w.Fault() != c.fault || (ev == frame.Broken) != (c.fault != frame.NoFault) {
					t.Fatalf("cut at %d: event %d with fault %q, want %q", cut, ev, w.Fault(), c.fault)
				}
				if c.fault == frame.NoFault && n != len(c.stream) {
					t.Fatalf("cut at %d: %d bytes of %d were walked", cut, n, len(c.stream))
				}
				if c.fault != frame.NoFault && n != max(c.walked, min(n, cut)) {
					t.Errorf("cut at %d: %d bytes were walked, want %d", cut, n, c.walked)
				}
				if w.SetFaultEnd(uint64(n)); c.fault != frame.NoFault && w.FaultOffset() != uint64(c.walked) {
					t.Errorf("cut at %d: the fault is at %d, want %d", cut, w.FaultOffset(), c.walked)
				}
				if q.Left != c.left {
					t.Errorf("cut at %d: %d are left, want %d", cut, q.Left, c.left)
				}
			}
		})
	}
}

// TestQuotaBounds: whatever comes, no message that has passed is larger than it may be,
// and no more have begun than were left. A Quota without bounds changes nothing.
func TestQuotaBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream, _ := drawStream(t, true)
		q := frame.Quota{
			MaxMessage: uint64(rapid.SampledFrom([]int{0, 1, 20, 130, 1000, 70_000}).Draw(t, "max")),
			Left:       int64(rapid.IntRange(0, 20).Draw(t, "left")), Stops: rapid.Bool().Draw(t, "stops"),
		}
		before := q
		w := frame.Walker{Masked: true}
		at, ev := 0, frame.More
		for sizes := drawSizes(t); at < len(stream) && ev == frame.More; {
			size := len(stream) - at
			if len(sizes) > 0 {
				size, sizes = min(size, sizes[0]), sizes[1:]
			}
			var n int
			n, ev = w.WalkWithin(stream[at:at+size], 0, &q)
			at += n
		}
		if q.Stops && q.Left < 0 {
			t.Fatalf("%d are left", q.Left)
		}
		// A naive count of what was passed on.
		var size, largest uint64
		begun, open := int64(0), false
		for start := uint64(0); start < uint64(at); {
			f, ok := parse(stream, start, true, open, 0)
			if !ok || f.head > uint64(at) {
				break // the last header came in pieces, and was too much
			}
			if f.op == 1 || f.op == 2 {
				size = 0
			}
			if f.op < 8 {
				size += f.end - f.head
				largest = max(largest, size)
				open = !f.fin
			}
			if f.op != 8 && (f.op != 0 || !f.fin && f.end-f.head < 512) {
				begun++
			}
			start = f.end
		}
		switch {
		case q.MaxMessage != 0 && largest > q.MaxMessage:
			t.Fatalf("a message of %d bytes passed, at most %d may", largest, q.MaxMessage)
		case begun != before.Left-q.Left:
			t.Fatalf("%d began, %d were counted", begun, before.Left-q.Left)
		case ev != frame.Broken && at != len(stream):
			t.Fatalf("%d bytes of %d were walked: event %d", at, len(stream), ev)
		case ev == frame.Broken && w.Fault() == frame.FaultMessages && (!q.Stops || q.Left != 0):
			t.Fatalf("broken with %d left", q.Left)
		}
	})
}
