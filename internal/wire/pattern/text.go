package pattern

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// maxText bounds the pattern of a text, in bytes.
const maxText = 256

// Text is a pattern for a text, such as the value of a field or a parameter: the text
// itself, in which each "*" stands for any characters, also none. Case matters. "*"
// alone matches every text. The zero Text matches only the empty one.
type Text struct{ text string }

// ParseText reads a pattern in the form that Text describes. The empty text is
// refused, since it could be a mistake.
func ParseText(s string) (Text, error) {
	switch {
	case s == "":
		return Text{}, fmt.Errorf("the text is empty: write one, or %q for any", "*")
	case len(s) > maxText:
		return Text{}, fmt.Errorf("the text is longer than %d bytes", maxText)
	case strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return Text{}, fmt.Errorf("the text %s has control characters in it", hint.Quote(s))
	case strings.TrimSpace(s) != s:
		return Text{}, errors.New("leave out the space around the text")
	}
	return Text{s}, nil
}

// String returns the pattern as ParseText read it.
func (p Text) String() string { return p.text }

// MatchText reports whether p matches s. The time it takes is bounded by the product of
// their lengths.
func MatchText[S ~string | ~[]byte](p Text, s S) bool {
	i, j := 0, 0 // in s and p.text
	star, from := -1, 0
	for i < len(s) {
		switch {
		case j < len(p.text) && p.text[j] == '*':
			star, from = j, i
			j++
		case j < len(p.text) && p.text[j] == s[i]:
			i++
			j++
		case star >= 0: // the last star stands for one more byte
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	for j < len(p.text) && p.text[j] == '*' {
		j++
	}
	return j == len(p.text)
}
