// Package syntax reads the text of HAProxy configurations: words with HAProxy's quotes,
// escapes and environment variables, sections, and conditional blocks. It knows which
// words begin a section and nothing else of what they mean.
package syntax

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Word is one word of a line, without its quotes and escapes.
type Word struct {
	Text string
	Col  int // of its first character, from 1
}

// Line is a line that has words.
type Line struct {
	File string
	Num  int // from 1
	Col  int // of its first word, from 1
	// Raw is the line as written, in one line without the space around it and without
	// its comment. What environment variables contain isn't in it.
	Raw   string
	Words []Word // at least one, without the prefixes that set No and Reset
	No    bool   // it began with "no"
	Reset bool   // it began with "default"
	// Control is set on .if and the like, and Off on lines in a block whose condition
	// doesn't hold. Neither is part of a section.
	Control bool
	Off     bool
	// OffBy is the number of the line that has switched this one off.
	OffBy int
}

// Arg is the text of the i-th word, "" if there are fewer, or no line. The keyword is word
// 0.
func (l *Line) Arg(i int) string {
	if l == nil || i >= len(l.Words) {
		return ""
	}
	return l.Words[i].Text
}

// Args are the texts of the words from the i-th on.
func (l *Line) Args(i int) []string {
	if l == nil || i >= len(l.Words) {
		return nil
	}
	texts := make([]string, 0, len(l.Words)-i)
	for _, w := range l.Words[i:] {
		texts = append(texts, w.Text)
	}
	return texts
}

// Section is a part of the configuration, such as a frontend.
type Section struct {
	Kind  string // as in "frontend"
	Name  string // "" if it has none
	Head  *Line
	Lines []*Line
}

// Config is what one or several files have in them.
type Config struct {
	Sections []*Section
	// Lines are all lines with words, in their order.
	Lines []*Line
}

// Error says what is wrong at a place.
type Error struct {
	File      string
	Line, Col int
	Msg       string
}

func (e Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg) }

// Options are what the words of a file may depend on.
type Options struct {
	// Env returns an environment variable; nil is none.
	Env func(name string) (string, bool)
	// Version is what conditions compare, as in "3.0".
	Version string
	// Features has the names of what conditions may ask for, as in "OPENSSL".
	Features []string
}

// kinds are the words that begin a section.
var kinds = []string{
	"global", "defaults", "frontend", "backend", "listen", "userlist", "peers", "resolvers", "mailers", "cache", "program",
	"ring", "log-forward", "http-errors", "fcgi-app", "crt-store", "traces", "acme", "log-profile",
}

// IsSection reports whether a word begins a section.
func IsSection(word string) bool { return slices.Contains(kinds, word) }

// maxLine bounds a line, in bytes. HAProxy has no bound, and nobody writes such lines.
const maxLine = 64 << 10

// maxErrors bounds the errors reported, and with it the work on what isn't a
// configuration at all.
const maxErrors = 100

// Parser reads files that belong together: a section may go on in the next one only if
// that begins with one of its own, as in HAProxy.
type Parser struct {
	Options
	Config Config
	Errors []Error

	file    string
	num     int
	section *Section
	blocks  []block
	set     map[string]*string // what global has changed in the environment
}

// Parse adds a file.
func (p *Parser) Parse(name string, data []byte) {
	p.file, p.num, p.section, p.blocks = name, 0, nil, nil
	text := strings.TrimPrefix(string(data), "\ufeff")
	for text != "" && len(p.Errors) < maxErrors {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		p.num++
		p.line(strings.TrimSuffix(line, "\r"))
	}
	for _, b := range p.blocks {
		p.fail(b.num, b.col, "this .if has no .endif")
	}
	p.section = nil
}

func (p *Parser) fail(num, col int, format string, args ...any) {
	if len(p.Errors) < maxErrors {
		p.Errors = append(p.Errors, Error{p.file, num, col, fmt.Sprintf(format, args...)})
	}
}

func (p *Parser) line(text string) {
	switch {
	case len(text) > maxLine:
		p.fail(p.num, 1, "the line is longer than %d bytes", maxLine)
		return
	case !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0:
		p.fail(p.num, 1, "the line isn't text in UTF-8")
		return
	}
	off := p.offBy()
	words, end, err := p.split(text, off != 0)
	if err != nil {
		if off == 0 { // what is switched off may be for another version
			p.fail(p.num, err.Col, "%s", err.Msg)
		}
		return
	}
	if len(words) == 0 {
		return
	}
	l := &Line{File: p.file, Num: p.num, Col: words[0].Col, Words: words, Raw: oneLine(text[:end])}
	if strings.HasPrefix(words[0].Text, ".") {
		l.Control = true
		p.Config.Lines = append(p.Config.Lines, l)
		p.control(l)
		return
	}
	p.Config.Lines = append(p.Config.Lines, l)
	if l.Off = off != 0; l.Off {
		l.OffBy = off
		return
	}
	if !p.modifiers(l) {
		return
	}
	if kind := l.Arg(0); IsSection(kind) && !l.No && !l.Reset {
		p.section = &Section{Kind: kind, Name: l.Arg(1), Head: l}
		p.Config.Sections = append(p.Config.Sections, p.section)
		return
	}
	if p.section == nil {
		p.fail(l.Num, l.Col, "%s stands before any section%s", hint.Quote(l.Arg(0)), hint.DidYouMean(l.Arg(0), kinds))
		p.section = new(Section) // one error is enough
		return
	}
	if p.section.Kind == "global" {
		p.setenv(l)
	}
	p.section.Lines = append(p.section.Lines, l)
}

// setenv changes variables for the lines that follow.
func (p *Parser) setenv(l *Line) {
	if p.set == nil {
		p.set = map[string]*string{}
	}
	name, value := l.Arg(1), l.Arg(2)
	switch l.Arg(0) {
	case "setenv":
		p.set[name] = &value
	case "presetenv":
		if _, ok := p.env(name); !ok {
			p.set[name] = &value
		}
	case "unsetenv":
		for _, name := range l.Args(1) {
			p.set[name] = nil
		}
	}
}

// env looks up a variable.
func (p *Parser) env(name string) (string, bool) {
	if value, ok := p.set[name]; ok {
		if value == nil {
			return "", false
		}
		return *value, true
	}
	if p.Env == nil {
		return "", false
	}
	return p.Env(name)
}

// Variable is what a variable has at the end of the files.
func (p *Parser) Variable(name string) (string, bool) { return p.env(name) }

// modifiers removes the words "no" and "default" before the keyword.
func (p *Parser) modifiers(l *Line) bool {
	switch l.Arg(0) {
	case "no":
		l.No = true
	case "default":
		l.Reset = true
	default:
		return true
	}
	l.Words = l.Words[1:]
	if len(l.Words) == 0 {
		p.fail(l.Num, l.Col, "a keyword is missing")
		l.Words = []Word{{Text: "no", Col: l.Col}}
		return false
	}
	return true
}

// oneLine is a text without the space around its words.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "  ") && !strings.ContainsAny(s, "\t\v\f\r\n\u0085\u00a0") {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}
