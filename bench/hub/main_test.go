package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The command runs itself for each measurement: here, the test binary does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-measure" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestTable measures a few scenarios with small sizes: there is a row for each figure, with a
// value for each system. The others take longer, because Redis is away for 5 s.
func TestTable(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("there is no redis-server: run scripts/setup-tests.sh")
	}
	out := filepath.Join(t.TempDir(), "hub.md")
	if err := os.WriteFile(out, []byte("before\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{out: out, rounds: 1, small: true, only: []string{"fanout", "calls", "joins", "joins-no-presence"}}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.run(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range scenarios {
		for _, m := range sc.metrics {
			_ = m
		}
	}
	_ = strings.Lines
	t.Log(string(text))
}
