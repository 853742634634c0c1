// Package syntax reads JSON into a tree whose nodes know where they stand. A text may have
// several values one after the other, as several commands print them. It knows nothing of
// load balancers.
package syntax

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Kind is the kind of a Node.
type Kind uint8

const (
	Null Kind = iota
	Bool
	Number
	String
	List
	Map
)

func (k Kind) String() string {
	return [...]string{"null", "true or false", "a number", "a text", "a list", "an object"}[k]
}

// Pos is a place in a text. Line and column count from 1, the column in characters.
type Pos struct{ Line, Col int }

// Node is a value. Methods of a nil Node return nothing.
type Node struct {
	Pos
	Kind   Kind
	Text   string  // of a Bool, Number or String
	Fields []Field // of a Map, in the order of the text
	Items  []*Node // of a List
}

// Field is a key of a Map and its value.
type Field struct {
	Pos   // of the key
	Key   string
	Value *Node
}

// Get returns the value below a path of keys, nil if there is none or if it is null.
func (n *Node) Get(path ...string) *Node {
	for _, key := range path {
		var found *Node
		if n != nil {
			for i := range n.Fields {
				if n.Fields[i].Key == key {
					found = n.Fields[i].Value
				}
			}
		}
		n = found
	}
	if n != nil && n.Kind == Null {
		return nil
	}
	return n
}

// Str returns the text below a path of keys, "" if there is none.
func (n *Node) Str(path ...string) string {
	if v := n.Get(path...); v != nil {
		return v.Text
	}
	return ""
}

// Num returns the whole number below a path of keys, 0 if there is none.
func (n *Node) Num(path ...string) int {
	i, err := strconv.Atoi(n.Str(path...))
	if err != nil {
		return 0
	}
	return i
}

// True reports whether the value below a path of keys is true.
func (n *Node) True(path ...string) bool { return n.Str(path...) == "true" }

// All returns the items of the list below a path of keys.
func (n *Node) All(path ...string) []*Node {
	if v := n.Get(path...); v != nil {
		return v.Items
	}
	return nil
}

// Texts returns the texts of the list below a path of keys.
func (n *Node) Texts(path ...string) (all []string) {
	for _, item := range n.All(path...) {
		all = append(all, item.Text)
	}
	return all
}

// Error is what is wrong with a text.
type Error struct {
	Pos
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Msg) }

const (
	// MaxSize bounds a text in bytes.
	MaxSize = 16 << 20
	// maxDepth bounds how deep values are nested.
	maxDepth = 100
)

// Parse reads all values of a text. The error is an *Error.
func Parse(data []byte) (values []*Node, err error) {
	if len(data) > MaxSize {
		return nil, &Error{Msg: fmt.Sprintf("larger than %d MiB", MaxSize>>20)}
	}
	p := parser{text: strings.TrimPrefix(string(data), "\ufeff"), line: 1, col: 1}
	defer func() {
		if r := recover(); r != nil {
			bad, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			values, err = nil, bad
		}
	}()
	for p.space(); p.at < len(p.text); p.space() {
		values = append(values, p.value(0))
	}
	return values, nil
}

// parser reads a text. It panics with an *Error.
type parser struct {
	text      string
	at        int
	line, col int
}

func (p *parser) pos() Pos { return Pos{p.line, p.col} }

func (p *parser) fail(at Pos, format string, args ...any) {
	panic(&Error{at, fmt.Sprintf("not JSON: "+format, args...)})
}

// peek is the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// skip goes over one character.
func (p *parser) skip() {
	c, size := utf8.DecodeRuneInString(p.text[p.at:])
	if c == utf8.RuneError && size == 1 {
		p.fail(p.pos(), "this isn't text in UTF-8")
	}
	p.at += size
	p.col++
	if c == '\n' {
		p.line, p.col = p.line+1, 1
	}
}

func (p *parser) space() {
	for strings.IndexByte(" \t\r\n", p.peek()) >= 0 && p.at < len(p.text) {
		p.skip()
	}
}

// next describes what stands here, for errors.
func (p *parser) next() string {
	if p.at >= len(p.text) {
		return "the text ends"
	}
	c, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return "there is " + hint.Quote(string(c))
}

func (p *parser) expect(c byte, what string) {
	p.space()
	if p.peek() != c || p.at >= len(p.text) {
		p.fail(p.pos(), "expected %s, and %s", what, p.next())
	}
	p.skip()
}

func (p *parser) value(depth int) *Node {
	p.space()
	n := &Node{Pos: p.pos()}
	if depth > maxDepth {
		p.fail(n.Pos, "values are nested more than %d deep", maxDepth)
	}
	switch c := p.peek(); {
	case c == '{':
		p.skip()
		n.Kind = Map
		for p.space(); p.peek() != '}'; p.space() {
			if len(n.Fields) > 0 {
				p.expect(',', "a comma or the end of the object")
				p.space()
			}
			f := Field{Pos: p.pos()}
			if p.peek() != '"' {
				p.fail(f.Pos, "expected a key in quotes, and %s", p.next())
			}
			f.Key = p.str()
			p.expect(':', "a colon")
			f.Value = p.value(depth + 1)
			n.Fields = append(n.Fields, f)
		}
		p.skip()
	case c == '[':
		p.skip()
		n.Kind = List
		for p.space(); p.peek() != ']'; p.space() {
			if len(n.Items) > 0 {
				p.expect(',', "a comma or the end of the list")
			}
			n.Items = append(n.Items, p.value(depth+1))
		}
		p.skip()
	case c == '"':
		n.Kind, n.Text = String, p.str()
	case c == '-' || c >= '0' && c <= '9':
		begin := p.at
		for strings.IndexByte("+-.eE0123456789", p.peek()) >= 0 && p.at < len(p.text) {
			p.skip()
		}
		n.Kind, n.Text = Number, p.text[begin:p.at]
		if _, err := strconv.ParseFloat(n.Text, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
			p.fail(n.Pos, "bad number %s", hint.Quote(n.Text))
		}
	default:
		for word, kind := range map[string]Kind{"true": Bool, "false": Bool, "null": Null} {
			if strings.HasPrefix(p.text[p.at:], word) {
				p.at, p.col = p.at+len(word), p.col+len(word)
				n.Kind = kind
				if kind == Bool {
					n.Text = word
				}
				return n
			}
		}
		p.fail(n.Pos, "expected a value, and %s", p.next())
	}
	return n
}

// str reads a text in quotes (RFC 8259 section 7).
func (p *parser) str() string {
	begin := p.pos()
	p.skip()
	var b strings.Builder
	for {
		switch c := p.peek(); {
		case p.at >= len(p.text):
			p.fail(begin, "this quote is never closed")
		case c == '"':
			p.skip()
			return b.String()
		case c < ' ':
			p.fail(p.pos(), "a text can't have %s in it", hint.Quote(string(rune(c))))
		case c == '\\':
			p.skip()
			b.WriteRune(p.escape())
		default:
			from := p.at
			p.skip()
			b.WriteString(p.text[from:p.at])
		}
	}
}

var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape reads what follows a backslash.
func (p *parser) escape() rune {
	c := p.peek()
	if r, ok := escapes[c]; ok {
		p.skip()
		return r
	}
	if c != 'u' {
		p.fail(p.pos(), "bad escape: %s", p.next())
	}
	r := p.hex()
	if utf16.IsSurrogate(r) && strings.HasPrefix(p.text[p.at:], `\u`) {
		before := *p
		p.skip()
		if both := utf16.DecodeRune(r, p.hex()); both != utf8.RuneError {
			return both
		}
		*p = before // half a pair, and another escape
	}
	return r // WriteRune makes U+FFFD of half a pair
}

// hex reads "u" and four digits.
func (p *parser) hex() rune {
	at := p.pos()
	p.skip()
	if p.at+4 > len(p.text) {
		p.fail(at, "bad escape: four digits follow \\u")
	}
	n, err := strconv.ParseUint(p.text[p.at:p.at+4], 16, 16)
	if err != nil {
		p.fail(at, "bad escape: four digits follow \\u")
	}
	p.at, p.col = p.at+4, p.col+4
	return rune(n)
}
