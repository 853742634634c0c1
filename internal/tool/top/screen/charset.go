package screen

import "strings"

// Charset says which characters a terminal has.
type Charset struct {
	// ASCII is for terminals without UTF-8, and for the Linux console, whose font lacks
	// most of the blocks that charts are made of.
	ASCII bool
}

// CharsetOf reads the environment as programs of a Unix do: LC_ALL before LC_CTYPE before
// LANG. Without any of them it is UTF-8, as in most containers.
func CharsetOf(getenv func(string) string) Charset {
	if getenv("TERM") == "linux" {
		return Charset{ASCII: true}
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return Charset{ASCII: !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")}
		}
	}
	return Charset{}
}

func (c Charset) pick(unicode, ascii string) string {
	if c.ASCII {
		return ascii
	}
	return unicode
}

func (c Charset) more() string { return c.pick("…", "~") }

// Rule is a horizontal line.
func (c Charset) Rule(width int) string { return strings.Repeat(c.pick("─", "-"), max(width, 0)) }

// Down and Up mark the column that a table is sorted by.
func (c Charset) Down() string { return c.pick("▼", "v") }
func (c Charset) Up() string   { return c.pick("▲", "^") }

// Spark draws values as columns of one character each, in width columns: the newest at the
// right. The highest value that is shown has the full height, and 0 none.
func (c Charset) Spark(values []float64, width int) string {
	levels := []rune(c.pick("▁▂▃▄▅▆▇█", ".:-=+*#@"))
	width = max(width, 0)
	values = values[max(len(values)-width, 0):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		if v <= 0 || highest == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(levels[min(int(v/highest*float64(len(levels))), len(levels)-1)])
	}
	return b.String()
}

// Bar is a bar of width columns that is full to a part from 0 to 1.
func (c Charset) Bar(part float64, width int) string {
	width = max(width, 0)
	full := 0
	if part > 0 { // not for NaN
		full = int(min(part, 1)*float64(width) + 0.5)
	}
	return strings.Repeat(c.pick("█", "#"), full) + strings.Repeat(c.pick("░", "."), width-full)
}
