package screen

import (
	"strings"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Line is a line of input. The zero value is empty.
type Line struct {
	before, after string // of the cursor
}

// maxLine bounds a line in bytes.
const maxLine = 256

// Text is what was typed.
func (l *Line) Text() string { return l.before + l.after }

// Set replaces the text, with the cursor at its end.
func (l *Line) Set(s string) {
	*l = Line{}
	l.Insert(s)
}

// Insert puts a text at the cursor, as typed or pasted. What isn't printable is left out,
// and line breaks become spaces.
func (l *Line) Insert(s string) {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == utf8.RuneError || Clean(string(r)) != string(r):
			return -1
		}
		return r
	}, s)
	for len(s) > max(maxLine-len(l.before)-len(l.after), 0) {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	l.before += s
}

// Key does what a key that isn't text does, as in a shell, and reports whether it does
// something.
func (l *Line) Key(key string) bool {
	switch key {
	case "backspace", "ctrl+h":
		_, n := utf8.DecodeLastRuneInString(l.before)
		l.before = l.before[:len(l.before)-n]
	case "delete":
		_, n := utf8.DecodeRuneInString(l.after)
		l.after = l.after[n:]
	case "left":
		_, n := utf8.DecodeLastRuneInString(l.before)
		at := len(l.before) - n
		l.before, l.after = l.before[:at], l.before[at:]+l.after
	case "right":
		_, n := utf8.DecodeRuneInString(l.after)
		l.before, l.after = l.before+l.after[:n], l.after[n:]
	case "home", "ctrl+a":
		l.before, l.after = "", l.Text()
	case "end", "ctrl+e":
		l.before, l.after = l.Text(), ""
	case "ctrl+u":
		l.before = ""
	case "ctrl+k":
		l.after = ""
	case "ctrl+w":
		words := strings.TrimRight(l.before, " ")
		l.before = words[:strings.LastIndex(words, " ")+1]
	default:
		return false
	}
	return true
}

// View draws the part of the text around the cursor in width columns, and says in which of
// them the cursor is.
func (l *Line) View(c Charset, width int) (text string, cursor int) {
	if width <= 0 {
		return "", 0
	}
	before := l.before
	if w := Width(before); w >= width {
		before = ansi.TruncateLeft(before, w-width+1, "")
	}
	return c.Left(before+l.after, width), min(Width(before), width-1)
}
