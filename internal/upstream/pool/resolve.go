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

	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
)

const (
	refreshEvery  = 30 * time.Second // while the name resolves
	firstRetry    = 2 * time.Second  // doubled with each failure up to refreshEvery
	lookupTimeout = 5 * time.Second
)

// startResolving gives b its addresses: at once if it has an IP literal, else by a
// goroutine that runs until b.stop. In that case the result is closed after the
// first lookup, whether or not that succeeded.
func (r *Registry) startResolving(b *Backend) <-chan struct{} {
	a, err := hostport.ParseBackend(b.Address)
	if err != nil {
		r.log.Warn(fmt.Sprintf("backend %s: %v; no sessions go to it", b.Name, err),
			"pool", b.Pool, "backend", b.Name)
		b.lastError.Store(&resolveError{reason: err.Error(), since: r.clock.Now()})
		return nil
	}
	if e, ok := a.Endpoint(); ok {
		b.addresses.Store(newAddressSet([]hostport.Endpoint{e}))
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	first := make(chan struct{})
	r.resolvers.Go(func() {
		f := refresher{registry: r, backend: b, address: a}
		f.run(ctx, first)
	})
	return first
}

// refresher keeps one backend's addresses up to date.
type refresher struct {
	registry *Registry
	backend  *Backend
	address  hostport.Address
	failures int // in a row
}

func (f *refresher) run(ctx context.Context, first chan<- struct{}) {
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

// pause is how long to wait for the next lookup. Its jitter keeps the lookups of
// different backends apart.
func (f *refresher) pause() time.Duration {
	if f.failures == 0 {
		return refreshEvery - rand.N(refreshEvery/10)
	}
	most := refreshEvery
	if n := f.failures - 1; n < 4 {
		most = firstRetry << n
	}
	return most/2 + rand.N(most/2)
}

func (f *refresher) update(ctx context.Context) {
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

// lookup returns the addresses sorted, so that a server that shuffles them causes
// no change.
func (f *refresher) lookup(ctx context.Context) ([]hostport.Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := f.registry.resolver.LookupNetIP(ctx, "ip", f.address.Host)
	if err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, errors.New("it has no addresses")
	}
	addrs := make([]hostport.Endpoint, len(ips))
	for i, ip := range ips {
		addrs[i] = hostport.At(netip.AddrPortFrom(ip.Unmap(), f.address.Port))
	}
	slices.SortFunc(addrs, func(a, b hostport.Endpoint) int { return a.TCP.Compare(b.TCP) })
	return slices.Compact(addrs), nil
}

// failed keeps the last addresses: a DNS server that is down says nothing about
// the backend.
func (f *refresher) failed(err error) {
	f.failures++
	b := f.backend
	reason := fmt.Sprintf("name %s does not resolve: %s", f.address.Host, explain(err))
	t := &resolveError{reason: reason, since: f.registry.clock.Now()}
	if before := b.lastError.Load(); before != nil {
		t.since = before.since
	}
	b.lastError.Store(t)
	if f.failures > 1 {
		return
	}
	consequence := "no new sessions until it does"
	if a := b.addresses.Load(); a != nil {
		consequence = fmt.Sprintf("going on with %v", a.addrs())
	}
	f.registry.log.Warn(fmt.Sprintf("backend %s: %s; %s", b.Name, reason, consequence),
		"pool", b.Pool, "backend", b.Name)
}

func (f *refresher) resolved(addrs []hostport.Endpoint) {
	b := f.backend
	before := b.addresses.Load().addrs()
	if !slices.Equal(before, addrs) {
		b.addresses.Store(newAddressSet(addrs))
	}
	b.lastError.Store(nil)
	if f.failures > 0 {
		f.registry.log.Info(fmt.Sprintf("backend %s: name %s resolves to %v", b.Name, f.address.Host, addrs),
			"pool", b.Pool, "backend", b.Name)
	} else if before != nil && !slices.Equal(before, addrs) {
		f.registry.log.Info(fmt.Sprintf("backend %s: name %s now resolves to %v", b.Name, f.address.Host, addrs),
			"pool", b.Pool, "backend", b.Name)
	}
	f.failures = 0
}

// explain is err without the name, which the message already has.
func explain(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e.Err
	}
	return err.Error()
}
