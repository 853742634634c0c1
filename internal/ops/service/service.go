// Package service tells the service manager that has started the balancer what it is
// doing: systemd, by the protocol of sd_notify(3). The manager knows then when the
// balancer accepts clients, when a reload is done and how long a shutdown may take, and
// systemctl status shows a line about it.
package service

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Manager is the service manager. The methods of a nil Manager do nothing. They may be
// called from any goroutine.
type Manager struct {
	log *slog.Logger

	mu     sync.Mutex
	status string // as the manager knows it
	failed bool
}

// Find returns the manager that has started the process, nil if there is none that wants
// to know anything. log gets the first failure to tell it something.
func Find(log *slog.Logger) *Manager {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	return &Manager{log: log}
}

// Ready says that clients are accepted, after a start or a reload.
func (m *Manager) Ready(status string) { m.send(daemon.SdNotifyReady, status) }

// Reloading says that a reload begins. Ready has to follow.
func (m *Manager) Reloading() {
	m.send(daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec(), "")
}

// Stopping says that the process will end, after at most limit.
func (m *Manager) Stopping(limit time.Duration, status string) {
	m.send(fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, limit.Microseconds()), status)
}

// Status changes the line that systemctl status shows.
func (m *Manager) Status(text string) { m.send("", text) }

// Alive says that the process works. A manager that wants to know waits for at most
// Watchdog after one call for the next.
func (m *Manager) Alive() { m.send(daemon.SdNotifyWatchdog, "") }

// Watchdog returns 0 if the manager doesn't watch the process.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.warn(err)
	}
	return d
}

// send sends a state and a status; "" is none, and one that the manager knows isn't sent
// again.
func (m *Manager) send(state, status string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if status != "" && status != m.status {
		m.status = status
		state += "\nSTATUS=" + status
	}
	if state == "" {
		return
	}
	if _, err := daemon.SdNotify(false, state); err != nil && !m.failed {
		m.failed = true
		m.warn(err)
	}
}

func (m *Manager) warn(err error) {
	m.log.Warn("the service manager can't be told what the balancer does", "error", err)
}
