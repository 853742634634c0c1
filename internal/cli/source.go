package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/holdfast-ws/holdfast/internal/cli/env"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/formats"
)

// formatFlags are those of commands that read a configuration in any format.
type formatFlags struct {
	Format     string `placeholder:"NAME" help:"Format of the file: holdfast, or one that holdfast import reads (default: recognised)."`
	AcceptLoss bool   `help:"Leave out what can't be carried over from another balancer's file, even if it guards access."`
}

func (f *formatFlags) loader() (*formats.Loader, error) {
	l := &formats.Loader{Formats: formats.All, Format: f.Format, Options: importer.Options{AcceptLoss: f.AcceptLoss, Env: os.LookupEnv}}
	if f.Format != "" && f.Format != formats.Own {
		if _, err := l.Find(f.Format); err != nil {
			return nil, env.Usage("%v", err)
		}
	}
	return l, nil
}

// report prints what became of each directive of another balancer's file. What is refused
// is among the errors.
func report(w io.Writer, notes []importer.Note) {
	for _, o := range []importer.Outcome{importer.Refused, importer.Different, importer.NotNeeded, importer.Carried} {
		title := o.String() + ":\n"
		if o == importer.Refused {
			title = "refused, left out:\n"
		}
		for _, n := range notes {
			if n.Outcome != o || o == importer.Refused && !n.Lost {
				continue
			}
			text := n.Directive
			if n.Guards {
				text += " (guards access)"
			}
			if n.Text != "" {
				text += ": " + n.Text
			}
			if n.Line > 0 {
				text = fmt.Sprintf("%s:%d:%d: %s", n.File, n.Line, n.Col, text)
			}
			fmt.Fprintf(w, "%s  %s\n", title, text)
			title = ""
		}
	}
}
