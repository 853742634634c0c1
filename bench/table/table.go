// Package table makes the tables of benchmarks, and puts them into Markdown files.
package table

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	beginMark = "<!-- bench:begin -->"
	endMark   = "<!-- bench:end -->"
)

// Replace replaces the text between two marks in a Markdown file. If the marks
// or the file don't exist, it adds them.
func Replace(file, text string) error {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	marked, err := mark(string(b), text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(marked), 0o644)
}

func mark(doc, text string) (string, error) {
	begin, end := strings.Index(doc, beginMark), strings.Index(doc, endMark)
	block := beginMark + "\n" + strings.TrimSpace(text) + "\n" + endMark
	switch {
	case begin < 0 && end < 0:
		if doc == "" {
			doc = "# Performance\n"
		}
		return strings.TrimRight(doc, "\n") + "\n\n" + block + "\n", nil
	case begin < 0 || end < begin:
		return "", fmt.Errorf("either both %s and %s must exist, in this order, or neither", beginMark, endMark)
	}
	return doc[:begin] + block + doc[end+len(endMark):], nil
}

// Median returns the median of v, or 0 if it is empty.
func Median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// Row is a row of the table. Its slices have an element for each column.
type Row struct {
	Label  string
	Digits int         // after the decimal point
	Values [][]float64 // by column and round; nil for no value
	Failed []bool
}

// Format returns the table as Markdown, with the median of each cell's rounds.
func Format(columns []string, rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.Label)
		for i, v := range r.Values {
			cell := "–"
			if len(v) > 0 {
				cell = number(Median(v), r.Digits)
			}
			if r.Failed[i] {
				cell += " !"
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// number formats v with commas between thousands.
func number(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	whole, rest, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}
