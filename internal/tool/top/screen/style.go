package screen

import "github.com/charmbracelet/x/ansi"

// Style is how a text looks; the zero value is the terminal's own.
type Style = ansi.Style

// Theme has the styles of a view. It uses the terminal's own background, and of its
// colours those that can be read on it. Nothing is said by colour alone.
type Theme struct {
	Strong, Weak, Selected, Good, Warn, Bad, Accent Style
}

// NewTheme returns the styles for a dark or a light background. The renderer leaves out
// colours that the terminal doesn't have.
func NewTheme(dark bool) Theme {
	t := Theme{
		Strong:   Style{}.Bold(),
		Weak:     Style{}.Faint(),
		Selected: Style{}.Reverse(true),
		Good:     Style{}.ForegroundColor(ansi.Green),
		Warn:     Style{}.ForegroundColor(ansi.Yellow).Bold(),
		Bad:      Style{}.ForegroundColor(ansi.Red).Bold(),
		Accent:   Style{}.ForegroundColor(ansi.Cyan),
	}
	if !dark {
		// Yellow, green and cyan are too pale on white; these are of the 256 colours, and
		// become the nearest of a terminal's 16.
		t.Warn = Style{}.ForegroundColor(ansi.IndexedColor(130)).Bold()
		t.Good = Style{}.ForegroundColor(ansi.IndexedColor(22))
		t.Accent = Style{}.ForegroundColor(ansi.IndexedColor(25))
	}
	return t
}
