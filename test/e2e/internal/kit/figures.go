//go:build unix

package kit

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/holdfast-ws/holdfast/test/e2e"
)

// Speed depends on the machine, so no test fails for it: tests note figures with
// AtMost and AtLeast. make bench-continuity runs those tests with more sessions
// and prints the figures beside their targets.

// figuresEnv is the file that figures are written to. It makes the run a bench.
const figuresEnv = "HOLDFAST_E2E_FIGURES"

var benching = os.Getenv(figuresEnv) != ""

var figures struct {
	mu   sync.Mutex
	rows []string // what tabwriter takes
}

// UnlessBenching returns n if figures are being measured, and otherwise few, so
// that ordinary runs are quick on slow machines.
func UnlessBenching(few, n int) int {
	if benching {
		return n
	}
	return few
}

// AtMost notes a figure that should be at most target on a machine that does
// nothing else.
func AtMost[N time.Duration | float64](t testing.TB, what string, got, target N) {
	t.Helper()
	note(t, what, round(got), "<= "+round(target), got <= target)
}

// AtLeast notes a figure that should be at least target.
func AtLeast[N time.Duration | float64](t testing.TB, what string, got, target N) {
	t.Helper()
	note(t, what, round(got), ">= "+round(target), got >= target)
}

func round[N time.Duration | float64](n N) string {
	if d, ok := any(n).(time.Duration); ok {
		return d.Round(max(d/1000, time.Microsecond)).String()
	}
	return fmt.Sprintf("%.4g", float64(n))
}

func note(t testing.TB, what, got, target string, met bool) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	if !slices.Contains(strings.Fields(e2e.Continuity), test) {
		t.Errorf("%s has figures: add it to test/e2e/continuity.txt, so that make bench-continuity prints them", test)
	}
	missed := ""
	if !met {
		missed = "missed"
	}
	t.Logf("%s: %s, target %s %s", what, got, target, missed)
	figures.mu.Lock()
	defer figures.mu.Unlock()
	figures.rows = append(figures.rows, strings.Join([]string{t.Name(), what, got, target, missed}, "\t"))
}

// writeFigures appends what was noted to the file of figuresEnv, if there is
// one: a block for each package, below a line about the machine.
func writeFigures() error {
	figures.mu.Lock()
	defer figures.mu.Unlock()
	if len(figures.rows) == 0 || !benching {
		return nil
	}
	f, err := os.OpenFile(os.Getenv(figuresEnv), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	load, _ := os.ReadFile("/proc/loadavg") // only Linux has it
	fmt.Fprintf(f, "%s/%s, %d processors, load %.14s\n", runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), load)
	w := tabwriter.NewWriter(f, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TEST\tFIGURE\tMEASURED\tTARGET\t")
	for _, row := range figures.rows {
		fmt.Fprintln(w, row)
	}
	fmt.Fprintln(w)
	return w.Flush()
}
