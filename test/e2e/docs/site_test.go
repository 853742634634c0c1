//go:build unix

package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// TestSite: the website that is made of docs/ works in a browser without a server: its
// search by the keyboard, and small screens.
func TestSite(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "site")
	build := exec.Command("go", "run", "./scripts/site", "-o", out)
	build.Dir = kit.ModulePath(".")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	task, err := json.Marshal(map[string]string{"chromium": kit.Chromium(t), "index": "file://" + filepath.ToSlash(out) + "/index.html"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := kit.Node(t, "site.js", string(task))
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	var seen struct {
		Complaints, Requests, Found, Wide []string
		Title, Status, Second             string
		Hidden                            bool
		Index                             []bool
	}
	if err == nil {
		err = json.Unmarshal(text, &seen)
	}
	if err != nil {
		t.Fatalf("%q, %v", text, err)
	}
	if len(seen.Complaints)+len(seen.Requests)+len(seen.Wide) > 0 {
		t.Errorf("complaints %q, requests to hosts %q, wider than the screen %q", seen.Complaints, seen.Requests, seen.Wide)
	}
	if !strings.Contains(seen.Title, "holdfast") || len(seen.Found) < 2 || !strings.Contains(seen.Status, "sections found") {
		t.Errorf("title %q, found %q, %q", seen.Title, seen.Found, seen.Status)
	}
	if !strings.Contains(seen.Second, ".html#") || !seen.Hidden || !slices.Equal(seen.Index, []bool{false, true}) {
		t.Errorf("the second result is %q, results hidden by Esc: %v, index visible before and after the button: %v", seen.Second, seen.Hidden, seen.Index)
	}
}
