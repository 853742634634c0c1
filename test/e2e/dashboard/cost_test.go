//go:build unix

package dashboard

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestDashboardCost notes the CPU time that the balancer needs for a page that is open, with
// sessions in three pools that talk.
func TestDashboardCost(t *testing.T) {
	if kit.UnlessBenching(1, 0) == 1 {
		t.Parallel()
	}
	n, span := kit.UnlessBenching(60, 1200), time.Duration(kit.UnlessBenching(1, 60))*time.Second
	backends := kit.StartBackends(t, 6)
	text := "listeners: [{name: public, address: \"127.0.0.1:0\"}]\nadmin: {address: \"127.0.0.1:0\"}\n"
	pools := "pools:\n"
	for i := range 3 {
		pools += fmt.Sprintf("  pool%d:\n    backends: [{name: a, address: %q}, {name: b, address: %q}]\n", i, backends[2*i].Address, backends[2*i+1].Address)
	}
	text += "routes: [{split: [{pool: pool0, weight: 1}, {pool: pool1, weight: 1}, {pool: pool2, weight: 1}]}]\n"
	b := kit.StartBalancer(t, text+pools)
	crowd := kit.StartCrowd(t, "crowd", b.Address, n)

	// use returns the CPU time of a second, in percent of a processor.
	use := func() float64 {
		before, at := b.Metrics(t)["process_cpu_seconds_total"], time.Now()
		time.Sleep(span)
		return 100 * (b.Metrics(t)["process_cpu_seconds_total"] - before) / time.Since(at).Seconds()
	}
	closed := use()
	for _, view := range []string{"sessions", "backends", "overview"}[:kit.UnlessBenching(1, 3)] {
		p := operator(t, "http://"+b.Admin, "watch", map[string]string{"view": view})
		p.Stdout.Find(t, "watching", 0, func(line string) bool { return line == "watching" })
		kit.AtMost(t, fmt.Sprintf("%d sessions, %s: %% of a processor more than the %.3g without a page", n, view, closed), use()-closed, 1)
		p.Stdin.Close()
		if status := p.Wait(t, testkit.Patience); status != 0 {
			t.Errorf("the operator's script ended with status %d", status)
		}
	}
	// That difference is hardly more than chance, so what the page asks for is measured, too.
	cpu := func() float64 { return b.Metrics(t)["process_cpu_seconds_total"] }
	asks := kit.UnlessBenching(20, 2000)
	for _, path := range []string{"/v1/status", "/v1/sessions?limit=50", "/v1/sessions?limit=50&search=nobody"} {
		before, at := cpu(), time.Now()
		for range asks {
			if status, body := b.Get(t, path); status != 200 {
				t.Fatalf("%s: %d %s", path, status, body)
			}
		}
		each := (cpu() - before - closed/100*time.Since(at).Seconds()) / float64(asks)
		kit.AtMost(t, fmt.Sprintf("%d sessions, CPU time of %s", n, path), time.Duration(each*float64(time.Second)), 10*time.Millisecond)
	}
	if received := crowd.Received(); received == 0 {
		t.Error("the sessions didn't talk")
	}
	crowd.FinishAll(t)
}
