// Package syntax reads the text of nginx configurations: directives, blocks, and the
// files that they include. It knows no directive but include, and nothing of what
// directives mean.
//
// It reads a text as nginx does (ngx_conf_file.c): quotes are only special at the
// beginning of a word, a backslash keeps the next character from ending a word, and a
// brace after a dollar sign belongs to the word.
package syntax

import (
	"fmt"
	"strings"
)

// Pos is a place in a file. Line and Col count from 1, Col in characters.
type Pos struct {
	File      string
	Line, Col int
}

// Directive is a name with arguments, which ends with a semicolon or has a block.
type Directive struct {
	Pos
	Name string
	// Args are without quotes and escapes. Variables in them are text.
	Args []string
	// Block has the directives between braces. Those of an included file come after the
	// include, which stays in the list.
	Block []*Directive
	// HasBlock tells an empty block from none.
	HasBlock bool
	// Code is the text of a block in another language, such as Lua, whose braces aren't
	// nginx's. There is no Block then.
	Code string
}

// Text is one file.
type Text struct {
	Name string
	Data []byte
}

// Loader returns the files that the argument of an include stands for. For a pattern
// that no file matches it returns none.
type Loader func(pattern string) ([]Text, error)

// Error is a mistake in a text.
type Error struct {
	Pos
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg) }

// Bounds of what is read. They are far above real configurations, and keep a mistaken
// include, or a text made for that, from taking all memory.
const (
	maxDepth = 100       // blocks and includes within each other
	maxFiles = 10_000    // that are included
	maxBytes = 64 << 20  // of all files together
	maxWord  = 4096      // bytes of a word, as in nginx
	maxWords = 1_000_000 // of all files together
)

// Parse reads a text with all that it includes. The error is an *Error: nginx stops at
// the first mistake, too, since what follows it can't be understood.
func Parse(t Text, load Loader) ([]*Directive, error) {
	p := parser{load: load}
	list, err := p.file(t)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// parser has what all files share.
type parser struct {
	load                Loader
	open                []string // the names of files that are being read
	files, bytes, words int
}

func (p *parser) file(t Text) ([]*Directive, error) {
	p.bytes += len(t.Data)
	p.open = append(p.open, t.Name)
	defer func() { p.open = p.open[:len(p.open)-1] }()
	l := newLexer(t)
	if p.bytes > maxBytes {
		return nil, l.errorf("the files are more than %d MiB together", maxBytes>>20)
	}
	return p.block(l, Pos{}, len(p.open))
}

// block reads directives up to the end of a block that began at from, or if that is
// zero, up to the end of the file.
func (p *parser) block(l *lexer, from Pos, depth int) ([]*Directive, error) {
	if depth > maxDepth {
		return nil, l.errorf("more than %d blocks and files within each other", maxDepth)
	}
	var list []*Directive
	for {
		d, end, err := l.directive()
		if err != nil {
			return nil, err
		}
		switch {
		case end == atEnd && from != Pos{}:
			return nil, l.errorf("the file ends within the block that begins on line %d: a \"}\" is missing", from.Line)
		case end == atEnd:
			return list, nil
		case end == closes && from == Pos{}:
			return nil, &Error{d.Pos, "unexpected \"}\": no block is open here"}
		case end == closes:
			return list, nil
		}
		if p.words += 1 + len(d.Args); p.words > maxWords {
			return nil, &Error{d.Pos, fmt.Sprintf("more than %d words", maxWords)}
		}
		list = append(list, d)
		switch {
		case end == opens && isCode(d.Name):
			d.HasBlock = true
			if d.Code, err = l.code(d.Pos); err != nil {
				return nil, err
			}
		case end == opens:
			d.HasBlock = true
			if d.Block, err = p.block(l, d.Pos, depth+1); err != nil {
				return nil, err
			}
		case d.Name == "include" && len(d.Args) == 1:
			included, err := p.include(d, depth)
			if err != nil {
				return nil, err
			}
			list = append(list, included...)
		}
	}
}

// isCode reports whether the block of a directive is in Lua.
func isCode(name string) bool { return strings.HasSuffix(name, "_by_lua_block") }

func (p *parser) include(d *Directive, depth int) ([]*Directive, error) {
	texts, err := p.load(d.Args[0])
	if err != nil {
		return nil, &Error{d.Pos, err.Error()}
	}
	var list []*Directive
	for _, t := range texts {
		for _, open := range p.open {
			if open == t.Name {
				return nil, &Error{d.Pos, fmt.Sprintf("%s includes itself", t.Name)}
			}
		}
		if p.files++; p.files > maxFiles || len(p.open)+depth > maxDepth {
			return nil, &Error{d.Pos, "too many files are included"}
		}
		included, err := p.file(t)
		if err != nil {
			return nil, err
		}
		list = append(list, included...)
	}
	return list, nil
}
