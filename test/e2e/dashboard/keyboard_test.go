//go:build unix

package dashboard

import (
	"slices"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestKeyboard: a weight is changed and reverted without a pointer. The focus can be seen, stays
// in dialogs, and returns.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	b := kit.StartBalancer(t, file(t, kit.StartBackends(t, 2), ""))
	type step struct {
		Name, Tag, Outline string
		Visible            bool
	}
	var got struct {
		Steps       []step
		InDialog    []bool
		Back, After string
		Moves       int
		Changes     []string
	}
	seen(t, operator(t, "http://"+b.Admin, "keyboard", nil), &got)
	for _, s := range got.Steps {
		if s.Outline != "solid" || !s.Visible {
			t.Errorf("the focus isn't seen: %+v", s)
		}
	}
	if slices.Contains(got.InDialog, false) {
		t.Errorf("the focus left the dialog: %v", got.InDialog)
	}
	if button := "Weight… main/b"; got.Back != button || got.After != button {
		t.Errorf("after the dialogs the focus is on %q and %q", got.Back, got.After)
	}
	if c := got.Changes; len(c) != 6 || !slices.Equal(c[:4], []string{"main/b", "weight", "1", "7"}) {
		t.Errorf("the change is %q", c)
	}
	if got.Moves != 0 {
		t.Errorf("%d animations, though the system wants less motion", got.Moves)
	}
}
