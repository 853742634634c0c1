//go:build unix

package overload

import (
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

func TestMain(m *testing.M) {
	kit.Main(m, kit.Role{Name: stormRole, Run: storm}, kit.Role{Name: sheltered, Run: serveSheltered},
		kit.Role{Name: helloRole, Run: sendHellos})
}
