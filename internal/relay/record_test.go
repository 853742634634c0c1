package relay

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
)

// A record has no pointers: otherwise the garbage collector would scan every session,
// and none could be handed to another process. Its size is the cost of an idle
// session.
func TestRecordIsPlain(t *testing.T) {
	if size := unsafe.Sizeof(record{}); size != 224 {
		t.Errorf("a record takes %d bytes, want 224", size)
	}
	var plain func(path string, typ reflect.Type)
	plain = func(path string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Struct:
			for i := range typ.NumField() {
				plain(path+"."+typ.Field(i).Name, typ.Field(i).Type)
			}
		case reflect.Array:
			plain(path+"[]", typ.Elem())
		case reflect.Bool, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
			reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		default:
			t.Errorf("%s is a %s: neither plain nor of one size everywhere", path, typ)
		}
	}
	plain("record", reflect.TypeFor[record]())
}

func TestRecordKeepsInfo(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:80", "[2001:db8::1]:65535", "[::1]:1"} {
		i := session.Info{ID: session.NewID(), Client: mustAddr(addr), Backend: 1 << 31, Route: 3, Started: time.Now()}
		r := newRecord(&Start{Info: i}, 100, testTicks.sets)
		got := r.info()
		if !got.Started.Equal(i.Started) {
			t.Errorf("started %v, want %v", got.Started, i.Started)
		}
		got.Started = i.Started
		if got != i {
			t.Errorf("info %+v, want %+v", got, i)
		}
	}
}

// As many pongs are removed as pings were sent.
func TestPongsOwed(t *testing.T) {
	r := newRecord(&Start{}, 10, testTicks.sets)
	pong := func() bool {
		p := wire(session.Client, 0x8A, binary.BigEndian.AppendUint64(nil, r.nonce(session.Client)))
		var scratch []byte
		return len(r.pass(session.Client, p, 10, &scratch, nil, nil)) == 0
	}
	for pings := 1; pings < 4; pings++ {
		if pong() {
			t.Error("a pong without a ping of ours was removed")
		}
		for range pings {
			r.sides[session.Client].flags |= wantPing
			r.inject(session.Client, 10, nil, nil)
		}
		for i := range pings {
			if !pong() {
				t.Errorf("pong %d of %d was passed on", i+1, pings)
			}
		}
	}
}

// An answer that comes after the interval but before the timeout delays the next ping
// by at most the interval.
func TestPingAfterLateAnswer(t *testing.T) {
	const late = 25
	r := newRecord(&Start{Limits: Limits{KeepaliveInterval: eventloop.Tick(10).Duration(), KeepaliveTimeout: eventloop.Tick(200).Duration()}}, 10, testTicks.sets)
	var pings []eventloop.Tick
	for now := eventloop.Tick(10); len(pings) < 2; {
		if now = r.due(now, testTicks); now > 100 {
			t.Fatalf("pings at %d, and then none until %d", pings, now)
		}
		if c := &r.sides[session.Client]; len(pings) == 1 && now > pings[0]+late {
			c.lastIn = pings[0] + late
		}
		r.sides[session.Backend].lastIn = now
		r.expired(now, testTicks, func(session.Side) bool { return false })
		if len(r.inject(session.Client, now, nil, nil)) > 0 {
			pings = append(pings, now)
		}
	}
	if d := pings[1] - pings[0]; d < late+10 || d > late+20 {
		t.Errorf("%d ticks between two pings", d)
	}
}

// A side from which nothing comes is pinged after the interval, and lost when the
// timeout has passed since: not a tick earlier.
func TestSilentAfterTimeout(t *testing.T) {
	const began, interval, timeout = eventloop.Tick(10), eventloop.Tick(20), eventloop.Tick(45)
	r := newRecord(&Start{Limits: Limits{KeepaliveInterval: interval.Duration(), KeepaliveTimeout: timeout.Duration()}}, began, testTicks.sets)
	pinged := eventloop.Never
	for now := began; r.cause == session.None; now++ {
		if now > began+interval+timeout {
			t.Fatalf("the session has not ended after %d ticks", now-began)
		}
		r.sides[session.Backend].lastIn = now
		due := r.due(now, testTicks)
		r.expired(now, testTicks, func(session.Side) bool { return false })
		if len(r.inject(session.Client, now, nil, nil)) > 0 {
			pinged = min(pinged, now)
		}
		if r.cause != session.None && (r.cause != session.ClientSilent || pinged != began+interval || now != pinged+timeout || due > now) {
			t.Errorf("%v: pinged after %d ticks, ended after %d (due at %d)", r.cause, pinged-began, now-began, due-began)
		}
	}
}

// Each reason has a readable text that fits in a Close frame, and no two are equal.
func TestReasons(t *testing.T) {
	seen := map[string]Reason{}
	for r := NoReason + 1; r <= BackendSlow; r++ {
		s := r.String()
		if other, twice := seen[s]; s == "" || len(s) > 123 || twice {
			t.Errorf("reason %d is %q, %d too", r, s, other)
		}
		seen[s] = r
	}
	if NoReason.String() != "" || (BackendSlow+1).String() != "" {
		t.Error("reasons that are none say something")
	}
}

func TestBacklog(t *testing.T) {
	var b backlog
	big := make([]byte, 3*keepSize)
	for i := range big {
		big[i] = byte(i * 7)
	}
	for round := range 3 {
		var numbers []int32
		sizes := []int{1, keepSmall, keepSmall + 1, keepSize, 2 * keepSize}
		for _, n := range sizes {
			numbers = append(numbers, b.keep(big[:n], turn{slot: int32(n)}, eventloop.Tick(n)))
		}
		for i := range sizes { // the order is that of time, whichever is dropped
			if to, ok := b.longest(); !ok || int(to.slot) != sizes[0] || b.since(numbers[i]) != eventloop.Tick(sizes[i]) {
				t.Fatalf("round %d: number %d has waited the longest, want %d", round, to.slot, sizes[0])
			}
		}
		for i, n := range numbers {
			size := sizes[i]
			if n <= 0 {
				t.Fatalf("number %d: 0 means none", n)
			}
			b.add(n, big[size:size+10])
			var got []byte
			for done := false; !done; {
				p := b.bytes(n)
				k := min(len(p), 1+len(p)/2)
				got = append(got, p[:k]...)
				done = b.sent(n, k)
			}
			if string(got) != string(big[:size+10]) {
				t.Fatalf("round %d: what was kept as %d has changed", round, n)
			}
			b.drop(n)
		}
		if _, some := b.longest(); some || b.size != 0 {
			t.Fatalf("round %d: %d bytes are left", round, b.size)
		}
		if len(b.kept) != len(sizes) || len(b.free) != len(sizes) || len(b.pool) > poolSize {
			t.Fatalf("round %d: %d kept, %d free, %d pooled", round, len(b.kept), len(b.free), len(b.pool))
		}
	}
}
