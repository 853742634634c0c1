package dashboard

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestModules runs the tests of the page's modules in Node.
func TestModules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node.js is missing: run scripts/setup-tests.sh")
	}
	tests, err := os.ReadFile("testdata/modules.mjs") // so that go test knows that the result depends on it
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"modules.mjs":  tests,
		"package.json": []byte(`{"type": "module"}`), // otherwise Node takes the modules for CommonJS
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(dir, site); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "modules.mjs", "site")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
