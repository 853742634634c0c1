// Package table writes what comes from a balancer to a terminal: tables that fit its
// width, and text that can't do anything to it.
package table

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Column describes a column of a Table.
type Column struct {
	Title string
	Right bool // aligns to the right, for numbers
	// Drop says when the column is left out of a table that would be too wide: those with
	// the highest number first, those with 0 never.
	Drop int
	// Cut columns are shortened with "…" if leaving out others isn't enough.
	Cut bool
}

// Table is a table. Its last column is for notes: it isn't shortened but, if the table would
// be too wide with it, each note comes below its row.
type Table struct {
	columns []Column
	rows    [][]string
}

// gap is between columns, indent before notes below a row.
const (
	gap     = 2
	indent  = 4
	minimum = 10 // of a column that is cut
)

// New returns a table without rows.
func New(columns ...Column) *Table { return &Table{columns: columns} }

// Row adds a row. The cells may have any text. Missing ones are empty.
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.columns))
	for i, c := range cells {
		row[i] = Escape(c)
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Write writes the table for a terminal of that width; 0 is for other programs, which get
// all columns and one line for each row.
func (t *Table) Write(w io.Writer, width int) error {
	last := len(t.columns) - 1
	shown := make([]int, last)
	for i := range shown {
		shown[i] = i
	}
	wide := t.widths()
	note := width == 0 || t.total(wide, shown)+gap+wide[last] <= width
	if note {
		shown = append(shown, last)
	} else {
		shown = t.fit(wide, shown, width)
	}
	var out strings.Builder
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.Title
	}
	t.line(&out, titles, wide, shown)
	for _, row := range t.rows {
		t.line(&out, row, wide, shown)
		if !note && row[last] != "" {
			prefix := strings.Repeat(" ", indent)
			for line := range strings.Lines(Wrap(row[last], width-indent)) {
				out.WriteString(prefix + strings.TrimRight(line, "\n") + "\n")
			}
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// widths are those of the columns as they are.
func (t *Table) widths() []int {
	wide := make([]int, len(t.columns))
	for i, c := range t.columns {
		wide[i] = utf8.RuneCountInString(c.Title)
		for _, row := range t.rows {
			wide[i] = max(wide[i], utf8.RuneCountInString(row[i]))
		}
	}
	return wide
}

// total is the width of a line with those columns.
func (t *Table) total(wide, shown []int) int {
	n := gap * (len(shown) - 1)
	for _, i := range shown {
		n += wide[i]
	}
	return n
}

// fit leaves out columns, then cuts some, until the line is at most width wide, or nothing
// more can be done.
func (t *Table) fit(wide, shown []int, width int) []int {
	for t.total(wide, shown) > width {
		least := -1
		for at, i := range shown {
			if t.columns[i].Drop > 0 && (least < 0 || t.columns[i].Drop > t.columns[shown[least]].Drop) {
				least = at
			}
		}
		if least < 0 {
			break
		}
		shown = slices.Delete(shown, least, least+1)
	}
	for t.total(wide, shown) > width {
		longest := -1
		for _, i := range shown {
			if t.columns[i].Cut && wide[i] > minimum && (longest < 0 || wide[i] > wide[longest]) {
				longest = i
			}
		}
		if longest < 0 {
			break
		}
		wide[longest]--
	}
	return shown
}

func (t *Table) line(out *strings.Builder, cells []string, wide, shown []int) {
	var line strings.Builder
	for at, i := range shown {
		text := cells[i]
		if runes := []rune(text); len(runes) > wide[i] {
			text = string(runes[:wide[i]-1]) + "…"
		}
		space := strings.Repeat(" ", wide[i]-utf8.RuneCountInString(text))
		if at > 0 {
			line.WriteString(strings.Repeat(" ", gap))
		}
		if t.columns[i].Right {
			line.WriteString(space + text)
		} else {
			line.WriteString(text + space)
		}
	}
	out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// Wrap breaks text at spaces into lines of at most width characters; a longer word has a
// line of its own. With width 0 it is text.
func Wrap(text string, width int) string {
	if width <= 0 {
		return text
	}
	var b strings.Builder
	used := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > width:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
}
