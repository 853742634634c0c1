package generation

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/sticky"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/requestkey"
)

// newLearning is a pool of a, b and c that learns.
func newLearning(t *testing.T, members []pool.Member, from, answer []string) *Pool {
	table := sticky.New(nil).Configure("chat", sticky.Options{Max: 1000, Expire: time.Hour})
	return learning(t, members, table, from, answer)
}

func learning(t *testing.T, members []pool.Member, table *sticky.Table, from, answer []string) *Pool {
	var names []string
	for _, m := range members {
		names = append(names, m.Backend.Name)
	}
	p := &Pool{Picker: newPicker(t, balance.Options{}, members)}
	p.Learned = NewLearned(table, parse(t, requestkey.ParseToken, from...), parse(t, requestkey.ParseAnswer, answer...), names)
	return p
}

// fields are those of an answer.
func fields(lines ...[2]string) func(name string, i int) ([]byte, bool) {
	h := http.Header{}
	for _, line := range lines {
		h.Add(line[0], line[1])
	}
	return func(name string, i int) ([]byte, bool) {
		if values := h[http.CanonicalHeaderKey(name)]; i < len(values) {
			return []byte(values[i]), true
		}
		return nil, false
	}
}

// Without answer, a key belongs to the backend that it got first, whatever the others have,
// and to the next one if that can't take it.
func TestLearnFirst(t *testing.T) {
	for _, fate := range fates {
		t.Run(fate.name, func(t *testing.T) {
			members := newMembers(t)
			p := newLearning(t, members, []string{"query:s", "cookie:sid", "client_ip"}, nil)
			client := asked{ip: netip.MustParseAddr("2001:db8::1")}
			c, _, result, err := p.take(client, balance.Tried{})
			if err != nil || result != AffinityNew {
				t.Fatal(result, err)
			}
			own := c.Index
			client.ip = netip.MustParseAddr("2001:db8::2") // of the same /64
			for range 3 {
				wantTake(t, p, client, balance.Tried{}, own, own, -1, AffinityKept, nil)
			}
			// It is known by its address; from now on it has a session, too.
			client.header = map[string]string{"cookie": "sid=x"}
			wantTake(t, p, client, balance.Tried{}, own, own, -1, AffinityKept, nil)
			client.ip = netip.MustParseAddr("192.0.2.1")
			p.Learned.table.Lock()
			known, home, _ := p.Learned.find(p.Learned.keys(nil, client))
			p.Learned.table.Unlock()
			if home != own || known != p.Learned.keys(nil, client)[0] {
				t.Fatalf("the session is with %d", home)
			}

			fate.strike(members[own].Backend)
			c, _, result, err = p.take(client, balance.Tried{})
			if err != nil || result != AffinityMoved || c.Index == own {
				t.Fatalf("%+v, %s, %v; it can't be with %d", c, result, err, own)
			}
			wantTake(t, p, client, balance.Tried{}, -2, c.Index, -1, AffinityKept, nil)

			p.Refuse = true
			fate.strike(members[c.Index].Backend)
			wantTake(t, p, client, balance.Tried{}, -2, -1, -1, AffinityRefused, ErrAffinity)
			wantTake(t, p, bearing("cookie", "sid=new"), balance.Tried{}, -2, 3-own-c.Index, -1, AffinityNew, nil)
		})
	}
}

// A backend that has failed for this client is another one's turn, and that keeps the key.
func TestLearnAfterFailure(t *testing.T) {
	p := newLearning(t, newMembers(t), []string{"client_ip"}, nil)
	client := asked{ip: netip.MustParseAddr("192.0.2.1")}
	c, _, _, _ := p.take(client, balance.Tried{})
	var tried balance.Tried
	tried.Add(c.Index)
	next, _, result, err := p.take(client, tried)
	if err != nil || next.Index == c.Index || result != AffinityMoved {
		t.Fatal(next, result, err)
	}
	wantTake(t, p, client, balance.Tried{}, -2, next.Index, -1, AffinityKept, nil)
}

// With answer, only what a backend says is learned.
func TestLearnFromAnswers(t *testing.T) {
	members := newMembers(t)
	p := newLearning(t, members, []string{"cookie:JSESSIONID", "header:x-session"}, []string{"cookie:JSESSIONID", "header:X-Session"})
	for range 5 {
		wantTake(t, p, bearing("cookie", "JSESSIONID=made.up"), balance.Tried{}, -2, -1, -1, AffinityNew, nil)
	}
	p.Learn(asked{}, "b", fields([2]string{"Set-Cookie", "other=1"}, [2]string{"Set-Cookie", ` JSESSIONID = "abc" ; Path=/; HttpOnly`}, [2]string{"X-Session", "4711"},
		[2]string{"Set-Cookie", "jsessionid=lower"}, [2]string{"Set-Cookie", "JSESSIONID=; Max-Age=0"}, [2]string{"Set-Cookie", "JSESSIONID"}))
	for _, known := range []asked{bearing("cookie", `x=y; JSESSIONID="abc"`), bearing("x-session", "4711")} {
		wantTake(t, p, known, balance.Tried{}, -2, 1, -1, AffinityKept, nil)
	}
	for _, unknown := range []asked{bearing("cookie", "JSESSIONID=abc"), bearing("cookie", "JSESSIONID=lower"), bearing("cookie", "JSESSIONID="), bearing("cookie", "other=1")} {
		if _, _, result, _ := p.take(unknown, balance.Tried{}); result != AffinityNew {
			t.Errorf("%v is known: %s", unknown.header, result)
		}
	}
	// Another backend says it has taken it over.
	p.Learn(asked{}, "c", fields([2]string{"X-Session", "4711"}))
	wantTake(t, p, bearing("x-session", "4711"), balance.Tried{}, -2, 2, -1, AffinityKept, nil)
}

// An answer can set a bounded number of cookies.
func TestLearnsFewCookies(t *testing.T) {
	tables := sticky.New(nil)
	p := learning(t, newMembers(t), tables.Configure("chat", sticky.Options{Max: 1000, Expire: time.Hour}), []string{"cookie:s"}, []string{"cookie:s"})
	var lines [][2]string
	for i := range 100 {
		lines = append(lines, [2]string{"Set-Cookie", fmt.Sprintf("s=%d", i)})
	}
	p.Learn(asked{}, "a", fields(lines...))
	if n := tables.Stats()["chat"].Keys; n != 8 {
		t.Errorf("%d keys", n)
	}
}

// The table outlives the pool: keys stay with the backends that stay, and come back to one
// that does.
func TestLearnedSurvivesReload(t *testing.T) {
	members := newMembers(t)
	p := newLearning(t, members, []string{"query:s", "cookie:s"}, []string{"cookie:s"})
	p.Learn(asked{}, "a", fields([2]string{"Set-Cookie", "s=1"}))
	p.Learn(asked{}, "b", fields([2]string{"Set-Cookie", "s=2"}))
	reload := func(members []pool.Member) *Pool {
		return learning(t, members, p.Learned.table, []string{"cookie:s"}, []string{"cookie:s"})
	}
	later := reload([]pool.Member{members[2], members[1]}) // a has left, and the order is another
	wantTake(t, later, bearing("cookie", "s=2"), balance.Tried{}, -2, 1, -1, AffinityKept, nil)
	wantTake(t, later, bearing("cookie", "s=1"), balance.Tried{}, -2, -1, -1, AffinityGone, nil)
	wantTake(t, reload(members), bearing("cookie", "s=1"), balance.Tried{}, -2, 0, -1, AffinityKept, nil)
}

// Of several first requests with one key at the same time, all go to one backend.
func TestFirstRequestsMeet(t *testing.T) {
	members := newMembers(t)
	p := newLearning(t, members, []string{"header:x-room"}, nil)
	for n := range 200 {
		var wg sync.WaitGroup
		var got [4]int
		for i := range got {
			wg.Go(func() {
				c, _, _, err := p.take(bearing("x-room", fmt.Sprint(n)), balance.Tried{})
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = c.Index
				c.Backend.Release()
			})
		}
		wg.Wait()
		if got != [4]int{got[0], got[0], got[0], got[0]} {
			t.Fatalf("round %d: %v", n, got)
		}
	}
}

// A session that rebalance moves takes its key along. A session of which nothing is known
// leaves no key.
func TestMovedSessionTakesItsKeyAlong(t *testing.T) {
	members := newMembers(t)
	p := newLearning(t, members, []string{"query:s", "cookie:s"}, []string{"cookie:s"})
	p.Learn(asked{}, "a", fields([2]string{"Set-Cookie", "s=1"}))
	for range 3 {
		members[0].Backend.TryAcquire()
	}
	for _, name := range []string{"s=1", "s=2"} {
		c, err := p.TakeBelowFairShare(bearing("cookie", name), balance.Tried{})
		if err != nil || c.Index == 0 {
			t.Fatal(c, err)
		}
		c.Backend.Release()
		want, result := c.Index, AffinityKept
		if name == "s=2" {
			want, result = -1, AffinityNew
		}
		wantTake(t, p, bearing("cookie", name), balance.Tried{}, -2, want, -1, result, nil)
	}
}

// A handshake whose backend was chosen while it waited in a queue teaches its key, unless
// that is known meanwhile.
func TestConfirm(t *testing.T) {
	p := newLearning(t, newMembers(t), []string{"query:x", "client_ip"}, nil)
	client := asked{ip: netip.MustParseAddr("192.0.2.1")}
	p.Learn(client, "c", nil)
	p.Learn(client, "a", nil)
	wantTake(t, p, client, balance.Tried{}, -2, 2, -1, AffinityKept, nil)
	p.Learn(asked{}, "a", nil) // has no key
}

// A client whose key belongs to a backup comes back to it when the primaries are back; new
// ones don't go there.
func TestLearnedBackup(t *testing.T) {
	members := newMembers(t)
	members[2].Backup = true
	p := newLearning(t, members, []string{"client_ip"}, nil)
	old, young := asked{ip: netip.MustParseAddr("192.0.2.1")}, asked{ip: netip.MustParseAddr("192.0.2.2")}
	for _, m := range members[:2] {
		m.Backend.SetOperational(pool.Down, "")
	}
	wantTake(t, p, old, balance.Tried{}, -2, 2, -1, AffinityNew, nil)
	for _, m := range members[:2] {
		m.Backend.SetOperational(pool.Up, "")
	}
	wantTake(t, p, old, balance.Tried{}, -2, 2, -1, AffinityKept, nil)
	wantTake(t, p, young, balance.Tried{}, 2, -1, -1, AffinityNew, nil)
}

// A choice by a known key allocates nothing.
func TestLearnedAllocatesNothing(t *testing.T) {
	p := newLearning(t, newMembers(t), []string{"client_ip"}, nil)
	var client requestkey.Request = asked{ip: netip.MustParseAddr("192.0.2.1")}
	if n := testing.AllocsPerRun(100, func() {
		c, _, _, err := p.take(client, balance.Tried{})
		if err != nil {
			t.Error(err)
			return
		}
		c.Backend.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// An unknown key waits for any backend in a pool with rate limits, a known one for its own.
func TestLearnedWaits(t *testing.T) {
	members := newMembers(t)
	p := newLearning(t, members, []string{"client_ip"}, nil)
	p.Learn(asked{ip: netip.MustParseAddr("192.0.2.1")}, "b", nil)
	none := noTokens{}
	for ip, want := range map[string]*pool.Backend{"192.0.2.1": members[1].Backend, "192.0.2.2": nil} {
		c, _, _, err := p.Take(none, asked{ip: netip.MustParseAddr(ip)}, balance.Query{Session: true})
		if !errors.Is(err, balance.ErrRateLimited) || c.Backend != want {
			t.Errorf("%s: %+v, %v", ip, c, err)
		}
	}
	if n := leases(members); n != 0 {
		t.Errorf("%d leases are held", n)
	}
}

type noTokens struct{}

func (noTokens) CanTake(int) bool { return false }
func (noTokens) TryTake(int) bool { return false }
