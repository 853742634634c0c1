package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// In all tests of the package, a phase change that isn't allowed panics.
func init() {
	phaseChanged = func(from, to phase) {
		if !slices.Contains(phaseChanges[from], to) {
			panic(fmt.Sprintf("a session went from %v to %v", from, to))
		}
	}
}

// TestPhaseChanges tries all changes of phases. In the table, x is allowed.
func TestPhaseChanges(t *testing.T) {
	const table = `
		                  idle queued onProbation awaitingBoundary connecting drainingOld aborting
		idle              .    x      x           x                -          -           -
		queued            -    .      -           x                -          -           x
		onProbation       -    -      .           -                -          -           x
		awaitingBoundary  -    -      -           .                x          -           x
		connecting        -    -      -           x                .          x           x
		drainingOld       x    -      -           -                -          .           x
		aborting          x    -      -           -                -          -           .`
	lines := strings.Split(strings.TrimSpace(table), "\n")
	phases := strings.Fields(lines[0])
	if n := int(aborting) + 1; len(phases) != n || len(lines) != n+1 || len(phaseChanges) != n {
		t.Fatalf("there are %d phases, in the table %d and %d, with changes %d", n, len(phases), len(lines)-1, len(phaseChanges))
	}
	for from, line := range lines[1:] {
		fields := strings.Fields(line)
		if fields[0] != phase(from).String() || fields[0] != phases[from] {
			t.Fatalf("phase %d is %v, in the table %s and %s", from, phase(from), phases[from], fields[0])
		}
		for to, mark := range fields[1:] {
			r := record{phase: phase(from)}
			refused := func() (refused bool) {
				defer func() { refused = recover() != nil }()
				r.enter(phase(to))
				return
			}()
			if want := mark == "-"; refused != want {
				t.Errorf("from %v to %v: refused %v, want %v", phase(from), phase(to), refused, want)
			}
			if !refused && r.phase != phase(to) {
				t.Errorf("from %v to %v it came to %v", phase(from), phase(to), r.phase)
			}
		}
	}
}
