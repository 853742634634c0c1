package generation

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/affinity"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// asked is a request that has only header fields and an address.
type asked struct {
	header map[string]string
	ip     netip.Addr
}

func (a asked) ClientIP() netip.Addr { return a.ip }
func (a asked) Path() []byte         { return []byte("/ws") }
func (a asked) Query() []byte        { return nil }
func (a asked) Claim(name string) (string, bool) {
	value, ok := a.header["jwt:"+name]
	return value, ok
}
func (a asked) Header(name string, i int) ([]byte, bool) {
	value, ok := a.header[name]
	return []byte(value), ok && i == 0
}

func bearing(name, value string) asked { return asked{header: map[string]string{name: value}} }

// newMembers are three backends, a, b and c, of a pool with checks that ejects at
// the first failure.
func newMembers(t *testing.T) []pool.Member {
	t.Helper()
	registry := pool.New(pool.Options{})
	t.Cleanup(registry.Close)
	spec := pool.Spec{Name: "chat", MaxFails: 1, FailTimeout: 1 << 40, Checked: true}
	for i, name := range []string{"a", "b", "c"} {
		spec.Backends = append(spec.Backends, pool.BackendSpec{Name: name, Address: fmt.Sprintf("127.0.0.1:%d", i+1), MaxSessions: 5})
	}
	pools, _ := registry.Apply([]pool.Spec{spec})
	return pools["chat"].Members
}

func newPicker(t *testing.T, o balance.Options, members []pool.Member) balance.Picker {
	t.Helper()
	p, err := balance.New(o, members)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t *testing.T, one func(string) (requestkey.Part, error), words ...string) (list []requestkey.Part) {
	t.Helper()
	for _, w := range words {
		p, err := one(w)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func fill(b *pool.Backend) {
	for b.TryAcquire() {
	}
}

func leases(members []pool.Member) (n int) {
	for _, m := range members {
		n += m.Backend.Sessions()
	}
	return n
}

// Possible states of a client's own backend.
var fates = []struct {
	name   string
	strike func(*pool.Backend)
}{
	{"down", func(b *pool.Backend) { b.SetOperational(pool.Down, "test") }},
	{"warming", func(b *pool.Backend) { b.SetOperational(pool.Warming, "test") }},
	{"draining", func(b *pool.Backend) { b.SetOperational(pool.Draining, "test") }},
	{"in drain", func(b *pool.Backend) { b.SetAdmin(pool.Drain, "test") }},
	{"in maintenance", func(b *pool.Backend) { b.SetAdmin(pool.Maint, "test") }},
	{"ejected", func(b *pool.Backend) { b.ConnectFailed("test") }},
	{"full", fill},
}

// wantTake takes a backend and checks the result: member is an index, or -1 for any
// that isn't own. After an error no lease may be held.
func wantTake(t *testing.T, p *Pool, r requestkey.Request, tried balance.Tried, own, member, marked int, result string, wantErr error) {
	t.Helper()
	members := p.Picker.Members()
	before := leases(members)
	c, gotMarked, gotResult, err := p.take(r, tried)
	if gotResult != result || gotMarked != marked || !errors.Is(err, wantErr) {
		t.Errorf("marked %d, %q, %v; want %d, %q, %v", gotMarked, gotResult, err, marked, result, wantErr)
	}
	out := 0
	if err == nil {
		out = 1
		switch {
		case c.Backend != members[c.Index].Backend:
			t.Errorf("the choice of member %d is the backend %s", c.Index, c.Backend.Name)
		case member >= 0 && c.Index != member, member < 0 && c.Index == own, tried.Has(c.Index):
			t.Errorf("member %d was chosen, want %d (its own is %d)", c.Index, member, own)
		}
		if addr, _ := c.Backend.Addr(); c.Addr != addr {
			t.Errorf("the address is %v, want %v", c.Addr, addr)
		}
	}
	if got := leases(members) - before; got != out {
		t.Errorf("%d leases were taken, want %d", got, out)
	}
	if err == nil {
		c.Backend.Release()
	}
}

func TestTakeByCookie(t *testing.T) {
	const secret = "0123456789abcdef"
	cookie := affinity.Cookie{Name: "holdfast", Secret: secret}
	value := func(c affinity.Cookie, name string) asked {
		pair, _, _ := strings.Cut(string(affinity.NewTable(c, "chat", []string{name}).AppendSetCookie(nil, 0, false)), ";")
		return bearing("cookie", "x=y; "+pair)
	}
	start := func(t *testing.T, minHealthy int, refuse bool) (*Pool, []pool.Member) {
		members := newMembers(t)
		return &Pool{
			Picker: newPicker(t, balance.Options{MinHealthy: minHealthy}, members),
			Cookie: affinity.NewTable(cookie, "chat", []string{"a", "b", "c"}), Refuse: refuse,
		}, members
	}
	const own = 1
	ofOwn := value(cookie, "b")
	var tried balance.Tried
	tried.Add(own)

	for _, refuse := range []bool{false, true} {
		// With refuse, it is refused rather than moved.
		away, awayErr := AffinityMoved, error(nil)
		if refuse {
			away, awayErr = AffinityRefused, ErrAffinity
		}
		t.Run(fmt.Sprintf("refuse %v", refuse), func(t *testing.T) {
			p, members := start(t, 0, refuse)
			for range 4 {
				wantTake(t, p, asked{}, balance.Tried{}, -1, -1, -1, AffinityNew, nil)
				wantTake(t, p, ofOwn, balance.Tried{}, own, own, own, AffinityKept, nil)
				wantTake(t, p, ofOwn, tried, own, -1, own, away, awayErr)
				wantTake(t, p, value(cookie, "left"), balance.Tried{}, -1, -1, -1, AffinityGone, nil)
				wantTake(t, p, value(affinity.Cookie{Name: "holdfast", Secret: secret + "x"}, "b"), balance.Tried{}, -1, -1, -1, AffinityTampered, nil)
			}
			// If no backend is left there is no choice, whatever the client has.
			for _, m := range members {
				fill(m.Backend)
			}
			wantTake(t, p, asked{}, balance.Tried{}, -1, -1, -1, AffinityNew, balance.ErrFull)
			if !refuse {
				awayErr = balance.ErrFull
			}
			wantTake(t, p, ofOwn, balance.Tried{}, own, -1, own, away, awayErr)
			for _, m := range members {
				m.Backend.SetOperational(pool.Down, "test")
			}
			wantTake(t, p, value(cookie, "left"), balance.Tried{}, -1, -1, -1, AffinityGone, balance.ErrNoBackend)
			if !refuse {
				awayErr = balance.ErrNoBackend
			}
			wantTake(t, p, ofOwn, balance.Tried{}, own, -1, own, away, awayErr)
		})
		for _, fate := range fates {
			t.Run(fmt.Sprintf("refuse %v/%s", refuse, fate.name), func(t *testing.T) {
				p, members := start(t, 0, refuse)
				fate.strike(members[own].Backend)
				var awayErr error
				if refuse {
					awayErr = ErrAffinity
				}
				for range 4 {
					wantTake(t, p, ofOwn, balance.Tried{}, own, -1, own, away, awayErr)
					wantTake(t, p, asked{}, balance.Tried{}, own, -1, -1, AffinityNew, nil)
				}
			})
		}
	}
	t.Run("health is not believed", func(t *testing.T) {
		p, members := start(t, 3, true)
		members[own].Backend.SetOperational(pool.Down, "test")
		wantTake(t, p, ofOwn, balance.Tried{}, own, own, own, AffinityKept, nil)
	})
	t.Run("all are ejected", func(t *testing.T) {
		p, members := start(t, 0, true)
		for _, m := range members {
			m.Backend.ConnectFailed("test")
		}
		wantTake(t, p, ofOwn, balance.Tried{}, own, own, own, AffinityKept, nil)
	})
}

func TestTakeByToken(t *testing.T) {
	start := func(t *testing.T, refuse bool) (*Pool, []pool.Member) {
		members := newMembers(t)
		return &Pool{
			Picker: newPicker(t, balance.Options{}, members),
			Token:  parse(t, requestkey.ParseToken, "header:X-Session", "cookie:sid"),
			Tokens: newPicker(t, balance.Options{Algorithm: "hash"}, members), Refuse: refuse,
		}, members
	}
	token := func(i int) asked { return bearing("x-session", fmt.Sprint("token-", i)) }
	homes := func(t *testing.T, p *Pool) (list []int) {
		for i := range 30 {
			c, _, _, err := p.take(token(i), balance.Tried{})
			if err != nil {
				t.Fatal(err)
			}
			c.Backend.Release()
			list = append(list, c.Index)
		}
		return list
	}
	t.Run("no token", func(t *testing.T) {
		p, _ := start(t, true)
		for _, r := range []asked{{}, bearing("x-session", ""), bearing("cookie", "other=1")} {
			wantTake(t, p, r, balance.Tried{}, -1, -1, -1, AffinityNew, nil)
		}
		// The pool's algorithm chooses for these: no backend gets more than its part.
		count := map[string]int{}
		for range 12 {
			c, _, _, err := p.take(asked{}, balance.Tried{})
			if err != nil {
				t.Fatal(err)
			}
			count[c.Backend.Name]++
		}
		if count["a"] != 4 || count["b"] != 4 || count["c"] != 4 {
			t.Errorf("12 without a token went to %v", count)
		}
	})
	t.Run("home", func(t *testing.T) {
		p, _ := start(t, true)
		other, _ := start(t, false) // as another balancer with the same file
		count := map[int]int{}
		for i, home := range homes(t, p) {
			count[home]++
			wantTake(t, p, token(i), balance.Tried{}, -1, home, -1, AffinityKept, nil)
			wantTake(t, other, bearing("cookie", fmt.Sprint("sid=token-", i)), balance.Tried{}, -1, home, -1, AffinityKept, nil)
		}
		if len(count) != 3 {
			t.Errorf("the homes of 30 tokens are %v", count)
		}
	})
	for _, fate := range fates {
		t.Run(fate.name, func(t *testing.T) {
			p, members := start(t, false)
			strict, strictMembers := start(t, true)
			before := homes(t, p)
			fate.strike(members[1].Backend)
			fate.strike(strictMembers[1].Backend)
			took := map[int]int{}
			for i, home := range before {
				if home != 1 {
					wantTake(t, p, token(i), balance.Tried{}, -1, home, -1, AffinityKept, nil)
					wantTake(t, strict, token(i), balance.Tried{}, -1, home, -1, AffinityKept, nil)
					continue
				}
				c, _, _, err := p.take(token(i), balance.Tried{})
				if err != nil {
					t.Fatal(err)
				}
				c.Backend.Release()
				took[c.Index]++
				// Always the same other one, also if its own didn't answer.
				wantTake(t, p, token(i), balance.Tried{}, home, c.Index, -1, AffinityMoved, nil)
				wantTake(t, strict, token(i), balance.Tried{}, home, -1, -1, AffinityRefused, ErrAffinity)
			}
			if len(took) != 2 {
				t.Errorf("the tokens of b went to %v, want both others", took)
			}
		})
	}
	t.Run("home doesn't answer", func(t *testing.T) {
		p, members := start(t, false)
		strict, _ := start(t, true)
		for i, home := range homes(t, p) {
			var tried balance.Tried
			tried.Add(home)
			wantTake(t, p, token(i), tried, home, -1, -1, AffinityMoved, nil)
			wantTake(t, strict, token(i), tried, home, -1, -1, AffinityRefused, ErrAffinity)
		}
		for _, m := range members {
			m.Backend.SetAdmin(pool.Drain, "test")
		}
		wantTake(t, p, token(0), balance.Tried{}, -1, -1, -1, AffinityMoved, balance.ErrNoBackend)
	})
	t.Run("no members", func(t *testing.T) {
		p := &Pool{Picker: newPicker(t, balance.Options{}, nil), Token: parse(t, requestkey.ParseToken, "subprotocol"),
			Tokens: newPicker(t, balance.Options{Algorithm: "hash"}, nil)}
		wantTake(t, p, bearing("sec-websocket-protocol", "x"), balance.Tried{}, -1, -1, -1, AffinityMoved, balance.ErrNoBackend)
	})
}

func TestTakeByKey(t *testing.T) {
	members := newMembers(t)
	p := &Pool{
		Picker: newPicker(t, balance.Options{Algorithm: "hash"}, members),
		Key:    parse(t, requestkey.Parse, "header:X-Room"),
	}
	count := map[int]int{}
	for i := range 30 {
		room := bearing("x-room", fmt.Sprint("room-", i))
		key, _ := requestkey.Hash(p.Key, room)
		home := p.Picker.Owner(key)
		count[home]++
		wantTake(t, p, room, balance.Tried{}, -1, home, -1, "", nil)
		var tried balance.Tried
		tried.Add(home)
		wantTake(t, p, room, tried, home, -1, -1, "", nil)
	}
	if len(count) != 3 {
		t.Errorf("the homes of 30 rooms are %v", count)
	}
	keyless := map[int]int{}
	for range 9 {
		c, _, _, err := p.take(asked{}, balance.Tried{})
		if err != nil {
			t.Fatal(err)
		}
		keyless[c.Index]++
	}
	if keyless[0] != 3 || keyless[1] != 3 || keyless[2] != 3 {
		t.Errorf("9 without a key went to %v, want them spread", keyless)
	}
	for _, m := range members {
		m.Backend.SetOperational(pool.Down, "test")
	}
	wantTake(t, p, bearing("x-room", "1"), balance.Tried{}, -1, -1, -1, "", balance.ErrNoBackend)
}
