//go:build !linux

package app

import (
	"errors"
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/relay"
)

// newEngine makes the engine that the configuration names; "auto" is portable.
func newEngine(kind string, log *slog.Logger, ended relay.Ended) (relay.Engine, error) {
	if kind == "epoll" {
		return nil, errors.New(`engine: "epoll" needs Linux; leave it out or write "portable"`)
	}
	return relay.NewPortable(relay.DefaultTimes, log, ended), nil
}
