package nginx

import (
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// note is what became of one directive. A directive may be looked at several times, for
// each listener of its server and each location that inherits it: the most serious
// outcome counts.
type note struct {
	outcome importer.Outcome
	texts   []string
	path    config.Path
	route   *route // the route that it became part of, whose number isn't known yet
	key     string // in that route
}

// seriousness orders outcomes.
var seriousness = [...]int{importer.NotNeeded: 1, importer.Carried: 2, importer.Different: 3, importer.Refused: 4}

// note enters an outcome. text may be "".
func (cv *converter) note(d *syntax.Directive, outcome importer.Outcome, text string) *note {
	n := cv.notes[d]
	switch {
	case n == nil:
		n = &note{outcome: outcome}
		cv.notes[d] = n
	case seriousness[n.outcome] > seriousness[outcome]:
		return n
	case n.outcome != outcome:
		n.outcome, n.texts = outcome, nil
	}
	if text != "" {
		for _, t := range n.texts {
			if t == text {
				return n
			}
		}
		n.texts = append(n.texts, text)
	}
	return n
}

// at says which value of the Config the directive became. The first one counts.
func (n *note) at(p config.Path) {
	if n.path == "" && n.route == nil {
		n.path = p
	}
}

// in says which part of a route the directive became; key may be "".
func (n *note) in(r *route, key string) {
	if n.path == "" && n.route == nil {
		n.route, n.key = r, key
	}
}

func (cv *converter) carry(d *syntax.Directive) *note { return cv.note(d, importer.Carried, "") }

func (cv *converter) skip(d *syntax.Directive, why string) { cv.note(d, importer.NotNeeded, why) }

func (cv *converter) differ(d *syntax.Directive, text string) *note {
	return cv.note(d, importer.Different, text)
}

func (cv *converter) refuse(d *syntax.Directive, text string) { cv.note(d, importer.Refused, text) }

// known reports whether something was said about a directive.
func (cv *converter) known(d *syntax.Directive) bool { return cv.notes[d] != nil }

// skipAll says of all directives in a block that don't have a note yet that they aren't
// needed.
func (cv *converter) skipAll(list []*syntax.Directive, why string) {
	for _, d := range list {
		if !cv.known(d) {
			cv.skip(d, why)
		}
		cv.skipAll(d.Block, why)
	}
}

// report writes the notes in the order of the files. The directives that nothing was said
// about are judged by their names.
func (cv *converter) report(list []*syntax.Directive) {
	for _, d := range list {
		n := cv.notes[d]
		if n == nil {
			cv.judge(d)
			n = cv.notes[d]
		}
		at, text, words := place(d.Pos), strings.Join(n.texts, "; "), show(d)
		path := n.path
		if n.route != nil {
			if path = n.route.path(); n.key != "" && path != "" {
				path = path.Key(n.key)
			}
		}
		switch n.outcome {
		case importer.Carried:
			cv.r.Carry(at, words, path)
		case importer.NotNeeded:
			cv.r.Skip(at, words, text)
		case importer.Different:
			cv.r.Differ(at, words, path, "%s", text)
		case importer.Refused:
			cv.r.Refuse(at, words, "%s", text)
		}
		cv.report(d.Block)
	}
}

func place(p syntax.Pos) config.Place { return config.Place{File: p.File, Line: p.Line, Col: p.Col} }

// show is a directive as one line, without secrets.
func show(d *syntax.Directive) string {
	words := append([]string{d.Name}, d.Args...)
	if isSecret(d) {
		words[len(words)-1] = "…"
	}
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\r\n;{}\"'") {
			words[i] = hint.Quote(w)
		}
	}
	return hint.Cut(strings.Join(words, " "))
}

// isSecret reports whether the last argument of a directive is a secret.
func isSecret(d *syntax.Directive) bool {
	if len(d.Args) == 0 || !strings.HasSuffix(d.Name, "_set_header") && d.Name != "add_header" && d.Name != "set" {
		return len(d.Args) > 0 && (strings.HasSuffix(d.Name, "_password") || strings.HasPrefix(d.Name, "secure_link_"))
	}
	name := strings.ToLower(d.Args[0])
	for _, part := range []string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "api_key"} {
		if strings.Contains(name, part) && !strings.HasPrefix(d.Args[len(d.Args)-1], "$") {
			return true
		}
	}
	return false
}
