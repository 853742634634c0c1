package app

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/ops/service"
	"github.com/holdfast-ws/holdfast/internal/sock/activation"
	"github.com/holdfast-ws/holdfast/internal/sock/transport"
)

// serviceStatusEvery is how often the status line of the service manager is renewed. It
// is sent only if it has changed.
const serviceStatusEvery = 5 * time.Second

// serviceMargin is how much longer than its own limits a shutdown may take, in which the
// last connections are cut and files written.
const serviceMargin = 10 * time.Second

// useSystemd takes over what systemd has given the process.
func (a *App) useSystemd() (err error) {
	if !a.options.Systemd {
		return nil
	}
	a.manager = service.Find(a.slog)
	a.sockets, err = activation.FromEnvironment()
	return err
}

// assignSockets gives the listeners of l and the admin interface their sockets from
// systemd, and notes a warning for each that is left.
func (a *App) assignSockets(l *listening, c *config.Admin) {
	var wants []activation.Want
	for _, s := range l.specs {
		wants = append(wants, activation.Want{Name: s.Name, Address: s.Address})
	}
	// By address only: who may reach it has been checked by that.
	wants = append(wants, activation.Want{Address: c.Address.String()}, activation.Want{Address: c.Health.String()})
	given, unused := a.sockets.Assign(wants)
	n := len(l.specs)
	for i := range l.specs {
		l.specs[i].Given = given[i]
	}
	l.givenAdmin, l.givenHealth = given[n], given[n+1]
	for _, s := range unused {
		l.unused = append(l.unused, fmt.Sprintf("systemd gave the socket %s, which no listener uses, so clients that connect to it get no answer: "+
			"give a listener its address or its name, or change ListenStream= or FileDescriptorName= of the socket unit", s))
	}
}

// listenTCP listens at an address, or on the socket that systemd gave for it.
func listenTCP(address config.Address, given *transport.Given) (net.Listener, error) {
	if given != nil {
		return net.FileListener(given.File)
	}
	return net.Listen("tcp", address.String())
}

// runManager tells the service manager that the balancer has started, and keeps it
// informed until stopManager.
func (a *App) runManager() {
	if a.manager == nil {
		return
	}
	a.manager.Ready(a.serviceStatus())
	a.managing.done = make(chan struct{})
	a.managing.Go(func() {
		status := time.NewTicker(serviceStatusEvery)
		defer status.Stop()
		var alive <-chan time.Time
		if every := a.manager.Watchdog() / 2; every > 0 {
			t := time.NewTicker(every)
			defer t.Stop()
			alive = t.C
		}
		for {
			select {
			case <-a.managing.done:
				return
			case <-status.C:
				if !a.stopping() {
					a.manager.Status(a.serviceStatus())
				}
			case <-alive:
				// This waits for each event loop. If one hangs, the manager notices
				// that nothing comes.
				a.engine.BackendTraffic(func(uint32) bool { return true })
				a.manager.Alive()
			}
		}
	})
}

// managing is the goroutine of runManager.
type managing struct {
	sync.WaitGroup
	done chan struct{}
}

func (a *App) stopManager() {
	if a.managing.done != nil {
		close(a.managing.done)
		a.managing.Wait()
	}
	a.sockets.Close()
}

// serviceStatus is a line such as "12 sessions, 3 of 4 backends up".
func (a *App) serviceStatus() string {
	up, all := 0, 0
	for _, b := range a.registry.Backends() {
		all++
		if b.State().Name == "up" {
			up++
		}
	}
	return fmt.Sprintf("sessions: %d, backends up: %d of %d", a.engine.Active(), up, all)
}

// reloaded tells the service manager how a reload ended.
func (a *App) reloaded(err error) {
	if a.manager == nil {
		return
	}
	status := a.serviceStatus()
	if err != nil {
		status += "; the last reload was refused, see the log"
	}
	a.manager.Ready(status)
}

// tellOfEnd tells the service manager that the balancer stops, and how long that may take.
func (a *App) tellOfEnd(delay time.Duration) {
	c := a.current.Load()
	a.manager.Stopping(delay+c.Timeouts.Shutdown+serviceMargin, "shutting down")
}
