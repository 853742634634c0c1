package httpproxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/sock/transport"
	"github.com/holdfast-ws/holdfast/internal/wire/httphead"
)

// ServerOptions of a Server.
type ServerOptions struct {
	// Addr is the server's address; connections have their own.
	Addr    net.Addr
	Handler http.Handler
	Limits  Limits
	// IsPlain reports whether a request on a connection is for Handler; nil means that
	// all are.
	IsPlain func(*transport.Meta, *httphead.Request) bool
	// HandBack gets a connection on which something other than a well-formed
	// head came, or a head for which IsPlain is false. first is everything from
	// that head on; meta is what Hand was given. HandBack owns conn and first.
	// nil means that the client is told 400.
	HandBack func(conn net.Conn, meta transport.Meta, first []byte)
	// Enter is called for each request of an HTTP/2 connection that comes while
	// others of it are under way: the connection itself stands for one only. If it
	// returns an error, Handler gets the request all the same, to answer it. Leave
	// is called at the end of a request that entered. Both may be nil.
	Enter func() error
	Leave func()
	// ConnEnded is called once for each connection that Hand took, after it was
	// closed or hijacked, with what Hand was given. asked is false for an HTTP/2
	// connection that has had no request. It may be nil.
	ConnEnded func(meta transport.Meta, asked bool)
	// Log must not be nil.
	Log *slog.Logger
}

// Limits bound what clients may do. 0 means the default, which is given last.
type Limits struct {
	// Head is the time for a request's head; on a connection that is kept alive,
	// from its first byte; 10 s.
	Head time.Duration
	// Idle is how long a connection may wait for its next request; 75 s.
	Idle time.Duration
	// Send is how long a client may accept no bytes of its answer; 60 s.
	Send time.Duration
	// HeadBytes bounds a request's head; 16 KiB.
	HeadBytes int
}

func (l Limits) orDefaults() Limits {
	return Limits{
		Head:      cmp.Or(l.Head, 10*time.Second),
		Idle:      cmp.Or(l.Idle, 75*time.Second),
		Send:      cmp.Or(l.Send, defaultSend),
		HeadBytes: cmp.Or(l.HeadBytes, 16<<10),
	}
}

// Server serves connections that something else accepted.
type Server struct {
	o       ServerOptions
	idle    idleConns
	served  sync.WaitGroup // serve of each generation
	watches sync.WaitGroup // of dedicated connections to backends
	lingers sync.WaitGroup

	mu        sync.Mutex // guards the following
	serving   bool
	stopping  bool
	limits    Limits
	newest    *generation
	all       map[*generation]bool // those that have connections, and newest
	lingering map[*clientConn]bool
}

// generation is an http.Server for each version of HTTP. Their settings can't be
// changed, so SetLimits makes another generation. Connections stay with theirs.
type generation struct {
	http1, http2 version
	conns        int // guarded by Server.mu
}

type version struct {
	http     *http.Server
	listener *Listener
}

func (g *generation) versions() [2]version { return [2]version{g.http1, g.http2} }

// NewServer makes a Server. It begins to serve with Serve.
func NewServer(o ServerOptions) *Server {
	s := &Server{o: o, all: map[*generation]bool{}, lingering: map[*clientConn]bool{}}
	s.limits = o.Limits.orDefaults()
	s.newest = s.newGeneration(s.limits)
	return s
}

func (s *Server) newGeneration(l Limits) *generation {
	g := &generation{
		http1: s.newVersion(l, http.HandlerFunc(s.serveHTTP)),
		http2: s.newVersion(l, http.HandlerFunc(s.serveHTTP2)),
	}
	g.http1.http.Protocols.SetHTTP1(true)
	setHTTP2(g.http2.http)
	s.all[g] = true
	return g
}

func (s *Server) newVersion(l Limits, h http.Handler) version {
	return version{
		listener: NewListener(s.o.Addr),
		// No ReadTimeout and no WriteTimeout: bodies may stream for hours.
		http: &http.Server{
			Handler:           h,
			Protocols:         new(http.Protocols),
			ReadHeaderTimeout: l.Head,
			IdleTimeout:       l.Idle,
			MaxHeaderBytes:    l.HeadBytes, // and a little more; heads is exact
			ConnContext:       connContext,
			// It would answer OPTIONS * without the handler, which heads relies on.
			DisableGeneralOptionsHandler: true,
			ConnState:                    s.connState,
			ErrorLog:                     slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
		},
	}
}

// serveHTTP is the handler of HTTP/1.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if c, ok := clientOf(r).(*clientConn); ok && c.heads.taken() {
		s.handBack(w, c)
		return
	}
	s.handle(w, r)
}

// handle answers a request of either version.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions && r.RequestURI == "*" {
		// It is about the balancer, not a backend's resource (RFC 9110 §9.3.7).
		w.Header().Set("Content-Length", "0")
		return
	}
	s.o.Handler.ServeHTTP(w, r)
}

// handBack takes a connection from net/http.
func (s *Server) handBack(w http.ResponseWriter, c *clientConn) {
	if s.o.HandBack == nil {
		w.Header().Set("Connection", "close")
		http.Error(w, "400: this is no plain HTTP request that can be served", http.StatusBadRequest)
		return
	}
	if _, _, err := http.NewResponseController(w).Hijack(); err != nil {
		panic(http.ErrAbortHandler) // the connection was closed meanwhile
	}
	s.o.HandBack(c.Conn, c.meta, c.heads.rest())
}

func (s *Server) connState(conn net.Conn, state http.ConnState) {
	switch c := conn.(type) {
	case *clientConn:
		switch state {
		case http.StateIdle:
			s.idle.add(&c.served)
			c.heads.waits()
		case http.StateActive:
			c.wake()
		case http.StateHijacked:
			c.hijacked()
		}
	case *http2Conn:
		switch state {
		case http.StateIdle:
			s.idle.add(&c.served)
		case http.StateActive:
			c.wake()
		}
	}
}

// SetLimits replaces the limits: Send at once, the others for later connections.
func (s *Server) SetLimits(l Limits) {
	l = l.orDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.limits
	s.limits = l
	if before.Send = l.Send; before == l || s.stopping {
		return
	}
	old := s.newest
	s.newest = s.newGeneration(l)
	s.retire(old)
	if s.serving {
		s.serve(s.newest)
	}
}

// retire ends a generation that gets no more connections and has none. It is
// called with mu held.
func (s *Server) retire(g *generation) {
	if g != s.newest && g.conns == 0 {
		for _, v := range g.versions() {
			v.listener.Close()
		}
		delete(s.all, g)
	}
}

func (s *Server) sendTimeout() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits.Send
}

// Hand takes over conn, from which already was read before. It never blocks. It
// reports false if it can't take the connection; then it has closed it, and
// ConnEnded isn't called for it. meta is for MetaOf, and says whether HTTP/2 is
// spoken, before which nothing may have been read.
func (s *Server) Hand(conn net.Conn, meta transport.Meta, already []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.newest
	g.conns++
	var taken bool
	if IsHTTP2(&meta) {
		c := &http2Conn{headers: headers2{conn: conn, time: s.limits.Head, preface: clientPreface}}
		c.served = served{Conn: conn, meta: meta, server: s, of: g, outer: c}
		taken = g.http2.listener.offer(c)
	} else {
		c := &clientConn{heads: newHeads(conn, already, s.isPlain(&meta), s.limits)}
		c.served = served{Conn: conn, meta: meta, server: s, of: g, outer: c}
		taken = g.http1.listener.offer(c)
	}
	if !taken {
		g.conns--
		conn.Close()
	}
	return taken
}

// isPlain is IsPlain for the requests of one connection.
func (s *Server) isPlain(meta *transport.Meta) func(*httphead.Request) bool {
	if s.o.IsPlain == nil {
		return nil
	}
	return func(r *httphead.Request) bool { return s.o.IsPlain(meta, r) }
}

// connEnded is called once for each connection.
func (s *Server) connEnded(c *served) {
	s.mu.Lock()
	c.of.conns--
	s.retire(c.of)
	s.mu.Unlock()
	if s.o.ConnEnded != nil {
		h2, ok := c.outer.(*http2Conn)
		s.o.ConnEnded(c.meta, !ok || h2.asked())
	}
}

// CloseIdle closes the connection that has waited longest for its next request, or
// if there is none, a lingering one. It reports whether there was one, and doesn't
// block.
func (s *Server) CloseIdle() bool {
	for c := s.idle.oldest(); c != nil; c = s.idle.oldest() {
		if c.closeIdle() {
			return true
		}
	}
	s.mu.Lock()
	var lingering *clientConn
	for lingering = range s.lingering {
		delete(s.lingering, lingering)
		break
	}
	s.mu.Unlock()
	if lingering == nil {
		return false
	}
	lingering.Conn.Close()
	lingering.end()
	return true
}

// CloseIdleOn closes the connection that has waited longest for its next request, of
// those that came on a listener. It reports whether there was one, and doesn't block.
func (s *Server) CloseIdleOn(listener string) bool {
	for c := s.idle.oldestOn(listener); c != nil; c = s.idle.oldestOn(listener) {
		if c.closeIdle() {
			return true
		}
	}
	return false
}

// CloseIdleOf closes the connection that has waited longest for its next request, of those
// from a client: an address, or the first 64 bits of an IPv6 address. It reports whether
// there was one, and doesn't block.
func (s *Server) CloseIdleOf(client netip.Addr) bool {
	for c := s.idle.oldestOf(client); c != nil; c = s.idle.oldestOf(client) {
		if c.closeIdle() {
			return true
		}
	}
	return false
}

// linger reads c for a while before it is closed. It reports false if the server
// is stopping.
func (s *Server) linger(c *clientConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.lingering[c] = true
	s.lingers.Go(func() {
		c.lingers()
		s.mu.Lock()
		delete(s.lingering, c)
		s.mu.Unlock()
	})
	return true
}

// Serve serves the connections that are handed over, until Shutdown. It returns
// nil.
func (s *Server) Serve() error {
	s.mu.Lock()
	s.serving = true
	if !s.stopping {
		s.serve(s.newest)
	}
	s.mu.Unlock()
	s.served.Wait()
	return nil
}

// serve is called with mu held.
func (s *Server) serve(g *generation) {
	for _, v := range g.versions() {
		s.served.Go(func() {
			if err := v.http.Serve(v.listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				s.o.Log.Error("plain HTTP is no longer served", "error", err)
			}
		})
	}
}

// Shutdown accepts no more connections, closes idle ones and waits for requests to
// end until ctx is over. Then it breaks off the rest and returns the error of ctx.
// It doesn't touch hijacked connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	var all []version
	for g := range s.all {
		all = append(all, g.http1, g.http2)
	}
	for c := range s.lingering {
		c.Conn.SetReadDeadline(longAgo)
	}
	s.mu.Unlock()
	var ends sync.WaitGroup
	errs := make([]error, len(all))
	for i, v := range all {
		ends.Go(func() {
			v.listener.Close() // also where Serve was never called
			if errs[i] = v.http.Shutdown(ctx); errs[i] != nil {
				v.http.Close()
			}
		})
	}
	ends.Wait()
	s.lingers.Wait()
	s.watches.Wait()
	return errors.Join(errs...)
}
