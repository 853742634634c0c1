// Package chat is a chat server as it should be behind a balancer: rooms and
// presence by way of package hub, health and draining by package backend, and
// sessions that another server can go on with. docs/chat.md has its protocol.
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

// Options of a Server. All but Script and Log are required.
type Options struct {
	Name     string           // shown to users, as in "chat-1"
	Kit      *backend.Backend // counts the sessions, and closes them in a drain
	Rooms    hub.Hub
	Sessions Sessions
	// Script is the path of one more module script that the page loads, from
	// where the page is from. "" is none.
	Script string
	// Log is told what goes wrong. nil means slog.Default().
	Log *slog.Logger
}

// Server is one chat server. Handler is all there is of it.
type Server struct {
	name     string
	kit      *backend.Backend
	rooms    hub.Hub
	sessions Sessions
	script   string
	log      *slog.Logger
}

// New makes a Server. It has no goroutines but those of its sessions, and
// needs no closing: drain the Kit, then close Rooms.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Server{name: o.Name, kit: o.Kit, rooms: o.Rooms, sessions: o.Sessions, script: o.Script, log: o.Log}
}

// Handler serves the page at / and the chat at /ws. Health checks are the
// Kit's.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	servePage(mux, s.script)
	mux.HandleFunc("GET /ws", s.chat)
	return mux
}

// redisTimeout bounds what a handshake waits for.
const redisTimeout = 3 * time.Second

// chat serves a session. Accept checks that Origin is this host, so that no
// other site's page can chat in its visitor's name.
func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	from := backend.Reattach(r)
	var who Who
	if from.Reattached() {
		ctx, cancel := context.WithTimeout(r.Context(), redisTimeout)
		defer cancel()
		var err error
		who, err = s.sessions.Load(ctx, from.ID)
		switch {
		case errors.Is(err, ErrNoSession):
			http.Error(w, "this session isn't known", http.StatusNotFound)
			return
		case err != nil:
			s.log.Warn("a session can't be taken over", "session", from.ID, "error", err)
			http.Error(w, "sessions can't be looked up now", http.StatusServiceUnavailable)
			return
		}
	}
	c := newSession(s, from)
	if from.Reattached() {
		c.holdPlace(who) // once this is accepted, the other server is told to let the session go
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		c.letGo()
		return // Accept answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxFrame)
	c.conn = conn
	leave := s.kit.Join(r, c.end)
	defer leave()
	c.run()
}
