package syntax

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// lexer reads one text byte by byte.
type lexer struct {
	name string
	text []byte
	at   int // of the next byte

	line      int
	lineStart int // where the line begins
}

func newLexer(t Text) *lexer { return &lexer{name: t.Name, text: t.Data, line: 1} }

// pos is the place of the byte at i, which is on the current line.
func (l *lexer) pos(i int) Pos {
	return Pos{l.name, l.line, 1 + utf8.RuneCount(l.text[l.lineStart:i])}
}

// errorf is an error at the next byte.
func (l *lexer) errorf(format string, args ...any) error {
	return &Error{l.pos(l.at), fmt.Sprintf(format, args...)}
}

// ending is how a directive ends.
type ending uint8

const (
	atEnd  ending = iota // there is none, the text has ended
	ends                 // with a semicolon
	opens                // with the brace that opens a block
	closes               // there is none: a brace closes the block around it
)

// directive reads up to a semicolon, a brace or the end of the text.
func (l *lexer) directive() (*Directive, ending, error) {
	d := new(Directive)
	some := false
	for {
		l.space()
		at := l.pos(l.at)
		if l.at == len(l.text) {
			if some {
				return nil, atEnd, &Error{at, fmt.Sprintf("the file ends within the directive %q: a \";\" is missing", d.Name)}
			}
			return d, atEnd, nil
		}
		switch c := l.text[l.at]; c {
		case ';', '{':
			l.at++
			switch {
			case !some:
				return nil, atEnd, &Error{at, fmt.Sprintf("unexpected %q: there is no directive before it", string(c))}
			case c == '{':
				return d, opens, nil
			}
			return d, ends, nil
		case '}':
			l.at++
			if some {
				return nil, atEnd, &Error{at, fmt.Sprintf("unexpected \"}\": the directive %q is not terminated by \";\"", d.Name)}
			}
			d.Pos = at
			return d, closes, nil
		}
		word, err := l.word(at)
		switch {
		case err != nil:
			return nil, atEnd, err
		case some:
			d.Args = append(d.Args, word)
		default:
			some, d.Pos, d.Name = true, at, word
		}
	}
}

// space skips spaces and comments.
func (l *lexer) space() {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == '#':
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.at++
			}
		case isSpace(c):
			l.next()
		default:
			return
		}
	}
}

// next goes past a byte.
func (l *lexer) next() {
	l.at++
	if l.text[l.at-1] == '\n' {
		l.line++
		l.lineStart = l.at
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// word reads a word that begins at the next byte.
func (l *lexer) word(at Pos) (string, error) {
	var quote byte
	if c := l.text[l.at]; c == '"' || c == '\'' {
		quote = c
		l.at++
	}
	start, variable, escaped := l.at, false, false
	for l.at < len(l.text) {
		c := l.text[l.at]
		switch {
		case quote != 0 && c == quote:
			text := l.unescape(start, escaped)
			l.at++
			if len(text) >= maxWord {
				return "", tooLong(at)
			}
			return text, l.afterQuote(quote)
		case c == '\\':
			escaped = true
			l.at++
			if l.at < len(l.text) {
				l.next()
			}
			variable = false
			continue
		case quote != 0:
		case c == '{' && variable: // of ${name}
		case isSpace(c) || c == ';' || c == '{':
			if l.at-start >= maxWord {
				return "", tooLong(at)
			}
			return l.unescape(start, escaped), nil
		}
		variable = c == '$'
		l.next()
	}
	if quote != 0 {
		return "", &Error{at, fmt.Sprintf("the text that begins here has no closing %q", string(quote))}
	}
	return "", l.errorf("the file ends within a directive: a \";\" is missing")
}

func tooLong(at Pos) error {
	return &Error{at, fmt.Sprintf("longer than %d bytes: probably a quotation mark is missing", maxWord)}
}

// afterQuote checks what follows a closing quotation mark. A bracket begins the next
// word, as in if ($a = "b").
func (l *lexer) afterQuote(quote byte) error {
	if l.at == len(l.text) {
		return l.errorf("the file ends within a directive: a \";\" is missing")
	}
	if c := l.text[l.at]; !isSpace(c) && c != ';' && c != '{' && c != ')' {
		r, _ := utf8.DecodeRune(l.text[l.at:])
		return l.errorf("unexpected %q after the closing %q", string(r), string(quote))
	}
	return nil
}

// unescape is the text from start to the next byte. nginx resolves these escapes and
// leaves others alone, so that regular expressions need no double backslashes.
func (l *lexer) unescape(start int, escaped bool) string {
	text := l.text[start:l.at]
	if !escaped {
		return string(text)
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			if j := strings.IndexByte(`"'\trn`, text[i+1]); j >= 0 {
				b.WriteByte("\"'\\\t\r\n"[j])
				i++
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
