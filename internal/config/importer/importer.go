// Package importer has what the importers of other balancers' configurations share:
// what they return, and how they report what became of each directive. The packages
// below it read one format each and build a config.Config.
//
// An importer accounts for everything in a file. Nothing that restricts who gets in is
// ever dropped: what can't be carried over is refused, unless the user accepts the loss.
package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// Outcome is what became of a directive.
type Outcome uint8

const (
	// Carried: the Config does the same.
	Carried Outcome = iota
	// NotNeeded: the balancer does it anyway, or has no use for it.
	NotNeeded
	// Different: the Config does something else, and works. The text says what, and
	// what to do.
	Different
	// Refused: it can't be carried over, and without it the file would do something
	// that its author doesn't want. The file isn't used, unless the loss is accepted.
	Refused
)

func (o Outcome) String() string {
	return [...]string{"carried over", "not needed", "different", "refused"}[o]
}

// Note says what became of one directive.
type Note struct {
	config.Place
	// Directive is the directive as written, in one line, without secrets.
	Directive string
	Outcome   Outcome
	// Text says in one line why it isn't needed, what differs and what to do, or why it
	// is refused. It is empty for what is carried over, unless there is something to say.
	Text string
	// Path is what the directive became in the Config; "" is nothing of its own.
	Path config.Path
	// Lost is set on what was refused, and then left out because the user accepts it.
	Lost bool
	// Guards is set on what was refused and restricts who gets in.
	Guards bool
}

// String is the note as one line of a report: "nginx.conf:7:5: gzip on: not needed: ...".
func (n Note) String() string {
	return config.Error{Place: n.Place, Msg: n.Message()}.Error()
}

// Message is String without the place.
func (n Note) Message() string {
	s := n.Directive + ": " + n.Outcome.String()
	if n.Outcome == Refused {
		s = n.Directive + ": " + n.refused()
	}
	if n.Lost {
		s += ", left out"
	}
	if n.Text != "" {
		s += ": " + n.Text
	}
	return s
}

// refused says so, and whether that would let somebody in.
func (n Note) refused() string {
	if n.Guards {
		return "refused, and it guards access"
	}
	return "refused"
}

// Options are what all importers take.
type Options struct {
	// AcceptLoss leaves out what would be refused.
	AcceptLoss bool
	// Env returns an environment variable; nil is none.
	Env func(name string) (string, bool)
}

// Result is what an importer returns.
type Result struct {
	// Format is the name of the format, as in "nginx".
	Format string
	// Config is valid; its errors and warnings have places in the files that were read.
	Config *config.Config
	// Notes are in the order of the files. There is one for each directive.
	Notes []Note
	// Reported is how many of the first warnings of Config are notes.
	Reported int
}

// Report collects notes, and the places of what they became. It is a config.Source, so
// that the checks of package config name the line of the directive. The zero value is
// ready for use.
type Report struct {
	AcceptLoss bool
	Notes      []Note

	places map[config.Path]config.Place
}

// Carry notes a directive that became the value at a path. p may be "".
func (r *Report) Carry(at config.Place, directive string, p config.Path) {
	if p != "" {
		r.Locate(p, at)
	}
	r.add(Note{Place: at, Directive: directive, Outcome: Carried, Path: p})
}

// Skip notes a directive that isn't needed, and why.
func (r *Report) Skip(at config.Place, directive, why string) {
	r.add(Note{Place: at, Directive: directive, Outcome: NotNeeded, Text: why})
}

// Differ notes a directive that became something else, and what to do. p may be "".
func (r *Report) Differ(at config.Place, directive string, p config.Path, format string, args ...any) {
	if p != "" {
		r.Locate(p, at)
	}
	r.add(Note{Place: at, Directive: directive, Outcome: Different, Text: fmt.Sprintf(format, args...), Path: p})
}

// Refuse notes a directive that can't be carried over, and why. Use RefuseGuard if it
// restricts who gets in.
func (r *Report) Refuse(at config.Place, directive, format string, args ...any) {
	r.add(Note{Place: at, Directive: directive, Outcome: Refused, Text: fmt.Sprintf(format, args...), Lost: r.AcceptLoss})
}

// RefuseGuard is Refuse for a directive that restricts who gets in, such as an access
// list, a login, a limit, or the verification of a certificate.
func (r *Report) RefuseGuard(at config.Place, directive, format string, args ...any) {
	r.add(Note{Place: at, Directive: directive, Outcome: Refused, Text: fmt.Sprintf(format, args...), Lost: r.AcceptLoss, Guards: true})
}

func (r *Report) add(n Note) {
	n.Directive, n.Text = oneLine(n.Directive, maxDirective), oneLine(n.Text, maxText)
	r.Notes = append(r.Notes, n)
}

// Bounds of a note, in bytes.
const (
	maxDirective = 200
	maxText      = 1000
)

// oneLine makes a text of a file fit for a terminal and for a comment: it is cut to a
// length, and what isn't graphic, as line breaks are, becomes a space.
func oneLine(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

// Locate says that the value at a path is from a place.
func (r *Report) Locate(p config.Path, at config.Place) {
	if r.places == nil {
		r.places = map[config.Path]config.Place{}
	}
	r.places[p] = at
}

// Finish checks c and returns the result. The error is a config.Errors: what was refused,
// unless the loss is accepted, and what the checks have found.
func (r *Report) Finish(format string, c *config.Config) (*Result, error) {
	var errs config.Errors
	for _, n := range r.Notes {
		if n.Outcome == Refused && !n.Lost {
			errs = append(errs, config.Error{Place: n.Place, Msg: n.Directive + ": " + n.refused() + ": " + n.Text})
		}
	}
	var found config.Report
	config.Check(c, r, &found)
	errs = append(errs, found.Errors()...)
	if len(errs) > 0 {
		slices.SortStableFunc(errs, func(a, b config.Error) int {
			return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
		})
		return &Result{Format: format, Notes: r.Notes}, errs
	}
	c.Warnings = found.Warnings()
	return &Result{Format: format, Config: c, Notes: r.Notes}, nil
}

// Given implements config.Source, as those below do: values were given if they have a
// place.
func (r *Report) Given(p config.Path) bool { _, ok := r.places[p]; return ok }

// OK implements config.Source.
func (r *Report) OK(config.Path) bool { return true }

// Text implements config.Source.
func (r *Report) Text(config.Path) (string, bool) { return "", false }

// Built says that a program builds the Config; see config.Source.
func (r *Report) Built() {}

// Place implements config.Source.
func (r *Report) Place(p config.Path) config.Place {
	for ok := true; ok; p, ok = p.Parent() {
		if at, there := r.places[p]; there {
			return at
		}
	}
	return config.Place{}
}
