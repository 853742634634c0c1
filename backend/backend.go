// Package backend is what a WebSocket server behind a load balancer should do:
// tell the balancer how it is, refuse what it can't carry, and go in an order
// in which no client is cut off.
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
//		...
//	})
//	if err := kit.Run(context.Background(), ":3000", nil); err != nil {
//		log.Fatal(err)
//	}
//
// It works with any WebSocket library, since all it needs of a session is a
// function that closes it. It imports nothing but the standard library, and
// nothing in it depends on which balancer it is, but for [Reattach] and the
// Holdfast-Load header, which are holdfast's. docs/backends.md has the whole
// story.
package backend

import (
	"cmp"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Options of a Backend. The zero value is ready for use.
type Options struct {
	// HealthPath is where health checks are answered, see ServeHealth. ""
	// means /health.
	HealthPath string

	// MaxSessions bounds the sessions there are at a time. A handshake above
	// it is answered with 503 and Retry-After. 0 means no bound.
	MaxSessions int

	// Load is asked at each health check how much of what the server can
	// carry is in use: 0 is idle, 1 is all. What is outside counts as the
	// nearer of the two, and NaN as unknown. It may be called by several
	// goroutines at once, and the check waits for it. nil means sessions
	// divided by MaxSessions, or unknown without MaxSessions.
	Load func() float64

	// Notice is how long a drain waits for every balancer to have asked, and
	// heard that no more sessions are wanted: the interval and the timeout of
	// their health checks, and a little more. 0 means 15 s, which is right
	// for holdfast's defaults; less than 0 means not to wait. It is at most
	// three fifths of DrainTimeout.
	Notice time.Duration

	// DrainTimeout bounds a drain from its begin to its end, Notice included.
	// 0 means 25 s, since Kubernetes kills after 30. Set it to less than what
	// yours gives: docker stop, for one, gives 10 s.
	DrainTimeout time.Duration

	// Log is told when a drain begins, goes on and ends. nil means
	// slog.Default().
	Log *slog.Logger
}

const (
	defaultNotice       = 15 * time.Second
	defaultDrainTimeout = 25 * time.Second
)

// Backend counts the sessions of one server and ends them in order. Make it
// with New; it needs no closing, and has no goroutines but in Drain and Serve.
// All methods may be called by any goroutine.
type Backend struct {
	healthPath   string
	maxSessions  int
	load         func() float64
	notice       time.Duration
	drainTimeout time.Duration
	log          *slog.Logger

	mu       sync.Mutex // guards the following
	phase    phase
	taken    int                   // places: sessions, and handshakes under way
	checks   int                   // the same of health checks, which are no sessions
	sessions map[*session]struct{} // that have joined
	asked    bool                  // by a health check, ever
	told     bool                  // a health check was answered with 503
	changed  chan struct{}         // has a token when Drain should look again
	drain    *drain                // nil before the first Drain
}

// phase only ever grows.
type phase uint8

const (
	serving   phase = iota
	notifying       // health is 503, and all else goes on
	closing         // no more handshakes, and sessions are closed
)

// New makes a Backend.
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

// Sessions counts the sessions there are now, and the handshakes under way.
func (b *Backend) Sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

// Draining tells whether a drain has begun. It never ends but with the server.
func (b *Backend) Draining() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase != serving
}

// Handler answers health checks, and gives all other requests to next, but for
// WebSocket handshakes that there is no place for: above MaxSessions, and in a
// drain once the balancers have had notice of it. Those are answered with 503
// and a Retry-After that differs from one to the next, so that they don't all
// come back together. A session that another server gives away, see Reattach,
// is refused as soon as a drain begins: the balancer has others to ask.
//
// Each handshake that goes to next has a place until next returns, and beyond
// that if it has called Join by then. What is no handshake isn't counted.
//
// next gets the ResponseWriter as it came, with Hijack and all else it can do.
// Handler never blocks but in next and in Options.Load.
func (b *Backend) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == b.healthPath:
			b.ServeHealth(w, r)
		case isHandshake(r) && b.placeOf(r) == nil: // else it has been through a Handler already
			b.serveHandshake(w, r, next)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (b *Backend) serveHandshake(w http.ResponseWriter, r *http.Request, next http.Handler) {
	p, refusal := b.enter(r)
	if p == nil {
		w.Header().Set("Retry-After", retryAfter())
		http.Error(w, refusal, http.StatusServiceUnavailable)
		return
	}
	defer b.leavePlace(p)
	next.ServeHTTP(w, b.withPlace(r, p))
}
