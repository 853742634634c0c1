package screen

import "strings"

// Column is a column of a table.
type Column struct {
	Title string
	Width int // the least, in columns of the terminal
	// Grow is this column's part of the width that is left over; 0 for none.
	Grow  int
	Right bool // numbers
	// Drop is the order in which columns are left out if the width isn't enough, the
	// highest first. Those with 0 stay.
	Drop int
}

// Layout returns the width of each column, 0 for those that are left out. A column of
// space is between two columns. All together are never wider than width.
func Layout(columns []Column, width int) []int {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = max(c.Width, 1)
	}
	for total(widths) > width {
		drop := -1
		for i, c := range columns {
			if widths[i] > 0 && c.Drop > 0 && (drop < 0 || c.Drop > columns[drop].Drop) {
				drop = i
			}
		}
		if drop < 0 {
			break
		}
		widths[drop] = 0
	}
	for i := len(widths) - 1; i >= 0 && total(widths) > width; i-- {
		over := total(widths) - width
		if widths[i] > over {
			widths[i] -= over
		} else {
			widths[i] = 0
		}
	}
	grow := 0
	for i, c := range columns {
		if widths[i] > 0 {
			grow += c.Grow
		}
	}
	left := width - total(widths)
	for i, c := range columns {
		if widths[i] == 0 || c.Grow == 0 || left <= 0 {
			continue
		}
		more := left * c.Grow / grow
		widths[i] += more
		left, grow = left-more, grow-c.Grow
	}
	return widths
}

// total is the width of a row, with a space between two columns.
func total(widths []int) int {
	sum := 0
	for _, w := range widths {
		if w > 0 {
			sum += w + 1
		}
	}
	return max(sum-1, 0)
}

// Cell is a text and its style.
type Cell struct {
	Text  string
	Style Style
}

// Row draws a row of width columns. cells and widths have one for each column. base is the
// style of the whole row: if it isn't plain, it replaces those of the cells.
func (c Charset) Row(columns []Column, widths []int, cells []Cell, width int, base Style) string {
	var b strings.Builder
	used := 0
	for i, w := range widths {
		if w == 0 {
			continue
		}
		if used > 0 {
			b.WriteByte(' ')
			used++
		}
		text := ""
		if i < len(cells) {
			text = cells[i].Text
		}
		if columns[i].Right {
			text = c.Right(text, w)
		} else {
			text = c.Left(text, w)
		}
		if i < len(cells) && len(base) == 0 {
			text = cells[i].Style.Styled(text)
		}
		b.WriteString(text)
		used += w
	}
	return base.Styled(b.String() + strings.Repeat(" ", max(width-used, 0)))
}
