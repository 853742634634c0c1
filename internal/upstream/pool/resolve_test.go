package pool

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

// fakeDNS gives the answers that were set, and records when it was asked.
type fakeDNS struct {
	mu    sync.Mutex
	ips   []netip.Addr
	err   error
	delay time.Duration
	asked []time.Time
}

func (d *fakeDNS) set(err error, ips ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.ips = err, nil
	for _, ip := range ips {
		d.ips = append(d.ips, netip.MustParseAddr(ip))
	}
}

func (d *fakeDNS) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	d.mu.Lock()
	d.asked = append(d.asked, time.Now())
	delay := d.delay
	d.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(delay):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if network != "ip" || host != "ws2.internal" {
		return nil, errors.New("asked for " + network + " " + host)
	}
	return slices.Clone(d.ips), d.err
}

var noSuchHost = &net.DNSError{Err: "no such host", Name: "ws2.internal", IsNotFound: true}

func named() []Spec { return spec(BackendSpec{Name: "ws2", Address: "ws2.internal:3000"}) }

func TestNameThatResolves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		dns := &fakeDNS{delay: 100 * time.Millisecond}
		dns.set(nil, "10.0.0.2", "10.0.0.1", "10.0.0.1", "::ffff:10.0.0.2")
		r := New(Options{Resolver: dns, Logger: log.Logger("level", "msg")})
		defer r.Close()
		start := time.Now()
		pools, _ := r.Apply(named())
		b := pools["chat"].Members[0].Backend
		if took := time.Since(start); took != 100*time.Millisecond || !(b.Availability() == Available) {
			t.Fatalf("Apply took %v, up %v; want to have waited for the answer", took, (b.Availability() == Available))
		}
		want := []hostport.Endpoint{at("10.0.0.1:3000"), at("10.0.0.2:3000")}
		if got := b.State(); !slices.Equal(got.Addresses, want) || got.Reason != "" {
			t.Errorf("state %+v, want addresses %v", got, want)
		}

		dns.set(nil, "10.0.0.1", "10.0.0.2") // the same, in another order
		before := b.addresses.Load()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if b.addresses.Load() != before {
			t.Error("a shuffled answer was taken as a change")
		}
		if got := log.Take(); got != "" {
			t.Errorf("logged while nothing changed:\n%s", got)
		}
		for i, at := range dns.asked[1:] {
			if pause := at.Sub(dns.asked[i]); pause < 27*time.Second || pause > 31*time.Second {
				t.Errorf("asked again after %v, want about 30s", pause)
			}
		}
		if len(dns.asked) < 10 {
			t.Errorf("asked %d times in 5 minutes", len(dns.asked))
		}

		dns.set(nil, "10.0.0.9")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if a, _ := b.Addr(); a.String() != "10.0.0.9:3000" {
			t.Errorf("address %v after the name moved", a)
		}
		if got, want := log.Take(), "level=INFO msg=\"backend ws2: name ws2.internal now resolves to [10.0.0.9:3000]\"\n"; got != want {
			t.Errorf("logged %s, want %s", got, want)
		}
	})
}

func TestNameThatDoesNotResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		dns := &fakeDNS{}
		dns.set(noSuchHost)
		r := New(Options{Resolver: dns, Logger: log.Logger("level", "msg")})
		defer r.Close()
		start := time.Now()
		pools, _ := r.Apply(named())
		b := pools["chat"].Members[0].Backend
		if _, ok := b.Addr(); ok || (b.Availability() == Available) {
			t.Error("up without an address")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got, want := log.Take(), "level=WARN msg=\"backend ws2: name ws2.internal does not resolve: no such host; no new sessions until it does\"\n"; got != want {
			t.Errorf("logged %s, want %s once", got, want)
		}
		if got := b.State(); got.Reason != "name ws2.internal does not resolve: no such host" || !got.Since.Equal(start) {
			t.Errorf("state %+v, want the reason since %v", got, start)
		}
		for i, at := range dns.asked[1:] {
			least, most := time.Second, 30*time.Second
			if i == 0 {
				most = 2 * time.Second
			}
			if i > 5 {
				least = 15 * time.Second
			}
			if pause := at.Sub(dns.asked[i]); pause < least || pause > most {
				t.Errorf("pause %d: %v, want %v to %v", i, pause, least, most)
			}
		}

		dns.set(nil, "10.0.0.1")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if a, ok := b.Addr(); !ok || a.String() != "10.0.0.1:3000" {
			t.Errorf("address %v, %v", a, ok)
		}
		if got, want := log.Take(), "level=INFO msg=\"backend ws2: name ws2.internal resolves to [10.0.0.1:3000]\"\n"; got != want {
			t.Errorf("logged %s, want %s", got, want)
		}
		if got := b.State(); got.Reason != "" || !got.Since.IsZero() {
			t.Errorf("state %+v, want no reason any more", got)
		}
	})
}

func TestLastGoodAnswerIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		dns := &fakeDNS{}
		dns.set(nil, "10.0.0.1")
		r := New(Options{Resolver: dns, Logger: log.Logger("level", "msg")})
		defer r.Close()
		pools, _ := r.Apply(named())
		b := pools["chat"].Members[0].Backend
		for _, err := range []error{errors.New("connection refused"), nil} { // nil: an empty answer
			dns.set(err)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if a, ok := b.Addr(); !ok || a.String() != "10.0.0.1:3000" || !(b.Availability() == Available) {
				t.Errorf("address %v, %v after DNS failed", a, ok)
			}
		}
		if got, want := log.Take(), "level=WARN msg=\"backend ws2: name ws2.internal does not resolve: connection refused; going on with [10.0.0.1:3000]\"\n"; got != want {
			t.Errorf("logged %s, want %s", got, want)
		}
		if got := b.State().Reason; !strings.Contains(got, "it has no addresses") {
			t.Errorf("reason %q, want the newest", got)
		}
	})
}

func TestSlowDNSHoldsApplyUpForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{delay: 3 * time.Second}
		dns.set(nil, "10.0.0.1")
		r := New(Options{Resolver: dns})
		defer r.Close()
		start := time.Now()
		specs := named()
		specs[0].Backends = append(specs[0].Backends, BackendSpec{Name: "other", Address: "ws2.internal:3001"})
		pools, _ := r.Apply(specs)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Apply took %v, want 1s in all", took)
		}
		b := pools["chat"].Members[0].Backend
		if b.Availability() == Available {
			t.Error("up before the answer")
		}
		r.Apply(specs)
		if took := time.Since(start); took != time.Second {
			t.Errorf("a reload waited again for a name it knows: %v", took)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !(b.Availability() == Available) {
			t.Error("down after the answer came in the background")
		}
	})
}

func TestRemovedBackendServesWhileApplyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{delay: time.Hour}
		r := New(Options{Resolver: dns})
		defer r.Close()
		pools, _ := r.Apply(spec(BackendSpec{Address: "10.0.0.1:3000"}))
		old := pools["chat"].Members[0].Backend
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Apply(named())
		}()
		time.Sleep(firstLookupTimeout / 2)
		if !(old.Availability() == Available) {
			t.Error("the old generation has no backend while a reload waits for DNS")
		}
		<-done
		if (old.Availability() == Available) || !old.Removed() {
			t.Error("not removed by the reload")
		}
	})
}

func TestHangingDNSIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{delay: time.Hour}
		r := New(Options{Resolver: dns})
		defer r.Close()
		pools, _ := r.Apply(named())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := pools["chat"].Members[0].Backend.State().Reason; !strings.Contains(got, "deadline exceeded") {
			t.Errorf("reason %q after 5s without an answer", got)
		}
	})
}

// The bubble ends with a panic if a goroutine is left in it.
func TestBackendThatLeavesIsNoLongerLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		dns := &fakeDNS{}
		dns.set(nil, "10.0.0.1")
		r := New(Options{Resolver: dns, Logger: log.Logger("level", "msg")})
		defer r.Close()
		_, _ = r.Apply(named())
		r.Apply(nil)
		dns.set(noSuchHost)
		time.Sleep(time.Hour)
		if len(dns.asked) != 1 || log.Take() != "" {
			t.Errorf("asked %d times, want once", len(dns.asked))
		}
	})
}

func TestLiteralNeverTouchesDNS(t *testing.T) {
	dns := &fakeDNS{}
	r := New(Options{Resolver: dns})
	defer r.Close()
	pools, _ := r.Apply(spec(BackendSpec{Address: "[::1]:3000"}))
	if a, ok := pools["chat"].Members[0].Backend.Addr(); !ok || a.String() != "[::1]:3000" {
		t.Errorf("address %v, %v", a, ok)
	}
	if len(dns.asked) != 0 {
		t.Error("asked the resolver")
	}
}

func TestBadAddressIsDown(t *testing.T) {
	var log testkit.Log
	r := New(Options{Logger: log.Logger("level", "msg")})
	defer r.Close()
	pools, _ := r.Apply(spec(BackendSpec{Name: "ws1", Address: "10.0.0.1"}))
	if b := pools["chat"].Members[0].Backend; (b.Availability() == Available) || b.State().Reason == "" {
		t.Errorf("state %+v, want down with a reason", b.State())
	}
	if got := log.Take(); !strings.Contains(got, `backend ws1: bad address \"10.0.0.1\": the port is missing`) {
		t.Errorf("logged %s", got)
	}
}

func TestDefaultResolver(t *testing.T) {
	r := New(Options{})
	defer r.Close()
	pools, _ := r.Apply(spec(BackendSpec{Address: "localhost:3000"}))
	a, ok := pools["chat"].Members[0].Backend.Addr()
	if !ok || !a.TCP.Addr().IsLoopback() || a.TCP.Port() != 3000 {
		t.Errorf("localhost:3000 is at %v, %v", a, ok)
	}
}

func TestDialFailedAvoidsAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &fakeDNS{}
		dns.set(nil, "127.0.0.1", "::1")
		r := New(Options{Resolver: dns})
		defer r.Close()
		pools, _ := r.Apply(named())
		b := pools["chat"].Members[0].Backend
		v4, v6 := at("127.0.0.1:3000"), at("[::1]:3000")
		if !b.DialFailed(v6) {
			t.Error("want the other address tried at once")
		}
		for range 4 {
			if a, _ := b.Addr(); a != v4 {
				t.Errorf("got %v, want the address that works", a)
			}
		}
		if b.DialFailed(v4) {
			t.Error("want no more tries when all failed")
		}
		if _, ok := b.Addr(); !ok {
			t.Error("want an address even when all failed")
		}
		time.Sleep(avoidFor)
		seen := map[hostport.Endpoint]bool{}
		for range 2 {
			a, _ := b.Addr()
			seen[a] = true
		}
		if len(seen) != 2 {
			t.Errorf("rotation after 30s: %v, want both again", seen)
		}
	})
}

// at is the address of a backend that needs no lookup.
func at(s string) hostport.Endpoint { return hostport.At(netip.MustParseAddrPort(s)) }

// TestUnixSocket: a unix socket is an address like an IP address.
func TestUnixSocket(t *testing.T) {
	r := New(Options{Resolver: &fakeDNS{}})
	defer r.Close()
	pools, _ := r.Apply(spec(BackendSpec{Address: "unix:/run/chat.sock"}))
	m := pools["chat"].Members[0]
	if a, ok := m.Backend.Addr(); !ok || a != (hostport.Endpoint{Path: "/run/chat.sock"}) || m.Host != "localhost" || m.Backend.Name != "unix:/run/chat.sock" {
		t.Errorf("address %v, host %q, name %q", a, m.Host, m.Backend.Name)
	}
	if s := m.Backend.State(); s.Name != "up" || len(s.Addresses) != 1 || s.Addresses[0].String() != "unix:/run/chat.sock" {
		t.Errorf("%+v", s)
	}
}
