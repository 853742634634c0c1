package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

// TestCompose: the file is as Compose's schema says, and names what is there. No image is
// built here, and no container runs.
func TestCompose(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs("../../deploy/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	o, err := cli.NewProjectOptions([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := p.ServiceNames()
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "balancer chat-1 chat-2 chat-3 redis" {
		t.Errorf("services %s", got)
	}
	dockerfile := readAll(t, filepath.Dir(file))["Dockerfile"]
	for _, s := range p.Services {
		if s.Build == nil {
			continue
		}
		if root, err := filepath.Abs("../.."); err != nil || s.Build.Context != root {
			t.Errorf("%s is built from %s, want %s", s.Name, s.Build.Context, root)
		}
		if !strings.Contains(string(dockerfile), "\nFROM scratch AS "+s.Build.Target+"\n") {
			t.Errorf("the Dockerfile has no target %s", s.Build.Target)
		}
	}
	// The balancer's file names these services.
	for i := range 3 {
		if name := "chat-" + string(rune('1'+i)); !strings.Contains(string(readAll(t, filepath.Dir(file))["holdfast.yaml"]), name+":3000") {
			t.Errorf("holdfast.yaml has no %s", name)
		}
	}
}
