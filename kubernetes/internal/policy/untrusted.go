package policy

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Bounds of what a policy may take of the memory that all share, and of what it may have
// the balancer do. docs/kubernetes-policy.md lists them.
const (
	maxLearned     = 100_000 // keys of a table; the default
	maxQueue       = 10_000  // clients in the queue of a pool; twice the default
	maxConcurrent  = 1_000   // questions to the endpoint of auth at the same time; the default
	leastInterval  = time.Second
	leastRefresh   = time.Minute
	maxHeaderEdits = 64 // fields that are set, added or removed
)

// excess returns errors about what an operator may write into a file and a user of a
// namespace may not into a policy.
func (a *applier) excess(namespace string, s *settings) (errs []config.Error) {
	fail := func(p config.Path, format string, args ...any) {
		errs = append(errs, config.Error{Path: p, Msg: fmt.Sprintf(format, args...)})
	}
	if l := s.pool.Affinity.Learn; l != nil && l.Max > maxLearned {
		fail(poolPath+".affinity.learn.max", "a policy may have at most %d: the table is in memory that all share", maxLearned)
	}
	if q := s.pool.Admit; q != nil && q.Queue > maxQueue {
		fail(poolPath+".admit.queue", "a policy may have at most %d: those who wait are in memory that all share", maxQueue)
	}
	if h := &s.pool.Health; h.Active() && h.Interval > 0 && h.Interval < leastInterval {
		fail(poolPath+".health.interval", "a policy may have at least %s: every replica checks every pod", leastInterval)
	}
	for key, e := range map[string]*config.HeaderEdits{"request_headers": &s.route.RequestHeaders, "response_headers": &s.route.ResponseHeaders} {
		if n := len(e.Set) + len(e.Add) + len(e.Remove); n > maxHeaderEdits {
			fail(routePath.Key(key), "a policy may change at most %d fields, and these are %d", maxHeaderEdits, n)
		}
	}
	auth := s.route.Auth
	if auth == nil {
		return errs
	}
	if j := auth.JWT; j != nil {
		at := routePath + ".auth.jwt"
		if j.Refresh > 0 && j.Refresh < leastRefresh {
			fail(at+".refresh", "a policy may have at least %s: every replica reads the keys", leastRefresh)
		}
		if why := a.address(namespace, s, j.JWKSURL, true); why != "" {
			fail(at+".jwks_url", "%s", why)
		}
	}
	if r := auth.Request; r != nil {
		at := routePath + ".auth.request"
		if r.MaxConcurrent > maxConcurrent {
			fail(at+".max_concurrent", "a policy may have at most %d", maxConcurrent)
		}
		if why := a.address(namespace, s, r.URL, false); why != "" {
			fail(at+".url", "%s", why)
		}
	}
	return errs
}

// serviceHost is the name of a Service in the cluster's DNS, with its namespace.
var serviceHost = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.([a-z0-9]([-a-z0-9]*[a-z0-9])?)\.svc(\.cluster\.local)?\.?$`)

// address says why the balancer doesn't ask a URL that a user of the namespace wrote: it
// stands where the user doesn't, and could be made to reach what the user can't
// (server-side request forgery). public permits https everywhere: nothing of the user's is
// sent, and what answers must have a certificate for the name.
func (a *applier) address(namespace string, s *settings, text string, public bool) string {
	u, err := url.Parse(text)
	if text == "" || err != nil || a.AnyURLs {
		return "" // what is wrong with it is reported by others
	}
	if public && u.Scheme == "https" {
		return ""
	}
	example := fmt.Sprintf("write for example http://auth.%s.svc:8080/check", namespace)
	m := serviceHost.FindStringSubmatch(strings.ToLower(u.Hostname()))
	switch {
	case m == nil && public:
		return "without https, only a Service of the policy's own namespace is asked: " + example
	case m == nil:
		return "only a Service of the policy's own namespace is asked: " + example
	case m[3] != namespace:
		return fmt.Sprintf("only a Service of the policy's own namespace is asked, and %s is in another: %s", hint.Quote(m[1]), example)
	}
	s.depends = true
	service := a.snapshot.Service(namespace, m[1])
	switch {
	case service == nil:
		return fmt.Sprintf("there is no Service %s in the policy's namespace", hint.Quote(m[1]))
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return fmt.Sprintf("the Service %s has the type ExternalName: only one with pods of its own namespace is asked", hint.Quote(m[1]))
	case len(service.Spec.Selector) == 0:
		return fmt.Sprintf("the Service %s has no selector: only one with pods of its own namespace is asked", hint.Quote(m[1]))
	}
	return ""
}
