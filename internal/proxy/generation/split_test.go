package generation

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/route"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// splitting is a generation with one route, which is split among pools by weights.
func splitting(pools []*Pool, weights ...int) (*Generation, *route.Rule) {
	g := &Generation{Pools: map[string]*Pool{}, Policies: make([]Policy, len(weights)+1)}
	var parts []SplitPart
	for i, w := range weights {
		name := ""
		if pools[i] != nil {
			name = fmt.Sprintf("p%d", i)
			g.Pools[name] = pools[i]
		}
		parts = append(parts, SplitPart{Rule: &route.Rule{Pool: name, Label: "r", Index: i + 1}, Weight: w})
	}
	g.Policies[0].Split = NewSplit(parts)
	return g, &route.Rule{Label: "r"}
}

// TestSplitByWeight: in any run of requests, each part has its share up to a few requests,
// also in every second or third of them.
func TestSplitByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 2, 5, 10, 90, 1000000}), 0, 4).Draw(t, "weights")
		weights = append(weights, rapid.IntRange(1, 100).Draw(t, "the last weight"))
		total := 0
		for _, w := range weights {
			total += w
		}
		step := rapid.SampledFrom([]int{1, 2, 3}).Draw(t, "step")
		g, rule := splitting(make([]*Pool, len(weights)), weights...)
		const n = 1000
		counts := make([]int, len(weights))
		for i := range n * step {
			part := g.Choose(rule, asked{})
			if i%step == 0 {
				counts[part.Index-1]++
			}
		}
		for i, w := range weights {
			share := float64(n) * float64(w) / float64(total)
			if math.Abs(float64(counts[i])-share) > 20 || w == 0 && counts[i] > 0 {
				t.Fatalf("part %d of the weights %v got %d of %d requests (every %d)", i, weights, counts[i], n, step)
			}
		}
	})
}

// TestSplitKeepsClients: a client whose cookie names a member of a pool, or of which a key
// was learned there, stays in it, also if that pool gets nobody else.
func TestSplitKeepsClients(t *testing.T) {
	cookie := func(of string) *Pool {
		members := newMembers(t)
		return &Pool{Picker: newPicker(t, balance.Options{}, members), Cookie: affinity.NewTable(affinity.Cookie{Name: "h", Path: "/", SameSite: "Lax", Secret: "0123456789abcdef"}, of, []string{"a", "b", "c"})}
	}
	one, two := cookie("one"), cookie("two")
	g, rule := splitting([]*Pool{one, two}, 0, 1)
	value := func(p *Pool) asked {
		set := string(p.Cookie.AppendSetCookie(nil, 1, false))
		for i := range set {
			if set[i] == ';' {
				return bearing("cookie", set[:i])
			}
		}
		panic(set)
	}
	for range 20 {
		if got := g.Choose(rule, value(one)).Pool; got != "p0" {
			t.Errorf("a client of the first pool is sent to %s", got)
		}
		if got := g.Choose(rule, value(two)).Pool; got != "p1" {
			t.Errorf("a client of the second pool is sent to %s", got)
		}
		if got := g.Choose(rule, bearing("cookie", "h=nonsense")).Pool; got != "p1" {
			t.Errorf("a new client is sent to %s, which has no weight", got)
		}
	}

	learned := newLearning(t, newMembers(t), []string{"header:x-key"}, nil)
	g, rule = splitting([]*Pool{learned, two}, 0, 1)
	if got := g.Choose(rule, bearing("x-key", "k")).Pool; got != "p1" {
		t.Errorf("a client that isn't known is sent to %s", got)
	}
	if _, _, _, err := learned.take(bearing("x-key", "k"), balance.Tried{}); err != nil {
		t.Fatal(err)
	}
	if got := g.Choose(rule, bearing("x-key", "k")).Pool; got != "p0" {
		t.Errorf("a client that is known in the first pool is sent to %s", got)
	}
}

// TestSplitByKey: all requests with one value of the key get one pool, each pool its share
// of the values, and with other weights only as many change the pool as must.
func TestSplitByKey(t *testing.T) {
	for name, make := range map[string]func(members []pool.Member) *Pool{
		"token": func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{}, m), Token: parse(t, requestkey.ParseToken, "header:x-key")}
		},
		"hash": func(m []pool.Member) *Pool {
			return &Pool{Picker: newPicker(t, balance.Options{Algorithm: "hash"}, m), Key: parse(t, requestkey.Parse, "header:x-key")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			pools := []*Pool{make(newMembers(t)), make(newMembers(t))}
			before, rule := splitting(pools, 80, 20)
			after, _ := splitting(pools, 70, 30)
			const n = 2000
			second, changed := 0, 0
			homes := map[string]int{} // members that the keys of the second pool have there
			for i := range n {
				r := bearing("x-key", fmt.Sprint("room-", i))
				is := before.Choose(rule, r).Pool
				if again := before.Choose(rule, r).Pool; again != is {
					t.Fatalf("%s, and then %s", is, again)
				}
				if is == "p1" {
					second++
					key, _ := pools[1].keyOf(r)
					homes[fmt.Sprint(pools[1].Picker.Owner(key))]++
				}
				if after.Choose(rule, r).Pool != is {
					changed++
					if is == "p1" {
						t.Errorf("a key leaves a pool that gets more")
					}
				}
			}
			if second < n/5-80 || second > n/5+80 || changed < n/10-80 || changed > n/10+80 {
				t.Errorf("%d of %d keys are in the second pool, want a fifth; %d change it, want a tenth", second, n, changed)
			}
			if len(homes) != 3 {
				t.Errorf("the keys of the second pool are with %v, want all three members", homes)
			}
			if before.Choose(rule, asked{ip: netip.MustParseAddr("192.0.2.1")}) == nil {
				t.Error("a request without a key gets no pool")
			}
		})
	}
}

// TestPartOf: a session, or a handshake that has waited, goes on in the pool that it has.
func TestPartOf(t *testing.T) {
	members := newMembers(t)
	p := &Pool{Picker: newPicker(t, balance.Options{}, members)}
	g, rule := splitting([]*Pool{nil, p}, 1, 0)
	for _, tt := range []struct {
		what string
		got  *route.Rule
		want int
	}{
		{"a pool of the split", g.PartOf(rule, "p1"), 2},
		{"another pool", g.PartOf(rule, "other"), 0},
		{"no pool", g.PartOf(rule, ""), 0},
		{"a backend of a pool", g.PartWith(rule, []uint32{members[1].Backend.ID}), 2},
		{"another backend", g.PartWith(rule, []uint32{1 << 30}), 0},
		{"no backend", g.PartWith(rule, nil), 0},
	} {
		if tt.got.Index != tt.want {
			t.Errorf("%s: rule %d, want %d", tt.what, tt.got.Index, tt.want)
		}
	}
}
