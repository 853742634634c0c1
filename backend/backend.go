// Package backend is for WebSocket servers behind a load balancer. It answers
// health checks, limits the number of sessions, and on SIGTERM shuts the server
// down in an order in which no client is cut off: it reports itself unhealthy,
// waits until the balancer has noticed, closes the sessions one after another,
// and then returns.
//
//	kit := backend.New(backend.Options{MaxSessions: 10000})
//	http.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
//		conn, err := websocket.Accept(w, r, nil)
//		if err != nil {
//			return
//		}
//		defer conn.CloseNow()
//		leave := kit.Join(r, func(code int, reason string) {
//			conn.Close(websocket.StatusCode(code), reason)
//		})
//		defer leave()
//		// Read and write messages until the session ends.
//	})
//	if err := kit.Run(context.Background(), ":3000", nil); err != nil {
//		log.Fatal(err)
//	}
//
// The package works with any WebSocket library, because it needs only a function
// that closes a session. It depends on nothing but the standard library, and
// works with any load balancer. Only [Reattach], [Backend.Control] and the
// Holdfast-Load header are specific to holdfast.
//
// A server whose sessions can move to other servers uses [Control.Join] instead
// of [Backend.Join]. docs/backends.md explains when and how.
package backend

import (
	"cmp"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Options configures a [Backend]. The zero value is ready for use.
type Options struct {
	// HealthPath is the path of health checks, see [Backend.ServeHealth].
	// Default: /health.
	HealthPath string

	// MaxSessions is the maximum number of concurrent sessions. Handshakes
	// above it are answered with 503 and Retry-After. 0 means no limit.
	MaxSessions int

	// Load returns which part of the server's capacity is in use, from 0 (idle)
	// to 1 (full). Values outside this range are clamped, and NaN means unknown.
	// It is called for each health check, which waits for it, and possibly by
	// several goroutines at once. If Load is nil, the load is the number of
	// sessions divided by MaxSessions, or unknown if there is no MaxSessions.
	Load func() float64

	// Notice is how long a drain waits for the balancers to notice it: until
	// each has made a health check, received 503, and stopped sending new
	// sessions. It should be a little longer than the sum of the interval and
	// the timeout of their health checks. 0 means 15 s, which fits the defaults
	// of holdfast. A negative value means not to wait. It is limited to 3/5 of
	// DrainTimeout.
	Notice time.Duration

	// DrainTimeout is the maximum duration of a drain, including Notice. 0
	// means 25 s, because Kubernetes kills a process after 30 s. If yours is
	// killed earlier, set a lower value; docker stop waits 10 s.
	DrainTimeout time.Duration

	// Log logs the progress of a drain. Default: slog.Default().
	Log *slog.Logger
}

const (
	defaultNotice       = 15 * time.Second
	defaultDrainTimeout = 25 * time.Second
)

// Backend counts the sessions of a server and closes them in a drain. Create it
// with [New]. It needs no closing, and starts goroutines only in Drain and Serve
// and to close a session. All methods are safe for concurrent use.
type Backend struct {
	healthPath   string
	maxSessions  int
	load         func() float64
	notice       time.Duration
	drainTimeout time.Duration
	log          *slog.Logger

	mu          sync.Mutex // guards the fields below
	phase       phase
	slots       int                   // in use by sessions and by handshakes in progress
	checkSlots  int                   // in use by health checks that open a WebSocket
	sessions    map[*session]struct{} // that have joined
	wasChecked  bool                  // there was a health check
	reported503 bool                  // a health check was answered with 503
	changed     chan struct{}         // has an element if Drain must check again
	drain       *drain                // nil before the first Drain
}

// phase never decreases.
type phase uint8

const (
	serving   phase = iota
	notifying       // health checks get 503, everything else continues
	closing         // handshakes are refused and sessions are closed
)

// New returns a Backend with the given options.
func New(o Options) *Backend {
	b := &Backend{
		healthPath:   cmp.Or(o.HealthPath, "/health"),
		maxSessions:  o.MaxSessions,
		load:         o.Load,
		drainTimeout: cmp.Or(o.DrainTimeout, defaultDrainTimeout),
		log:          cmp.Or(o.Log, slog.Default()),
		sessions:     map[*session]struct{}{},
		changed:      make(chan struct{}, 1),
	}
	b.notice = max(0, min(cmp.Or(o.Notice, defaultNotice), b.drainTimeout*3/5))
	if b.load == nil && b.maxSessions > 0 {
		b.load = func() float64 { return float64(b.Sessions()) / float64(b.maxSessions) }
	}
	return b
}

// Sessions returns the number of sessions, including handshakes in progress.
func (b *Backend) Sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.slots
}

// Draining reports whether a drain has begun. Once true, it stays true.
func (b *Backend) Draining() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase != serving
}

// Handler returns a handler that answers health checks and refuses WebSocket
// handshakes that the server can't take. It passes all other requests to next.
//
// Handshakes are refused with 503 and Retry-After above MaxSessions, and in a
// drain once the balancers have had time to notice it. Retry-After is random, so
// that clients don't all come back at the same time. Handshakes of sessions that
// come from another server, see [Reattach], are refused as soon as a drain
// begins; the balancer then asks another server.
//
// A handshake that is passed to next counts as a session until next returns, and
// if next has called Join, until the session leaves. Other requests aren't
// counted.
//
// next gets the original ResponseWriter, which therefore supports Hijack. The
// handler blocks only in next and in Options.Load.
func (b *Backend) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == b.healthPath:
			b.ServeHealth(w, r)
		case isHandshake(r) && b.slotOf(r) == nil: // otherwise an outer Handler has counted it
			b.serveHandshake(w, r, next)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (b *Backend) serveHandshake(w http.ResponseWriter, r *http.Request, next http.Handler) {
	s, refusal := b.acquireSlot(r)
	if s == nil {
		w.Header().Set("Retry-After", retryAfter())
		http.Error(w, refusal, http.StatusServiceUnavailable)
		return
	}
	defer b.releaseSlot(s)
	next.ServeHTTP(w, b.withSlot(r, s))
}
