package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	refreshEvery  = 30 * time.Second // while the name resolves
	firstRetry    = 2 * time.Second  // doubled with each failure up to refreshEvery
	lookupTimeout = 5 * time.Second
)

// locate sees to it that b gets its addresses: at once where it has an IP
// literal, else by a goroutine that lives until b.stop. The channel it then
// returns is closed after the first lookup, whatever came of it.
func (r *Registry) locate(b *Backend) <-chan struct{} {
	a, err := ParseAddress(b.Address)
	if err != nil {
		r.log.Warn(fmt.Sprintf("backend %s: address %q: %v; no sessions go to it", b.Name, b.Address, err),
			"pool", b.Pool, "backend", b.Name)
		b.trouble.Store(&trouble{reason: err.Error(), since: r.clock.Now()})
		return nil
	}
	if a.IP.IsValid() {
		b.answer.Store(newAnswer([]netip.AddrPort{netip.AddrPortFrom(a.IP, a.Port)}))
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	first := make(chan struct{})
	r.resolvers.Go(func() {
		f := follower{registry: r, backend: b, address: a}
		f.run(ctx, first)
	})
	return first
}

// follower keeps one backend's addresses up to date.
type follower struct {
	registry *Registry
	backend  *Backend
	address  Address
	failures int // in a row
}

func (f *follower) run(ctx context.Context, first chan<- struct{}) {
	f.update(ctx)
	close(first)
	for {
		timer := time.NewTimer(f.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			f.update(ctx)
		}
	}
}

// pause is how long to wait for the next lookup. The jitter keeps backends
// from asking in step.
func (f *follower) pause() time.Duration {
	if f.failures == 0 {
		return refreshEvery - rand.N(refreshEvery/10)
	}
	most := refreshEvery
	if n := f.failures - 1; n < 4 {
		most = firstRetry << n
	}
	return most/2 + rand.N(most/2)
}

func (f *follower) update(ctx context.Context) {
	addrs, err := f.lookup(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		f.failed(err)
		return
	}
	f.resolved(addrs)
}

// lookup returns the addresses sorted, so that a DNS server that shuffles them
// isn't seen as a change.
func (f *follower) lookup(ctx context.Context) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := f.registry.resolver.LookupNetIP(ctx, "ip", f.address.Host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, errors.New("it has no addresses")
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip.Unmap(), f.address.Port)
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return slices.Compact(addrs), nil
}

// failed keeps the last good answer: a DNS server that is down says nothing
// about the backend.
func (f *follower) failed(err error) {
	f.failures++
	b := f.backend
	reason := fmt.Sprintf("name %s does not resolve: %s", f.address.Host, explain(err))
	t := &trouble{reason: reason, since: f.registry.clock.Now()}
	if before := b.trouble.Load(); before != nil {
		t.since = before.since
	}
	b.trouble.Store(t)
	if f.failures > 1 {
		return
	}
	consequence := "no new sessions until it does"
	if a := b.answer.Load(); a != nil {
		consequence = fmt.Sprintf("going on with %v", a.addrs())
	}
	f.registry.log.Warn(fmt.Sprintf("backend %s: %s; %s", b.Name, reason, consequence),
		"pool", b.Pool, "backend", b.Name)
}

func (f *follower) resolved(addrs []netip.AddrPort) {
	b := f.backend
	before := b.answer.Load().addrs()
	if !slices.Equal(before, addrs) {
		b.answer.Store(newAnswer(addrs))
	}
	b.trouble.Store(nil)
	if f.failures > 0 {
		f.registry.log.Info(fmt.Sprintf("backend %s: name %s resolves to %v", b.Name, f.address.Host, addrs),
			"pool", b.Pool, "backend", b.Name)
	} else if before != nil && !slices.Equal(before, addrs) {
		f.registry.log.Info(fmt.Sprintf("backend %s: name %s now resolves to %v", b.Name, f.address.Host, addrs),
			"pool", b.Pool, "backend", b.Name)
	}
	f.failures = 0
}

// explain is err without the name, which the message has already.
func explain(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e.Err
	}
	return err.Error()
}
