package cli

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/holdfast-ws/holdfast/internal/cli/manual"
)

var update = flag.Bool("update", false, "write docs/cli.md")

// docs/cli.md is made of testdata/cli.md and the commands.
func TestDocs(t *testing.T) {
	intro, err := os.ReadFile("testdata/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(intro) + reference(newParser().Model)
	const file = "../../docs/cli.md"
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(file); err != nil || string(old) != text {
		t.Errorf("%s isn't what the commands say (%v): run go test ./internal/cli -run TestDocs -update", file, err)
	}
}

// reference describes all commands.
func reference(app *kong.Application) string {
	var b strings.Builder
	var common []*kong.Flag
	for _, g := range manual.Groups(app, groups) {
		fmt.Fprintf(&b, "\n## %s\n", g.Title)
		for i := range g.Commands {
			c := &g.Commands[i]
			fmt.Fprintf(&b, "\n### `%s`\n\n```text\n%s\n```\n\n%s\n", c.Name, c.Usage, c.Help)
			for _, block := range manual.Blocks(c.Detail) {
				if block.Verbatim {
					fmt.Fprintf(&b, "\n```text\n%s\n```\n", block.Text)
				} else {
					fmt.Fprintf(&b, "\n%s\n", markdown(block.Text))
				}
			}
			rows := [][2]string{}
			for _, a := range c.Positional {
				rows = append(rows, [2]string{a.Name, a.Help})
			}
			for _, f := range c.Shown("reach") {
				rows = append(rows, [2]string{manual.FlagName(f), f.Help})
			}
			tableOf(&b, "Argument or flag", rows)
			own := len(common) == 0
			for _, f := range c.Flags {
				if own && f.Group != nil && f.Group.Key == "reach" {
					common = append(common, f)
				}
			}
		}
	}
	fmt.Fprintf(&b, "\n## How to reach the balancer\n\nCommands that talk to a running balancer have these flags, too:\n")
	rows := [][2]string{}
	for _, f := range common {
		env := ""
		if len(f.Envs) > 0 {
			env = " Or the environment variable " + f.Envs[0] + "."
		}
		rows = append(rows, [2]string{manual.FlagName(f), f.Help + env})
	}
	tableOf(&b, "Flag", rows)
	return b.String()
}

func tableOf(b *strings.Builder, title string, rows [][2]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n| %s | Meaning |\n|---|---|\n", title)
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s |\n", r[0], cmp.Or(markdown(r[1]), " "))
	}
}

// markdown escapes what Markdown takes for something else.
func markdown(s string) string {
	return strings.NewReplacer("<", "&lt;", "|", `\|`, "*", `\*`, "_", `\_`).Replace(s)
}

// groff understands both man pages without a warning.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if status := Main([]string{"man", "--dir", dir}, os.Stdout, os.Stderr); status != 0 {
		t.Fatalf("status %d", status)
	}
	check := func(path string) string {
		out, err := exec.Command("groff", "-man", "-Tutf8", "-k", "-ww", "-z", path).CombinedOutput()
		if err != nil {
			t.Fatalf("groff: %v, %s", err, out)
		}
		return string(out)
	}
	for _, name := range []string{"holdfast.1", "holdfast.yaml.5"} {
		if out := check(filepath.Join(dir, name)); out != "" {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	wrong := filepath.Join(dir, "wrong.1")
	if err := os.WriteFile(wrong, []byte(".TH A 1\n.NOTHING\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if check(wrong) == "" {
		t.Error("groff finds nothing wrong with an unknown macro")
	}
}
