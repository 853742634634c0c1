// Package hint helps error messages about what a user wrote: it quotes text
// safely and finds the word that was probably meant. The configuration, the
// parsers of its values and the command line use it.
package hint

import "strconv"

// longest is how many characters of a text a message shows.
const longest = 80

// Quote returns s in quotes, cut to a readable length, with everything escaped
// that could disturb a terminal.
func Quote(s string) string { return strconv.Quote(Cut(s)) }

// Cut shortens s to a length that is readable in a message.
func Cut(s string) string {
	if runes := []rune(s); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return s
}
