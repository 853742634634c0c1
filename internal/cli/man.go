package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	"github.com/holdfast-ws/holdfast/docs"
	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/cli/manual"
)

type manCommand struct {
	Page string `arg:"" optional:"" name:"PAGE" complete:"holdfast holdfast.yaml" help:"holdfast (the commands, the default) or holdfast.yaml (the configuration file)."`
	Dir  string `placeholder:"DIR" help:"Write both pages into this folder, as holdfast.1 and holdfast.yaml.5."`
}

// Help is kong's detailed help.
func (*manCommand) Help() string {
	return `Prints a man page in the form that man reads.

  holdfast man > holdfast.1
  holdfast man --dir .

Exit status: 0 written, 1 failed, 2 there is no such page.`
}

func (c *manCommand) Run(e *env.Env) error {
	switch {
	case c.Dir != "" && c.Page != "":
		return env.Usage("use either --dir or the name of a page")
	case c.Dir != "":
		for name, page := range map[string]func(io.Writer) error{"holdfast.1": commandPage, "holdfast.yaml.5": filePage} {
			var text bytes.Buffer
			if err := page(&text); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(c.Dir, name), text.Bytes(), 0o644); err != nil {
				return err
			}
		}
		return nil
	case c.Page == "" || c.Page == "holdfast":
		return commandPage(e.Out)
	case c.Page == "holdfast.yaml":
		return filePage(e.Out)
	}
	return env.Usage("there is no page %q: the pages are holdfast and holdfast.yaml", c.Page)
}

// commandPage writes holdfast(1). It has no version, so that it changes only with the
// commands.
func commandPage(w io.Writer) error { return manual.Commands(w, newParser().Model, groups, "reach") }

// filePage writes holdfast.yaml(5).
func filePage(w io.Writer) error { return manual.Config(w, docs.Config) }
