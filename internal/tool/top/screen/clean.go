// Package screen has what a view of fixed width is made of: texts that are safe for a
// terminal, cells and columns, numbers, small charts, and a line of input. It knows nothing
// of the balancer.
package screen

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// maxClean bounds a text in bytes. No line of a terminal is longer, and nobody can make
// the view slow with a long claim.
const maxClean = 1000

// Clean makes a text from elsewhere safe for a terminal. Control characters, among them
// the escape character and those that reverse the direction of text, become what they are
// called in Go: \x1b, \u202e. So do invalid bytes, and marks that change the width of the
// character before them, about which terminals disagree. A text that is longer than any
// line is cut.
func Clean(s string) string {
	s = s[:min(len(s), maxClean)]
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	var b strings.Builder
	marks := 0 // after one character
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + strconv.FormatUint(0x100|uint64(s[0]), 16)[1:])
		case !unicode.IsPrint(r), marks > 2, unicode.Is(unicode.Variation_Selector, r):
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	clean := b.String()
	if Width(" "+clean+" ") != Width(clean)+2 {
		// Its first or last character would join the space beside it, and so move all cells
		// after it.
		quoted := strconv.QuoteToASCII(clean)
		return strings.ReplaceAll(quoted[1:len(quoted)-1], `\\`, `\`)
	}
	return clean
}

// Width is the number of columns of a text, which may have styles.
func Width(s string) int { return ansi.StringWidth(s) }

// Cut shortens a text to width columns. The last character is "…" if something is missing.
func (c Charset) Cut(s string, width int) string {
	switch {
	case width <= 0:
		return ""
	case len(s) <= width: // no character is wider than its bytes
		return s
	}
	return ansi.Truncate(s, width, c.more())
}

// Left is a text in width columns, cut or with spaces after it.
func (c Charset) Left(s string, width int) string {
	s = c.Cut(s, width)
	return s + strings.Repeat(" ", max(width-Width(s), 0))
}

// Right is a text in width columns, cut or with spaces before it.
func (c Charset) Right(s string, width int) string {
	s = c.Cut(s, width)
	return strings.Repeat(" ", max(width-Width(s), 0)) + s
}

// Wrap breaks a text into lines of width columns, at spaces where it can.
func Wrap(s string, width int) []string {
	if width <= 0 {
		return nil
	}
	return strings.Split(ansi.Wrap(s, width, " "), "\n")
}
