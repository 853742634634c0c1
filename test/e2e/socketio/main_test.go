//go:build unix

package socketio

import (
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

func TestMain(m *testing.M) { kit.Main(m) }
