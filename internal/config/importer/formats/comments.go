package formats

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/yaml"
)

// Write writes what was imported from files as a holdfast.yaml. Comments say from which
// line each value comes, and what became of everything else.
func Write(w io.Writer, res *importer.Result, f Format, paths []string) error {
	written := map[config.Path]bool{}
	if err := yaml.Write(io.Discard, res.Config, func(p config.Path) []string { written[p] = true; return nil }); err != nil {
		return err
	}
	return yaml.Write(w, res.Config, comments(res, written, f, paths))
}

// comments returns the comment above each path that is written. A note about a value that
// is left out, since it is the default, is above what is around it.
func comments(res *importer.Result, written map[config.Path]bool, f Format, paths []string) func(config.Path) []string {
	at := map[config.Path][]string{"": {fmt.Sprintf("Made by holdfast import %s of %s.", f.Name, strings.Join(paths, ", ")), Summary(res, f, filepath.Base(paths[0]))}}
	var apart []string
	for _, n := range res.Notes {
		p := n.Path
		for ok := p != ""; ok && !written[p]; {
			p, ok = p.Parent()
		}
		switch {
		case p != "":
			at[p] = append(at[p], comment(n)...)
		case n.Outcome != importer.Carried:
			apart = append(apart, comment(n)...)
		}
	}
	if len(apart) > 0 {
		at[""] = append(append(at[""], "", "What has no value of its own here:"), apart...)
	}
	return func(p config.Path) []string { return at[p] }
}

// comment is a note in lines of a comment.
func comment(n importer.Note) []string {
	where := fmt.Sprintf("%s:%d ", filepath.Base(n.File), n.Line)
	if n.Line == 0 {
		where = ""
	}
	if n.Outcome == importer.Carried && n.Text == "" {
		return []string{where + n.Directive}
	}
	return wrap(where + n.Message())
}

// wrap breaks a text into lines. Those after the first are indented.
func wrap(s string) (lines []string) {
	const width = 88
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = " "
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
