package app

import (
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/relay"
)

// newEngine makes the engine that the configuration names; "auto" is epoll.
func newEngine(kind string, log *slog.Logger, ended relay.Ended) (relay.Engine, error) {
	if kind == "portable" {
		return relay.NewPortable(relay.DefaultTimes, log, ended), nil
	}
	return relay.NewEpoll(0, relay.DefaultTimes, log, ended)
}
