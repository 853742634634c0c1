package proxy_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/ops/logging"
	"github.com/holdfast-ws/holdfast/internal/relay"
)

func newEngine(t testing.TB, kind string, log *logging.Log, ended relay.Ended) relay.Engine {
	t.Helper()
	if kind == "portable" {
		return relay.NewPortable(relay.DefaultTimes, log.Logger(), ended)
	}
	e, err := relay.NewEpoll(2, relay.DefaultTimes, log.Logger(), ended)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
