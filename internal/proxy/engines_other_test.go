//go:build !linux

package proxy_test

import (
	"testing"

	"github.com/holdfast-ws/holdfast/internal/ops/logging"
	"github.com/holdfast-ws/holdfast/internal/relay"
)

func newEngine(_ testing.TB, _ string, log *logging.Log, ended relay.Ended) relay.Engine {
	return relay.NewPortable(relay.DefaultTimes, log.Logger(), ended)
}
