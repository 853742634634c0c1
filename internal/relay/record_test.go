package relay

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-ws/holdfast/internal/eventloop"
	"github.com/holdfast-ws/holdfast/internal/session"
)

// TestRecordIsPlain: a record has no pointers, or the collector would look at
// every session, and none could be handed to another process; and it is what
// an idle session costs.
func TestRecordIsPlain(t *testing.T) {
	if size := unsafe.Sizeof(record{}); size != 232 {
		t.Errorf("a record takes %d bytes, want 232", size)
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
		r := newRecord(&Start{Info: i}, 100)
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

// TestPongsOwed: as many pongs are swallowed as pings were sent.
func TestPongsOwed(t *testing.T) {
	r := newRecord(&Start{}, 10)
	pong := func() bool {
		p := wire(session.Client, 0x8A, binary.BigEndian.AppendUint64(nil, r.nonce(session.Client)))
		var scratch []byte
		return len(r.pass(session.Client, p, 10, &scratch, nil)) == 0
	}
	for pings := 1; pings < 4; pings++ {
		if pong() {
			t.Error("a pong was swallowed that nobody asked for")
		}
		for range pings {
			r.half[session.Client].flags |= wantPing
			r.inject(session.Client, 10, nil, nil)
		}
		for i := range pings {
			if !pong() {
				t.Errorf("pong %d of %d was passed on", i+1, pings)
			}
		}
	}
}

// TestPingAfterLateAnswer: an answer that comes after more than the interval,
// and within the timeout, puts the next ping off by no more than that.
func TestPingAfterLateAnswer(t *testing.T) {
	const late = 25
	r := newRecord(&Start{Limits: Limits{KeepaliveInterval: eventloop.Tick(10).Duration(), KeepaliveTimeout: eventloop.Tick(200).Duration()}}, 10)
	var pings []eventloop.Tick
	for now := eventloop.Tick(10); len(pings) < 2; {
		if now = r.due(now, testTicks); now > 100 {
			t.Fatalf("pings at %d, and then none until %d", pings, now)
		}
		if c := &r.half[session.Client]; len(pings) == 1 && now > pings[0]+late {
			c.lastIn = pings[0] + late
		}
		r.half[session.Backend].lastIn = now
		r.expired(now, testTicks, func(session.Side) bool { return false })
		if len(r.inject(session.Client, now, nil, nil)) > 0 {
			pings = append(pings, now)
		}
	}
	if d := pings[1] - pings[0]; d < late+10 || d > late+20 {
		t.Errorf("%d ticks between two pings", d)
	}
}

// TestReasons: each Close of ours says something a person can read, in the
// room there is, and no two the same.
func TestReasons(t *testing.T) {
	seen := map[string]Reason{}
	for r := NoReason + 1; r <= Uneven; r++ {
		s := r.String()
		if other, twice := seen[s]; s == "" || len(s) > 123 || twice {
			t.Errorf("reason %d is %q, %d too", r, s, other)
		}
		seen[s] = r
	}
	if NoReason.String() != "" || (Uneven+1).String() != "" {
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
			numbers = append(numbers, b.keep(big[:n]))
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
		if len(b.kept) != len(sizes) || len(b.free) != len(sizes) || len(b.pool) > poolSize {
			t.Fatalf("round %d: %d kept, %d free, %d pooled", round, len(b.kept), len(b.free), len(b.pool))
		}
	}
}
