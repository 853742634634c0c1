package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/sock/unixsock"
)

// adminSocket is the unix socket of the admin interface.
type adminSocket struct {
	net.Listener
	path   string
	remove func()
}

// openSocket opens the unix socket of the admin interface. It returns nil if there is none,
// and with socket: auto a function that logs why, once the balancer has started.
func openSocket(c *config.Admin) (s *adminSocket, explain func(*slog.Logger), err error) {
	switch c.Socket {
	case config.SocketOff:
		return nil, nil, nil
	case config.SocketAuto:
		path, err := socketPath()
		if err != nil {
			return nil, func(log *slog.Logger) {
				log.Info("there is no admin socket; set admin.socket to a path, or to off", "reason", err.Error())
			}, nil
		}
		if s, err = listenSocket(path, c); err != nil {
			return nil, func(log *slog.Logger) {
				log.Warn("there is no admin socket; set admin.socket to another path, or to off", "reason", err.Error())
			}, nil
		}
		return s, nil, nil
	}
	if s, err = listenSocket(c.Socket, c); err != nil {
		return nil, nil, fmt.Errorf("admin.socket: %w", err)
	}
	return s, nil, nil
}

func listenSocket(path string, c *config.Admin) (*adminSocket, error) {
	l, remove, err := unixsock.Listen(path, c.Permissions())
	if err != nil {
		return nil, err
	}
	return &adminSocket{l, path, remove}, nil
}

// socketPath is where socket: auto puts the socket; client.Find looks there. It makes the
// folder, unless systemd has (RuntimeDirectory= in systemd.exec(5)).
func socketPath() (string, error) {
	if runtime.GOOS == "windows" {
		return "", errors.New("Windows has no folder for sockets")
	}
	if dirs := os.Getenv("RUNTIME_DIRECTORY"); dirs != "" {
		dir, _, _ := strings.Cut(dirs, ":")
		return filepath.Join(dir, "admin.sock"), nil
	}
	dir, mode := "/run/holdfast", os.FileMode(0o755)
	if user := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(user) {
		dir, mode = filepath.Join(user, "holdfast"), 0o700
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return filepath.Join(dir, "admin.sock"), nil
}
