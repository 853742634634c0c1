package demo

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// controlsPath is the path of the controls. The balancer serves them on the
	// same origin as the chat, so that the page can use them.
	controlsPath   = "/demo"
	controlsScript = "controls.js"
)

//go:embed page
var pageFiles embed.FS

// pageTypes has the content types of the files. They aren't taken from the system's
// MIME table, which may be wrong, because with nosniff browsers rely on them.
var pageTypes = map[string]string{
	controlsScript: "text/javascript; charset=utf-8",
	"controls.css": "text/css; charset=utf-8",
}

// controls serves the HTTP API with which the page shows and controls the demo.
type controls struct {
	servers *fleet
	live    atomic.Pointer[live] // nil until setLive
}

// live has what is only available once the balancer runs.
type live struct {
	balancer  Balancer
	guests    *guests
	dashboard string // its URL, "" for none
}

// status is the answer to GET /demo/status.
type status struct {
	Servers []row        `json:"servers"`
	Max     int          `json:"most"` // maximum number of servers
	Guests  *guestCounts `json:"guests"`
	// Dashboard is the URL of the balancer's dashboard, "" for none.
	Dashboard string `json:"dashboard"`
}

type row struct {
	serverStatus
	Sessions int `json:"sessions"` // counted by the balancer
}

// setLive adds the balancer's sessions, the guests and the dashboard to the status.
func (c *controls) setLive(b Balancer, g *guests, dashboard string) {
	c.live.Store(&live{b, g, dashboard})
}

// serve serves the API on l until stop is called.
func (c *controls) serve(l net.Listener) (stop func()) {
	web := &http.Server{
		Handler:           c.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // discard messages about bad requests
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(l) // returns after Close
	}()
	return func() {
		_ = web.Close() // fails only if already closed
		<-done
	}
}

// handler refuses requests from pages of other sites.
func (c *controls) handler() http.Handler {
	mux := http.NewServeMux()
	for file, contentType := range pageTypes {
		content, err := pageFiles.ReadFile("page/" + file)
		if err != nil {
			panic(err) // can't happen: it is embedded
		}
		mux.HandleFunc("GET "+controlsPath+"/"+file, func(w http.ResponseWriter, r *http.Request) {
			respond(w, contentType, content)
		})
	}
	mux.HandleFunc("GET "+controlsPath+"/status", func(w http.ResponseWriter, r *http.Request) {
		text, err := json.Marshal(c.status())
		if err != nil {
			panic(err) // can't happen with these types
		}
		respond(w, "application/json", text)
	})
	for name, do := range map[string]func(context.Context, string) error{
		"drain": func(_ context.Context, server string) error { return c.servers.drain(server) },
		"kill":  func(_ context.Context, server string) error { return c.servers.kill(server) },
		"add":   func(ctx context.Context, _ string) error { return c.servers.add(context.WithoutCancel(ctx)) },
	} {
		mux.HandleFunc("POST "+controlsPath+"/"+name, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.Context(), r.FormValue("server")); err != nil {
				http.Error(w, err.Error(), errorStatus(err))
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	return requireLocalHost(http.NewCrossOriginProtection().Handler(mux))
}

func respond(w http.ResponseWriter, contentType string, content []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(content) // the client may have disconnected
}

func errorStatus(err error) int {
	switch {
	case errors.Is(err, errNoServer):
		return http.StatusNotFound
	case errors.As(err, new(refused)):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

func (c *controls) status() status {
	st := status{Max: MaxServers}
	sessions := map[string]int{}
	if l := c.live.Load(); l != nil {
		for _, p := range l.balancer.Status().Pools {
			if p.Name != chatPool {
				continue
			}
			for _, b := range p.Backends {
				sessions[b.Name] += b.Sessions
			}
		}
		st.Guests, st.Dashboard = l.guests.counts(), l.dashboard
	}
	for _, s := range c.servers.status() {
		st.Servers = append(st.Servers, row{s, sessions[s.Name]})
	}
	return st
}
