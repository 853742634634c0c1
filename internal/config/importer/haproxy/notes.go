package haproxy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/haproxy/syntax"
)

// imp is an import under way.
type imp struct {
	importer.Options
	config config.Config
	report importer.Report
	errs   config.Errors

	file  string // the first
	lines []*syntax.Line
	marks map[*syntax.Line]*mark

	global      map[string]*syntax.Line
	defaults    map[string]*settings // by name
	frontends   map[string]*proxy
	backends    map[string]*proxy
	order       []*proxy
	resolvers   map[string]*syntax.Section
	userlists   []*syntax.Section
	otherTables bool

	pools   map[string]*target              // by the name of the backend
	lists   map[string][]string             // files of patterns that were read
	names   map[string]bool                 // of listeners
	expects map[string][]config.StatusRange // what checks expect, by its text
	base    string                          // of relative paths
	general []general
	routes  int // how many were made
}

// general is a note about the whole file.
type general struct{ what, text string }

// mark is what became of a line.
type mark struct {
	outcome importer.Outcome
	texts   []string
	path    config.Path
}

// weight orders outcomes: what is worst about a line is said.
var weight = map[importer.Outcome]int{importer.NotNeeded: 0, importer.Carried: 1, importer.Different: 2, importer.Refused: 3}

// note adds to what is said about a line. A line may be used several times, such as a
// timeout in defaults.
func (m *imp) note(l *syntax.Line, o importer.Outcome, p config.Path, format string, args ...any) {
	if l == nil {
		return
	}
	at := m.marks[l]
	if at == nil {
		at = &mark{outcome: o}
		m.marks[l] = at
	}
	switch w := weight[o] - weight[at.outcome]; {
	case w > 0:
		if at.outcome == importer.NotNeeded {
			at.texts = nil
		}
		at.outcome = o
	case w < 0 && o == importer.NotNeeded:
		return
	}
	if at.path == "" && p != "" {
		at.path = p
	}
	if format == "" {
		return
	}
	if text := fmt.Sprintf(format, args...); text != "" && !slices.Contains(at.texts, text) && len(at.texts) < 8 {
		at.texts = append(at.texts, text)
	}
}

func (m *imp) carry(l *syntax.Line, p config.Path) { m.note(l, importer.Carried, p, "") }
func (m *imp) skip(l *syntax.Line, format string, args ...any) {
	m.note(l, importer.NotNeeded, "", format, args...)
}
func (m *imp) differ(l *syntax.Line, p config.Path, format string, args ...any) {
	m.note(l, importer.Different, p, format, args...)
}
func (m *imp) refuse(l *syntax.Line, format string, args ...any) {
	m.note(l, importer.Refused, "", format, args...)
}

// place is where a line is.
func place(l *syntax.Line) config.Place {
	if l == nil {
		return config.Place{}
	}
	return config.Place{File: l.File, Line: l.Num, Col: l.Col}
}

func (m *imp) locate(p config.Path, l *syntax.Line) {
	if l != nil {
		m.report.Locate(p, place(l))
	}
}

// fail reports what HAProxy refuses to start with.
func (m *imp) fail(l *syntax.Line, format string, args ...any) {
	m.note(l, importer.Refused, "", format, args...)
	m.errs = append(m.errs, config.Error{Place: place(l), Msg: fmt.Sprintf(format, args...)})
}

// say adds a note about the whole file.
func (m *imp) say(what, text string) {
	if g := (general{what, text}); !slices.Contains(m.general, g) {
		m.general = append(m.general, g)
	}
}

// finish writes the notes in the order of the lines.
func (m *imp) finish() (*importer.Result, error) {
	m.report.Notes = make([]importer.Note, 0, len(m.lines)+len(m.general))
	for _, g := range m.general {
		m.report.Notes = append(m.report.Notes, importer.Note{Place: config.Place{File: m.file}, Directive: g.what, Outcome: importer.Different, Text: g.text})
	}
	for _, l := range m.lines {
		at := m.marks[l]
		switch {
		case l.Control:
			at = &mark{outcome: importer.Carried, texts: []string{m.aboutControl(l)}}
		case l.Off:
			at = &mark{outcome: importer.NotNeeded, texts: []string{fmt.Sprintf("the condition in line %d doesn't hold", l.OffBy)}}
		case at == nil && isGuard(l):
			at = &mark{outcome: importer.Refused, texts: []string{"nothing here does that"}}
		case at == nil:
			at = &mark{outcome: importer.NotNeeded, texts: []string{"nothing uses it"}}
		}
		m.report.Notes = append(m.report.Notes, importer.Note{
			Place: place(l), Directive: directive(l), Outcome: at.outcome, Text: strings.Join(at.texts, "; "), Path: at.path,
			Lost: at.outcome == importer.Refused && m.AcceptLoss, Guards: at.outcome == importer.Refused && restricts(l),
		})
	}
	if len(m.errs) > 0 { // checks would only find what follows from them
		for _, n := range m.report.Notes {
			if n.Outcome == importer.Refused && !n.Lost && !slices.ContainsFunc(m.errs, func(e config.Error) bool { return e.Place == n.Place }) {
				m.errs = append(m.errs, config.Error{Place: n.Place, Msg: n.Message()})
			}
		}
		return &importer.Result{Format: "haproxy", Notes: m.report.Notes}, sorted(m.errs)
	}
	return m.report.Finish("haproxy", &m.config)
}

// isGuard reports whether a line may keep clients out. Such a line is never taken for one
// that isn't needed because nothing has noted it.
func isGuard(l *syntax.Line) bool {
	switch l.Arg(0) {
	case "http-request", "tcp-request", "block", "http-response", "tcp-response":
		return true
	}
	return strings.HasPrefix(l.Arg(0), "req") || strings.HasPrefix(l.Arg(0), "rsp")
}

// restricts reports whether a line says who gets in.
func restricts(l *syntax.Line) bool {
	switch l.Arg(0) {
	case "bind", "server", "default-server", "server-template":
		return strings.Contains(l.Raw, "crl-file") || strings.Contains(l.Raw, "verify") || strings.Contains(l.Raw, "ca-")
	case "http-request", "tcp-request", "http-response", "tcp-response":
		for _, word := range l.Args(1)[:min(2, len(l.Words)-1)] {
			if word = without(word); slices.Contains([]string{"auth", "deny", "tarpit", "reject", "silent-drop", "return", "allow", "accept", "use-service", "send-spoe-group"}, word) || strings.HasPrefix(word, "lua.") {
				return true
			}
		}
		return false
	case "block", "filter", "rate-limit":
		return true
	}
	return strings.HasSuffix(l.Arg(0), "deny") || strings.HasSuffix(l.Arg(0), "allow") || strings.HasSuffix(l.Arg(0), "tarpit")
}

// sorted is a list of errors in the order of the files.
func sorted(errs config.Errors) config.Errors {
	slices.SortStableFunc(errs, func(a, b config.Error) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return errs
}

func (m *imp) aboutControl(l *syntax.Line) string {
	if strings.Contains(l.Raw, "version_") {
		return "decided here, by version " + version
	}
	return "decided here"
}

// maxDirective bounds the text of a directive in a report, in characters.
const maxDirective = 120

// directive is a line for a report: in one line, and without secrets.
func directive(l *syntax.Line) string {
	text := l.Raw
	secret := secretField(strings.Fields(text))
	switch l.Arg(0) {
	case "user", "dynamic-cookie-key", "stats", "setenv", "presetenv":
	default:
		if secret == 0 && len(text) <= maxDirective && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			return text
		}
	}
	words := strings.Fields(text)
	hide := func(i int) {
		if i < len(words) {
			words = append(words[:i:i], "…")
		}
	}
	if secret > 0 {
		hide(secret)
	}
	switch l.Arg(0) {
	case "user": // of a userlist
		if i := slices.IndexFunc(words, func(s string) bool { return s == "password" || s == "insecure-password" }); i >= 0 {
			hide(i + 1)
		}
	case "dynamic-cookie-key":
		hide(1)
	case "stats":
		if l.Arg(1) == "auth" {
			hide(2)
		}
	case "setenv", "presetenv":
		hide(2)
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, strings.Join(words, " "))
	if utf8.RuneCountInString(text) > maxDirective {
		text = string([]rune(text)[:maxDirective]) + "…"
	}
	return text
}

// secretField is the index of the value that a header field with a secret gets, and of all
// behind it; 0 if there is none.
func secretField(words []string) int {
	for i, w := range words {
		switch before := words[max(i-1, 0)]; {
		case i+1 >= len(words) || strings.HasPrefix(words[i+1], "%["):
		case before != "set-header" && before != "add-header" && before != "hdr" && !strings.Contains(w, `\n`):
		case slices.ContainsFunc([]string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey"}, func(part string) bool {
			return strings.Contains(strings.ToLower(w), part)
		}):
			return i + 1
		}
	}
	return 0
}
