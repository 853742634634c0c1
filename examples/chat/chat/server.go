// Package chat is an example of a WebSocket server behind a load balancer. It uses
// package hub for rooms and presence, and package backend for health checks and
// draining. Its sessions can move to other servers. docs/chat.md describes the
// protocol.
package chat

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-ws/holdfast/backend"
	"github.com/holdfast-ws/holdfast/hub"
)

// Options configures a Server. All fields except Script and Log are required.
type Options struct {
	Name     string           // shown to users, as in "chat-1"
	Kit      *backend.Backend // counts the sessions, and closes them in a drain
	Rooms    hub.Hub
	Sessions Sessions
	// Script is the path, on the page's host, of an additional module script
	// for the page to load. Optional.
	Script string
	// Log logs errors. Default: slog.Default().
	Log *slog.Logger
}

// Server is a chat server. Use it through Handler.
type Server struct {
	name     string
	kit      *backend.Backend
	rooms    hub.Hub
	sessions Sessions
	script   string
	log      *slog.Logger
}

// New returns a Server. It has no goroutines except those of its sessions, and
// needs no closing. To shut down, drain the Kit and then close Rooms.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Server{name: o.Name, kit: o.Kit, rooms: o.Rooms, sessions: o.Sessions, script: o.Script, log: o.Log}
}

// Handler serves the page at / and WebSockets at /ws. The Kit answers health
// checks.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	servePage(mux, s.script)
	mux.HandleFunc("GET /ws", s.serveSession)
	return mux
}

// redisTimeout limits how long a handshake waits for Redis.
const redisTimeout = 3 * time.Second

// serveSession serves a session. Accept checks that Origin is this host, so that
// pages of other sites can't chat on behalf of their visitors.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request) {
	from := backend.Reattach(r)
	var who Who
	if from.Reattached() {
		ctx, cancel := context.WithTimeout(r.Context(), redisTimeout)
		defer cancel()
		var err error
		who, err = s.sessions.Load(ctx, from.ID)
		switch {
		case errors.Is(err, ErrNoSession):
			http.Error(w, "unknown session", http.StatusNotFound)
			return
		case err != nil:
			s.log.Warn("cannot take over a session", "session", from.ID, "error", err)
			http.Error(w, "the session can't be loaded now", http.StatusServiceUnavailable)
			return
		}
	}
	c := newSession(s, from)
	if from.Reattached() {
		c.holdPresence(who) // the other server ends the session once this handshake is accepted
	}
	c.control = s.kit.Control(w.Header(), r)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			c.control.Ping(payload)
			return true // answer with a pong
		},
	})
	if err != nil {
		c.releasePresence()
		return // Accept has sent the response
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxFrame)
	c.conn = conn
	leave := c.control.Join(c.end)
	defer leave()
	c.run()
}
