package acme

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/caddyserver/certmagic"
)

// How often certificates are looked at. certmagic renews what would expire within five
// intervals, so that one must be short beside the lifetime of a certificate.
const (
	longestInterval  = 10 * time.Minute
	shortestInterval = time.Second
	lifetimeShare    = 100
)

// obtaining marks the context of obtain, which logs what fails itself.
type obtaining struct{}

// obtain gets the first certificate of a name: from the storage or from the authority.
// It tries until it has one or ctx ends.
func (m *manager) obtain(ctx context.Context, name string) {
	for failed := 1; ; failed++ {
		m.mu.Lock()
		again := m.again
		m.mu.Unlock()
		// It waits while another balancer is at it, and then finds the certificate in
		// the storage.
		err := m.config.ManageSync(context.WithValue(ctx, obtaining{}, true), []string{name})
		if ctx.Err() != nil {
			return
		}
		m.refresh()
		if err == nil {
			m.lookSoon()
			return
		}
		if !m.lacks(name) { // maintain tries to renew it from now on
			m.log.Error("the stored certificate has to be renewed by ACME, which failed; it stays in use", "domain", name,
				"directory", m.account.Directory, "error", reason(err), "advice", m.advice(err))
			return
		}
		pause := retryAfter(err, failed)
		m.log.Error("no certificate by ACME", "domain", name, "directory", m.account.Directory,
			"error", reason(err), "advice", m.advice(err), "next_try_in", pause.Round(time.Second).String())
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-time.After(pause):
		}
	}
}

func (m *manager) lacks(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.missing[name]
}

// maintain renews certificates until the manager is closed.
func (m *manager) maintain() {
	timer := time.NewTimer(shortestInterval)
	defer timer.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.wake:
			// certmagic uses a new certificate just after it has reported it.
			timer.Reset(shortestInterval)
			continue
		case <-timer.C:
		}
		timer.Reset(m.look())
	}
}

// lookSoon makes maintain look at a certificate that is new.
func (m *manager) lookSoon() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// look renews what must be renewed, and returns when to look again.
func (m *manager) look() (interval time.Duration) {
	m.refresh()
	interval = m.interval()
	m.cache.SetOptions(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.config, nil },
		RenewCheckInterval: interval,
	})
	// It updates what ARI says, takes over what another balancer has renewed, and starts
	// renewals in the background.
	if err := m.cache.RenewManagedCertificates(m.ctx); err != nil && m.ctx.Err() == nil {
		m.log.Warn("looking for certificates to renew failed", "error", err.Error())
	}
	m.refresh()
	return interval
}

// interval returns how long to wait before the certificates are looked at again.
func (m *manager) interval() time.Duration {
	shortest := longestInterval
	for _, c := range *m.certificates.Load() {
		shortest = min(shortest, c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/lifetimeShare)
	}
	return max(shortest, shortestInterval)
}

// event is what certmagic reports.
func (m *manager) event(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	renewal, _ := data["renewal"].(bool)
	switch event {
	case "cert_obtained":
		m.log.Info("certificate obtained by ACME", "domain", name, "renewal", renewal, "directory", m.account.Directory)
		m.lookSoon()
	case "cert_failed":
		err, _ := data["error"].(error)
		if ctx.Value(obtaining{}) == nil && m.ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			left, _ := data["remaining"].(time.Duration)
			m.log.Error("a certificate was not renewed by ACME; the old one stays in use", "domain", name, "directory", m.account.Directory,
				"error", reason(err), "advice", m.advice(err), "expires_in", left.Round(time.Second).String())
		}
	}
	return nil
}

// retryAfter returns the pause after so many failures in a row. Authorities allow few
// failed validations an hour (Let's Encrypt: 5), but it costs nothing to try a
// directory again that wasn't reached.
func retryAfter(err error, failed int) time.Duration {
	first, longest := 5*time.Second, 10*time.Minute
	if p, ok := problem(err); ok {
		first, longest = 5*time.Minute, 3*time.Hour
		if p.Type == problemRateLimited {
			first = time.Hour
		}
	}
	pause := longest
	if failed < 20 {
		pause = min(first<<(failed-1), longest)
	}
	return pause - time.Duration(rand.Int64N(int64(pause/5)))
}
