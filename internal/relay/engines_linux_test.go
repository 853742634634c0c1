package relay_test

import (
	"log/slog"

	"github.com/holdfast-ws/holdfast/internal/relay"
)

func init() {
	engines = append(engines, engine{name: "epoll", make: func(times relay.Times, log *slog.Logger, ended relay.Ended) (relay.Engine, error) {
		return relay.NewEpoll(2, times, log, ended)
	}})
}
