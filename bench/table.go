package main

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

// replaceMarked replaces the text between two marks in a Markdown file. If the marks
// or the file don't exist, it adds them.
func replaceMarked(file, text string) error {
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

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// row is a row of the table. Its slices have an element for each column.
type row struct {
	label  string
	digits int
	values [][]float64 // by column and round; nil for no value
	failed []bool
}

func table(columns []string, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.label)
		for i, v := range r.values {
			cell := "–"
			if len(v) > 0 {
				cell = number(median(v), r.digits)
			}
			if r.failed[i] {
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
