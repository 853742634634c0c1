package reservation_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/proxy/reservation"
	"github.com/holdfast-ws/holdfast/internal/stage/balance"
	"github.com/holdfast-ws/holdfast/internal/stage/ratelimit"
	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
)

// fixture is a pool of three backends with room for 100 sessions each. Each has
// one token now and gets another every minute.
type fixture struct {
	members []pool.Member
	picker  balance.Picker
	buckets []*ratelimit.Bucket
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	registry := pool.New(pool.Options{})
	t.Cleanup(registry.Close)
	spec := pool.Spec{Name: "chat"}
	for _, address := range []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"} {
		spec.Backends = append(spec.Backends, pool.BackendSpec{Name: address, Address: address, MaxSessions: 100})
	}
	pools, _ := registry.Apply([]pool.Spec{spec})
	f := &fixture{members: pools["chat"].Members}
	var err error
	if f.picker, err = balance.New(balance.Options{}, f.members); err != nil {
		t.Fatal(err)
	}
	limiter := ratelimit.New(ratelimit.Hooks{})
	t.Cleanup(limiter.Close)
	limiter.Configure(ratelimit.Options{Rate: 1.0 / 60, Burst: 1})
	for _, m := range f.members {
		f.buckets = append(f.buckets, limiter.Bucket(m.Backend.ID, nil))
	}
	return f
}

// make reserves one that isn't in tried.
func (f *fixture) make(within time.Duration, tried *balance.Tried) (*reservation.Reservation, error) {
	choose := func(tried balance.Tried) (balance.Choice, error) {
		return f.picker.Take(&balance.Query{Tried: tried})
	}
	return reservation.Make(within, tried, choose, func(i int) *ratelimit.Bucket { return f.buckets[i] })
}

func (f *fixture) leases() (n [3]int) {
	for i, m := range f.members {
		n[i] = m.Backend.Sessions()
	}
	return n
}

func TestMake(t *testing.T) {
	f := newFixture(t)
	var all []*reservation.Reservation
	for range 3 {
		r, err := f.make(0, new(balance.Tried))
		if err != nil || r.Wait > 0 {
			t.Fatalf("a reservation of a token that is there: %+v, %v", r, err)
		}
		all = append(all, r)
	}
	if n := f.leases(); n != [3]int{1, 1, 1} {
		t.Errorf("leases %v after three reservations", n)
	}
	// Without another token, every backend is tried and none is held.
	var tried balance.Tried
	if _, err := f.make(time.Second, &tried); !errors.Is(err, reservation.ErrTooLate) {
		t.Errorf("error %v, want ErrTooLate", err)
	}
	if n := f.leases(); n != [3]int{1, 1, 1} || !tried.Has(0) || !tried.Has(1) || !tried.Has(2) {
		t.Errorf("leases %v, tried %v after one that came to nothing", n, tried)
	}
	if r, err := f.make(2*time.Minute, new(balance.Tried)); err != nil || r.Wait <= 0 || r.Wait > time.Minute {
		t.Errorf("a reservation of the next token: %+v, %v", r, err)
	} else {
		r.Cancel()
	}
	// Tokens come back.
	all[0].Cancel()
	if r, err := f.make(0, new(balance.Tried)); err != nil || r.Choice.Backend != all[0].Choice.Backend {
		t.Errorf("after one was cancelled: %+v, %v", r, err)
	}
	// The error is that of the choice if no token was too late.
	for _, m := range f.members {
		m.Backend.SetAdmin(pool.Maint, "test")
	}
	if _, err := f.make(time.Hour, new(balance.Tried)); !errors.Is(err, balance.ErrNoBackend) {
		t.Errorf("error %v, want ErrNoBackend", err)
	}
}

func TestRedeem(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f *fixture, b *pool.Backend)
		gone   bool // it is no member any more
		want   bool
	}{
		"unchanged":   {want: true},
		"not member":  {gone: true},
		"drains":      {change: func(_ *fixture, b *pool.Backend) { b.SetAdmin(pool.Drain, "test") }},
		"maintenance": {change: func(_ *fixture, b *pool.Backend) { b.SetAdmin(pool.Maint, "test") }},
		"full but for it": {change: func(_ *fixture, b *pool.Backend) {
			for b.TryAcquire() {
			}
		}, want: true},
	} {
		f := newFixture(t)
		r, err := f.make(0, new(balance.Tried))
		if err != nil {
			t.Fatal(err)
		}
		b, member := r.Choice.Backend, r.Choice.Index
		if tt.change != nil {
			tt.change(f, b)
		}
		if tt.gone {
			member = -1
		}
		before := b.Sessions()
		c, ok := r.Redeem(f.picker, member)
		if ok != tt.want || ok && c.Backend != b {
			t.Errorf("%s: redeemed %v, %+v", name, ok, c)
		}
		want := before
		if !tt.want {
			want--
		}
		if b.Sessions() != want {
			t.Errorf("%s: %d leases, want %d", name, b.Sessions(), want)
		}
		if token := f.buckets[r.Choice.Index].TryTake(false); token == tt.want {
			t.Errorf("%s: its token was given back: %v", name, token)
		}
	}
}
