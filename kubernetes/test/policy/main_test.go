//go:build linux

package policy

import (
	"testing"

	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
