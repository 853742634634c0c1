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
	// controlsPath is where the balancer has the controls, beside the chat, so
	// that the page may ask them.
	controlsPath   = "/demo"
	controlsScript = "controls.js"
)

//go:embed page
var pageFiles embed.FS

// pageTypes are set rather than guessed: the system's MIME table may be wrong,
// and nosniff makes browsers strict.
var pageTypes = map[string]string{
	controlsScript: "text/javascript; charset=utf-8",
	"controls.css": "text/css; charset=utf-8",
}

// controls are what the page shows of the demo, and can do to it.
type controls struct {
	servers *fleet
	live    atomic.Pointer[live] // nil until begin
}

// live is what there is to count.
type live struct {
	balancer Balancer
	guests   *guests
}

// status is the answer to GET /demo/status.
type status struct {
	Servers []row        `json:"servers"`
	Most    int          `json:"most"` // servers that can be had
	Guests  *guestCounts `json:"guests"`
}

type row struct {
	serverStatus
	Sessions int `json:"sessions"` // by the balancer's count
}

// begin has the status count the balancer's sessions and the guests.
func (c *controls) begin(b Balancer, g *guests) { c.live.Store(&live{b, g}) }

// serve answers requests on l until the function that it returns is called.
func (c *controls) serve(l net.Listener) (stop func()) {
	web := &http.Server{
		Handler:           c.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // bad requests are the clients' business
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(l) // until Close
	}()
	return func() {
		_ = web.Close() // an error means that it is closed
		<-done
	}
}

// handler refuses what comes from other sites' pages.
func (c *controls) handler() http.Handler {
	mux := http.NewServeMux()
	for file, contentType := range pageTypes {
		content, err := pageFiles.ReadFile("page/" + file)
		if err != nil {
			panic(err) // it is embedded
		}
		mux.HandleFunc("GET "+controlsPath+"/"+file, func(w http.ResponseWriter, r *http.Request) {
			answer(w, contentType, content)
		})
	}
	mux.HandleFunc("GET "+controlsPath+"/status", func(w http.ResponseWriter, r *http.Request) {
		text, err := json.Marshal(c.status())
		if err != nil {
			panic(err) // there is nothing in it that can't be written
		}
		answer(w, "application/json", text)
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
	return knownHost(http.NewCrossOriginProtection().Handler(mux))
}

func answer(w http.ResponseWriter, contentType string, content []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(content) // who asked may have gone
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
	st := status{Most: MostServers}
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
		st.Guests = l.guests.counts()
	}
	for _, s := range c.servers.status() {
		st.Servers = append(st.Servers, row{s, sessions[s.Name]})
	}
	return st
}
