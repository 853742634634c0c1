package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/admin"
	"github.com/holdfast-ws/holdfast/internal/ops/dashboard"
)

// adminServer is the admin interface on its address.
type adminServer struct {
	*admin.Server
	listener net.Listener
	serving  sync.WaitGroup
}

// newAdmin opens the address of the admin interface, which answers from start on.
func (a *App) newAdmin(address config.Address) (*adminServer, error) {
	ln, err := net.Listen("tcp", address.String())
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	s := &adminServer{
		Server: admin.New(admin.Options{
			Balancer: operated{a},
			Host:     address.Host,
			Draining: a.stopping,
			Metrics:  a.MetricsHandler(),
			Pages:    dashboard.Handler(),
			Log:      a.slog,
		}),
		listener: ln,
	}
	return s, nil
}

func (s *adminServer) start(log *slog.Logger) {
	s.serving.Go(func() {
		if err := s.Serve(s.listener); err != nil {
			log.Error("the admin interface ended", "error", err)
		}
	})
}

// close stops the admin interface; running requests have a second to end.
func (s *adminServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.Shutdown(ctx)
	s.listener.Close() // also if it hasn't started
	s.serving.Wait()
}

// MetricsHandler serves scrapes: the metrics of the admin interface.
func (a *App) MetricsHandler() http.Handler {
	scrapes := a.metrics.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.spare.while(func() { scrapes.ServeHTTP(w, r) })
	})
}
