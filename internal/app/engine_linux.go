package app

import (
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/relay"
)

// newEngine makes the engine that the configuration names; "auto" is epoll.
func newEngine(kind string, loops int, log *slog.Logger, ended relay.Ended) (relay.Engine, error) {
	if kind == "portable" {
		return relay.NewPortable(relay.DefaultTimes, log, ended), nil
	}
	return relay.NewEpoll(loops, relay.DefaultTimes, log, ended)
}
