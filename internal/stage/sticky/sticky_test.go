package sticky

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hand is a Clock that is turned by hand.
type hand struct {
	clock.System
	at time.Time
}

func (h *hand) Now() time.Time { return h.at }

func key(n int) (k Key) {
	copy(k[:], fmt.Sprint(n))
	return k
}

func (t *Table) find(k Key) (Home, bool) {
	t.Lock()
	defer t.Unlock()
	return t.Find(k)
}

func (t *Table) set(k Key, h Home) {
	t.Lock()
	defer t.Unlock()
	t.Set(k, h)
}

// known is a key in the model of TestTable.
type known struct {
	key  int
	home Home
	used time.Time
}

// A table is a list of keys by their last use, from which the oldest is dropped.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &hand{at: time.Unix(1e9, 0)}
		tables := New(c)
		o := Options{Max: rapid.IntRange(1, 8).Draw(t, "max"), Expire: 10 * time.Second}
		table := tables.Configure("chat", o)
		var model []known // the most recently used first
		learned, expired, evicted := uint64(0), uint64(0), uint64(0)
		cut := func(most int) {
			for len(model) > most {
				last := len(model) - 1
				if c.at.Sub(model[last].used) >= o.Expire {
					expired++
				} else {
					evicted++
				}
				model = model[:last]
			}
		}
		take := func(k int) (known, bool) {
			for i, e := range model {
				if e.key == k {
					model = append(model[:i:i], model[i+1:]...)
					return e, true
				}
			}
			return known{}, false
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			k := rapid.IntRange(0, 12).Draw(t, "key")
			switch rapid.SampledFrom([]string{"find", "find", "set", "set", "set", "wait", "stats", "reload"}).Draw(t, "what") {
			case "find":
				e, ok := take(k)
				if ok && c.at.Sub(e.used) >= o.Expire {
					ok = false
					expired++
				}
				if h, found := table.find(key(k)); found != ok || ok && h != e.home {
					t.Fatalf("key %d: %v, %v; want %+v, %v", k, h, found, e, ok)
				}
				if ok {
					e.used = c.at
					model = append([]known{e}, model...)
				}
			case "set":
				h := Home(rapid.IntRange(1, 3).Draw(t, "home"))
				if _, ok := take(k); !ok {
					learned++
					for range 2 {
						if last := len(model) - 1; last >= 0 && c.at.Sub(model[last].used) >= o.Expire {
							cut(last)
						}
					}
					cut(o.Max - 1)
				}
				model = append([]known{{k, h, c.at}}, model...)
				table.set(key(k), h)
			case "wait":
				c.at = c.at.Add(time.Duration(rapid.IntRange(0, 6).Draw(t, "seconds")) * time.Second)
			case "stats":
				for i := len(model) - 1; i >= 0 && c.at.Sub(model[i].used) >= o.Expire; i-- {
					cut(i)
				}
				want := Stats{len(model), learned, expired, evicted}
				// Find may have counted a key as expired that the model evicts later, and
				// the other way round: which of the two doesn't matter, but their sum does.
				got := tables.Stats()["chat"]
				if got.Keys != want.Keys || got.Learned != want.Learned || got.Expired+got.Evicted != want.Expired+want.Evicted {
					t.Fatalf("%+v, want %+v", got, want)
				}
			case "reload":
				o.Max = rapid.IntRange(1, 8).Draw(t, "max")
				cut(o.Max)
				if again := tables.Configure("chat", o); again != table {
					t.Fatal("another table")
				}
			}
			table.check(t, o.Max)
		}
	})
}

// check checks the list and the free slots.
func (t *Table) check(fatal interface{ Fatalf(string, ...any) }, max int) {
	t.Lock()
	defer t.Unlock()
	n, before := 0, none
	for s := t.newest; s != none; s = t.at(s).next {
		if t.at(s).prev != before || t.index[t.at(s).key] != s {
			fatal.Fatalf("the list is broken at %d", s)
		}
		n, before = n+1, s
	}
	free := 0
	for s := t.free; s != none; s = t.at(s).next {
		free++
	}
	if t.oldest != before || n != len(t.index) || n > max || n+free != t.used {
		fatal.Fatalf("%d keys in the list, %d in the index, %d free, %d used", n, len(t.index), free, t.used)
	}
}

// Someone who makes up keys pushes out others only in the order of their last use: a key
// that is used again before as many others as the table has room for stays.
func TestFloodOfKeys(t *testing.T) {
	const most = 1000
	table := New(nil).Configure("chat", Options{Max: most, Expire: time.Hour})
	table.set(key(-1), 7)
	for n := range 50 * most {
		table.set(key(n), 1)
		if n%(most-1) == 0 {
			if h, ok := table.find(key(-1)); !ok || h != 7 {
				t.Fatalf("a key that is used was pushed out after %d others", n)
			}
		}
	}
	if s := table.stats(); s.Keys != most || s.Evicted != 50*most+1-most {
		t.Errorf("%+v", s)
	}
}

func TestKeys(t *testing.T) {
	a, b := New(nil).Configure("a", Options{1, time.Hour}), New(nil).Configure("a", Options{1, time.Hour})
	text := a.KeyOf([]byte("abcd"), false)
	for what, other := range map[string]Key{
		"another process": b.KeyOf([]byte("abcd"), false), "an address": a.KeyOf([]byte("abcd"), true), "another value": a.KeyOf([]byte("abc"), false), "nothing": a.KeyOf(nil, false),
	} {
		if other == text {
			t.Errorf("%s has the same key", what)
		}
	}
	if a.KeyOf([]byte("abcd"), false) != text {
		t.Error("the same value has another key")
	}
	long := make([]byte, 10_000)
	before := a.KeyOf(long, false)
	if long[9_999] = 1; a.KeyOf(long, false) == before {
		t.Error("the end of a long value doesn't count")
	}
	if n := testing.AllocsPerRun(100, func() { a.KeyOf([]byte("0123456789abcdef0123456789abcdef"), false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The tables of pools that are gone are forgotten; the others stay.
func TestKeep(t *testing.T) {
	tables := New(nil)
	a, b := tables.Configure("a", Options{9, time.Hour}), tables.Configure("b", Options{9, time.Hour})
	a.set(key(1), 1)
	tables.Keep(func(pool string) bool { return pool == "a" })
	if tables.Configure("a", Options{9, time.Hour}) != a || tables.Configure("b", Options{9, time.Hour}) == b {
		t.Error("not the tables that are to stay")
	}
}

func TestConcurrentUse(t *testing.T) {
	tables := New(nil)
	table := tables.Configure("chat", Options{100, time.Hour})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 2000 {
				table.Lock()
				if _, ok := table.Find(key(n % 300)); !ok {
					table.Set(key(n%300), Home(n))
				}
				table.Unlock()
				if n%100 == 0 {
					tables.Configure("chat", Options{50 + n%100, time.Hour})
					tables.Stats()
				}
			}
		})
	}
	wg.Wait()
	table.check(t, 150)
}

// TestMemory: docs/config.md says how much a key needs.
func TestMemory(t *testing.T) {
	const keys = 300_000
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	table := New(nil).Configure("chat", Options{keys, time.Hour})
	for n := range 2 * keys {
		table.set(table.KeyOf(fmt.Append(nil, n), false), Home(n))
	}
	each := float64(inUse()-before) / keys
	runtime.KeepAlive(table)
	t.Logf("%.0f bytes for each key", each)
	if each > 150 {
		t.Errorf("a key takes %.0f bytes, which is more than documented", each)
	}
}

func BenchmarkFind(b *testing.B) {
	table := New(nil).Configure("chat", Options{100_000, time.Hour})
	for n := range 100_000 {
		table.set(table.KeyOf(fmt.Append(nil, n), false), Home(n))
	}
	value := []byte("54321")
	b.ReportAllocs()
	for b.Loop() {
		table.find(table.KeyOf(value, false))
	}
}
