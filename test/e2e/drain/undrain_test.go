//go:build unix

package drain

import (
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// A backend that is undrained in time keeps its sessions.
func TestUndrainKeepsSessions(t *testing.T) {
	testkit.EachEngine(t, func(t *testing.T, engine string) {
		backends := kit.StartBackends(t, 2)
		b := kit.StartBalancer(t, kit.DrainFile(engine, backends, "drain: {timeout: 6s, spread: 4s}"))
		c := kit.StartCrowd(t, "member", b.Address, 100)
		b.AwaitSessions(t, 100)
		b.Command(t, 0, "drain", "main/a", "--timeout", "2m")
		newcomers := kit.StartCrowd(t, "newcomer", b.Address, 20)
		b.AwaitMetrics(t, "newcomers on b", func(m kit.Metrics) bool {
			return m[`holdfast_backend_sessions{backend="a",pool="main"}`] == 50 && m[`holdfast_backend_sessions{backend="b",pool="main"}`] == 70
		})
		if status := b.Command(t, 0, "status"); !strings.Contains(status, "drain") {
			t.Errorf("status says %q", status)
		}
		b.Command(t, 0, "drain", "main/a", "--timeout", "2h") // asked again: later
		b.Command(t, 0, "undrain", "main/a")
		b.AwaitMetrics(t, "a is up", func(m kit.Metrics) bool { return m[`holdfast_backend_state{backend="a",pool="main",state="up"}`] == 1 })
		c.FinishAll(t)
		newcomers.FinishAll(t)
		at := kit.Reports(t, backends)
		f := &kit.Faults{T: t}
		for _, m := range append(c.Members, newcomers.Members...) {
			kit.CheckComplete(f, m, at[m.ID])
		}
		f.Sum("sessions")

		if out := b.Command(t, 1, "drain", "main/nobody"); !strings.Contains(out, `there is no backend "main/nobody"`) {
			t.Errorf("of an unknown backend it says %q", out)
		}
		b.Stop(t)
	})
}
