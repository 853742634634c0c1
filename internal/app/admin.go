package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/ops/dashboard"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
)

// adminServer is the admin interface on its addresses.
type adminServer struct {
	api, health *admin.Server
	// as is how the addresses were opened: a later configuration may say something else.
	as     config.Admin
	socket *adminSocket                // nil if there is none
	tcp    net.Listener                // nil if there is none
	public net.Listener                // that of health; nil if there is none
	certs  atomic.Pointer[certs.Store] // of tcp; nil without TLS

	explain func(*slog.Logger) // logs why there is no socket; nil if there is nothing to say
	serving sync.WaitGroup
}

// newAdmin opens the addresses of the admin interface, which answers from start on.
func (a *App) newAdmin(c *config.Admin, l *listening) (_ *adminServer, err error) {
	s := &adminServer{as: *c}
	o := admin.Options{
		Balancer: operated{a},
		Host:     c.Address.Host,
		Draining: a.stopping,
		Metrics:  a.MetricsHandler(),
		Pages:    dashboard.Handler(),
		Done:     a.metrics.AdminDone,
		Clients:  s.clients,
		Log:      a.slog,
	}
	s.api, s.health = admin.New(o), admin.NewHealth(o)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.socket, s.explain, err = openSocket(c); err != nil {
		return nil, err
	}
	if !c.Address.IsZero() {
		if s.tcp, err = listenTCP(c.Address, l.givenAdmin); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
	}
	if !c.Health.IsZero() {
		if s.public, err = listenTCP(c.Health, l.givenHealth); err != nil {
			return nil, fmt.Errorf("admin.health: %w", err)
		}
	}
	return s, nil
}

// start serves the addresses.
func (s *adminServer) start(log *slog.Logger) {
	if s.explain != nil {
		s.explain(log)
	}
	serve := func(on *admin.Server, l net.Listener, secure *tls.Config) {
		s.serving.Go(func() {
			if err := on.Serve(l, secure); err != nil {
				log.Error("the admin interface ended", "address", l.Addr().String(), "error", err)
			}
		})
	}
	if s.socket != nil {
		serve(s.api, s.socket, nil)
	}
	if s.tcp != nil && s.certs.Load() != nil {
		serve(s.api, s.tcp, &tls.Config{GetConfigForClient: s.tlsConfig})
	} else if s.tcp != nil {
		serve(s.api, s.tcp, nil)
	}
	if s.public != nil {
		serve(s.health, s.public, nil)
	}
}

// tlsConfig is that of one connection.
func (s *adminServer) tlsConfig(*tls.ClientHelloInfo) (*tls.Config, error) {
	store := s.certs.Load()
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: store.GetCertificate,
		SessionTicketsDisabled: true} // a client's certificate is verified each time
	if cas := store.ClientCAs(); cas != nil {
		c.ClientCAs, c.ClientAuth = cas.Pool, tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// clients are the authorities of client certificates; nil if none are needed.
func (s *adminServer) clients() *x509.CertPool {
	if store := s.certs.Load(); store != nil {
		if cas := store.ClientCAs(); cas != nil {
			return cas.Pool
		}
	}
	return nil
}

// pending reports whether c needs a restart to change who may connect to the address.
// Until then, who may doesn't change either: c may be without a token since its address is
// another.
func (s *adminServer) pending(c *config.Admin) bool {
	return c.Address != s.as.Address || (c.TLS == nil) != (s.as.TLS == nil)
}

// useAdmin sets who may connect to the address from now on.
func (a *App) useAdmin(c *config.Admin, l *listening) {
	if a.admin.pending(c) {
		return
	}
	// If tokens take the place of certificates or the other way round, both are needed for
	// a moment, not none.
	if l.tokens != nil {
		a.admin.api.SetTokens(l.tokens)
	}
	a.admin.certs.Store(l.admin)
	a.admin.api.SetTokens(l.tokens)
}

// adminTokens reads the tokens of c; nil if there are none.
func adminTokens(c *config.Config) (*admin.Tokens, error) {
	path := c.Admin.TokenFile
	if path == "" {
		return nil, nil
	}
	text, err := readTokens(path)
	if err == nil {
		var t *admin.Tokens
		if t, err = admin.ParseTokens(text); err == nil {
			return t, nil
		}
		err = fmt.Errorf("%s: %w", path, err)
	}
	errs := config.Errors{{Path: "admin.token_file", Msg: err.Error()}}
	c.Locate(errs)
	return nil, errs
}

// readTokens bounds what it reads, in case that the path is that of something else.
func readTokens(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// close stops the admin interface; running requests have a second to end.
func (s *adminServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.socket != nil {
		s.socket.remove()
	}
	s.api.Shutdown(ctx)
	s.health.Shutdown(ctx)
	for _, l := range []net.Listener{s.tcp, s.public} { // also if they haven't started
		if l != nil {
			l.Close()
		}
	}
	if s.socket != nil {
		s.socket.Close()
	}
	s.serving.Wait()
}

// AdminAddr returns the bound admin address; "" if there is none.
func (a *App) AdminAddr() string {
	if a.admin.tcp == nil {
		return ""
	}
	return a.admin.tcp.Addr().String()
}

// AdminSocket returns the path of the admin socket; "" if there is none.
func (a *App) AdminSocket() string {
	if a.admin.socket == nil {
		return ""
	}
	return a.admin.socket.path
}

// overrideAdmin uses Admin instead of the address of c.
func (o *Options) overrideAdmin(c *config.Config) error {
	if o.Admin.IsZero() {
		return nil
	}
	c.Admin.Address = o.Admin
	if err := c.Admin.CheckAddress(); err != nil {
		return config.Errors{{Place: config.Place{File: "--admin " + o.Admin.String()}, Msg: err.Error()}}
	}
	return nil
}

// MetricsHandler serves scrapes: the metrics of the admin interface.
func (a *App) MetricsHandler() http.Handler {
	scrapes := a.metrics.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.spare.while(func() { scrapes.ServeHTTP(w, r) })
	})
}
