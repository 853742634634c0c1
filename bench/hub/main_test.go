package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain makes the test binary measure when the command starts itself for that.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-measure") {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestTable measures with small sizes: each figure has a row with a value of each system.
// The other scenarios take longer.
func TestTable(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: run scripts/setup-tests.sh")
	}
	out := filepath.Join(t.TempDir(), "hub.md")
	only := []string{"fanout", "calls", "joins", "joins-no-presence"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := settings{out: out, rounds: 1, small: true, only: only}
	if err := s.run(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	cells := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.Trim(line, "| \n"), " | ")
		cells[f[0]] = append(cells[f[0]], f[1:]...)
	}
	for _, sc := range scenarios {
		if !slices.Contains(only, sc.name) {
			continue
		}
		for _, m := range sc.metrics {
			values := cells[m.label]
			if len(values) == 0 || len(values)%len(systems) > 0 {
				t.Errorf("%s: the row %q has %q", sc.name, m.label, values)
			}
			for _, v := range values {
				if strings.Trim(v, "0123456789.,") != "" {
					t.Errorf("%s: the row %q has %q", sc.name, m.label, values)
				}
			}
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}
