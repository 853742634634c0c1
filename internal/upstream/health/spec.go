package health

import (
	"cmp"
	"context"
	"net"
	"reflect"
	"time"

	"github.com/holdfast-ws/holdfast/internal/upstream/pool"
	"github.com/holdfast-ws/holdfast/internal/wire/proxyproto"
)

// Spec says how the backends of a pool are checked. All of Checks must pass for a
// backend to be up.
type Spec struct {
	Checks []CheckSpec // at most one of each kind; none means that nothing is checked

	Interval time.Duration // from the start of a check to that of the next; 0 means 10 s
	Timeout  time.Duration // of a whole check, including the connect; 0 means 2 s
	Fall     int           // failures in a row that take a backend down; 0 means 3
	Rise     int           // passes in a row that take it back; 0 means 2

	// Port is what the checks connect to, except Agent, unless the backend has a port of
	// its own for that; 0 means the port of the backend.
	Port int

	// TLS is spoken to the backends by all checks but Agent; nil means plain HTTP
	// and TCP. Two Specs are equal only with the same TLS.
	TLS TLS
	// Proxy is the version of the PROXY protocol that the backends expect. Its header
	// says that the connection is the balancer's own.
	Proxy proxyproto.Version
}

// TLS makes TLS handshakes with backends. It must be comparable.
type TLS interface {
	// Client makes the handshake with the backend host on conn, until ctx ends.
	// The result owns conn. After an error, which says all that is worth knowing,
	// conn is still the caller's.
	Client(ctx context.Context, conn net.Conn, host string) (net.Conn, error)
}

// CheckSpec is one kind of check with its options, such as HTTP or TCP. Each kind is
// a type in a file of its own.
type CheckSpec interface {
	// label names the check in reasons and log lines.
	label() string
	// newCheck makes the check of the backend to which c connects.
	newCheck(c *connector) check
}

// sameKind reports whether two checks are of the same kind.
func sameKind(a, b CheckSpec) bool { return reflect.TypeOf(a) == reflect.TypeOf(b) }

// Equal reports whether two Specs are the same, with their checks in the same order.
func (s Spec) Equal(o Spec) bool {
	same := s.TLS == o.TLS
	s.TLS, o.TLS = nil, nil // what is in them isn't compared
	return same && reflect.DeepEqual(s, o)
}

// Active reports whether any check is configured.
func (s Spec) Active() bool { return len(s.Checks) > 0 }

func (s Spec) withDefaults() Spec {
	s.Interval = cmp.Or(s.Interval, 10*time.Second)
	s.Timeout = cmp.Or(s.Timeout, 2*time.Second)
	s.Fall = cmp.Or(s.Fall, 3)
	s.Rise = cmp.Or(s.Rise, 2)
	return s
}

// shortInterval is the interval while a backend is warming: it gets sessions as soon
// as its checks have passed.
func (s Spec) shortInterval() time.Duration { return min(s.Interval, time.Second) }

// newChecks makes the checks of m, in the order of Spec.Checks.
func newChecks(d dialFunc, m pool.Member, s Spec) []check {
	c := &connector{dial: d, backend: m.Backend, port: cmp.Or(m.HealthPort, s.Port), host: m.Host, header: proxyproto.AppendLocal(nil, s.Proxy), tls: s.TLS, timeout: s.Timeout}
	checks := make([]check, len(s.Checks))
	for i, spec := range s.Checks {
		checks[i] = spec.newCheck(c)
	}
	return checks
}
