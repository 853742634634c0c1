package relay

import (
	"math/big"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/session"
	"github.com/holdfast-ws/holdfast/internal/sock/eventloop"
	"github.com/holdfast-ws/holdfast/internal/wire/frame"
)

// TestBucketIsExact compares a bucket with exact fractions: it never gives a token too
// many, nor loses one, however often and with whatever debt it is used.
func TestBucketIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.OneOf(rapid.IntRange(1, 1000), rapid.IntRange(1, MaxRate), rapid.Just(MaxRate)).Draw(t, "rate")
		b := newBucket(rate)
		burst := big.NewRat(int64(rate), 1)
		want := new(big.Rat).Set(burst)
		used, passed := new(big.Rat), new(big.Rat) // of tokens, and of seconds
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			d := rapid.OneOf(rapid.Just(eventloop.Tick(0)), rapid.Map(rapid.IntRange(0, 100), func(n int) eventloop.Tick { return eventloop.Tick(n) }),
				rapid.Just(eventloop.Ticks(1<<62))).Draw(t, "ticks").Duration()
			b.refill(d)
			seconds := big.NewRat(int64(d), int64(time.Second))
			passed.Add(passed, seconds)
			if want.Add(want, seconds.Mul(seconds, burst)); want.Cmp(burst) > 0 {
				want.Set(burst)
			}
			n := int64(rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 256<<10)).Draw(t, "use"))
			if rapid.Bool().Draw(t, "keeps within it") {
				n = min(n, max(0, b.whole()))
			}
			b.use(n)
			want.Sub(want, big.NewRat(n, 1))
			used.Add(used, big.NewRat(n, 1))
			if got := big.NewRat(b.left, token); got.Cmp(want) != 0 {
				t.Fatalf("%s tokens are left, want %s", got.FloatString(9), want.FloatString(9))
			}
			if wait := b.wait(); (wait > 0) != b.empty() {
				t.Fatalf("wait %v, empty %v", wait, b.empty())
			} else if wait > 0 {
				before, after := b, b
				before.refill(wait - 1)
				after.refill(wait)
				if !before.empty() || after.empty() {
					t.Fatalf("after %v of %v a token is left: %v; then: %v", wait-1, wait, !before.empty(), !after.empty())
				}
			}
		}
		// What was used is at most the burst, and the rate times the time, and the debt.
		most := new(big.Rat).Mul(passed, burst)
		most.Add(most, burst)
		if debt := big.NewRat(b.left, token); debt.Sign() < 0 {
			most.Sub(most, debt)
		}
		if used.Cmp(most) > 0 {
			t.Fatalf("%s tokens were used, of %s", used.FloatString(3), most.FloatString(3))
		}
	})
}

// TestNoBound: without a rate there is never a wait.
func TestNoBound(t *testing.T) {
	b := newBucket(0)
	b.use(1 << 40)
	b.refill(time.Hour)
	if b.empty() || b.wait() != 0 || b.whole() < 1<<40 || b.left != 0 {
		t.Errorf("%+v is empty", b)
	}
}

func TestAllowance(t *testing.T) {
	inPayload := func(n int) *frame.Walker {
		w := &frame.Walker{Masked: true}
		head := []byte{0x82, 0xFF, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 1, 2, 3, 4}
		w.Walk(head, 0)
		return w
	}
	const most = 64 << 10
	for _, c := range []struct {
		name   string
		limits Limits
		used   int64 // messages
		bytes  int64
		w      *frame.Walker
		want   int
	}{
		{"only the size", Limits{MaxMessage: 1}, 0, 0, &frame.Walker{}, most},
		{"messages", Limits{MessagesPerSecond: 20}, 0, 0, &frame.Walker{}, 20 * usualMessage},
		{"many messages", Limits{MessagesPerSecond: 1000}, 0, 0, &frame.Walker{}, pacedRead},
		{"one message", Limits{MessagesPerSecond: 20}, 19, 0, &frame.Walker{}, smallRead},
		{"a debt", Limits{MessagesPerSecond: 20}, 100, 0, &frame.Walker{}, smallRead},
		{"in a payload", Limits{MessagesPerSecond: 20}, 20, 0, inPayload(70_000), most},
		{"near its end", Limits{MessagesPerSecond: 20}, 20, 0, inPayload(3000 + 66_000), most},
		{"bytes", Limits{BytesPerSecond: 1000}, 0, 1, &frame.Walker{}, 999},
		{"both", Limits{BytesPerSecond: 1000, MessagesPerSecond: 1000}, 0, 400, &frame.Walker{}, 600},
		{"closed for messages", Limits{MessagesPerSecond: 20, CloseOnExcess: true}, 20, 0, &frame.Walker{}, most},
		{"closed for bytes", Limits{BytesPerSecond: 1000, CloseOnExcess: true}, 0, 1000, &frame.Walker{}, pacedRead},
	} {
		b := newBudget(c.limits, 5)
		b.begin(5)
		b.quota.Left -= c.used
		b.end(c.bytes)
		if got := b.allowance(c.w, most, 5); got != c.want {
			t.Errorf("%s: %d bytes may be read, want %d", c.name, got, c.want)
		}
	}
	b := newBudget(Limits{MessagesPerSecond: 2}, 0)
	b.begin(0)
	b.quota.Left -= 3
	b.end(0)
	if w := b.wait(&frame.Walker{}); w != time.Second {
		t.Errorf("with a debt of 1 it takes %v until there is a token, want 1s", w)
	}
	if w := b.wait(inPayload(70_000)); w != 0 {
		t.Errorf("the rest of a message waits %v", w)
	}
}

// A budget is plain data, as a record is, and costs little.
func TestBudgetIsPlain(t *testing.T) {
	if size := reflect.TypeFor[budget]().Size(); size > 80 {
		t.Errorf("a budget takes %d bytes", size)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[frame.Quota](), reflect.TypeFor[bucket]()} {
		for i := range typ.NumField() {
			if kind := typ.Field(i).Type.Kind(); kind > reflect.Uint64 {
				t.Errorf("%s.%s is a %s", typ, typ.Field(i).Name, kind)
			}
		}
	}
}

// TestThrottledIsNeitherIdleNorSilent: a client that isn't read can't show that it is
// there.
func TestThrottledIsNeitherIdleNorSilent(t *testing.T) {
	limits := Limits{Idle: time.Minute, KeepaliveInterval: 10 * time.Second, KeepaliveTimeout: 10 * time.Second, MessagesPerSecond: 1}
	times := DefaultTimes.ticks().forDriver()
	for _, throttled := range []bool{false, true} {
		r := newRecord(&Start{Limits: limits}, 1, times.sets)
		if r.marks&(isLimited|countsBytes) != isLimited {
			t.Fatalf("marks %b", r.marks)
		}
		if throttled {
			r.marks |= isThrottled
		}
		c, b := &r.sides[session.Client], &r.sides[session.Backend]
		for now := eventloop.Tick(1); now < eventloop.Ticks(3*time.Minute) && r.cause == session.None; now++ {
			b.lastIn = now // the backend sends nothing but pongs
			if throttled {
				b.lastIn = 1
				b.pingAt = now
			}
			r.expired(now, times, func(session.Side) bool { return false })
			r.inject(session.Client, now, nil, nil)
		}
		want := session.ClientSilent
		if throttled {
			want = session.None
		}
		if r.cause != want || throttled && c.flags&(wantPing|isPinged) != 0 {
			t.Errorf("throttled %v: ended with %s", throttled, r.cause)
		}
	}
}

// BenchmarkLimits is what a message of 64 bytes costs the record, without limits and with
// each kind of them.
func BenchmarkLimits(b *testing.B) {
	p := make([]byte, 2+4+64)
	p[0], p[1] = 0x82, 0x80|64
	for _, c := range []struct {
		name   string
		limits Limits
	}{
		{"none", Limits{}},
		{"max_message", Limits{MaxMessage: 1 << 20}},
		{"rates", Limits{MaxMessage: 1 << 20, MessagesPerSecond: MaxRate, BytesPerSecond: MaxRate}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRecord(&Start{Limits: c.limits}, 1, &timeoutSets{})
			budget := newBudget(c.limits, 1)
			var scratch []byte
			b.ReportAllocs()
			for b.Loop() {
				if r.marks&isLimited == 0 {
					r.pass(session.Client, p, 1, &scratch, nil, nil)
					continue
				}
				r.pass(session.Client, p, 1, &scratch, nil, budget.begin(1))
				budget.end(0) // or its tokens would run out
				budget.messages.left = budget.messages.rate * token
				budget.wait(&r.sides[session.Client].walker)
			}
		})
	}
}
