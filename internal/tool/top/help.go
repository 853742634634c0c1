package top

import (
	"fmt"
	"strings"
)

// helpLines lists the keys, in as many columns as there is room for.
func (m *model) helpLines(height int) []string {
	var all []string
	for s := range scopes {
		if s == whileHelp {
			continue
		}
		if s != everywhere {
			all = append(all, m.theme.Strong.Styled(scopeNames[s]))
		}
		for i := range bindings {
			b := &bindings[i]
			if b.scope == s && (s == everywhere || b.keys[0] != "ctrl+c") {
				all = append(all, "  "+m.charset.Left(b.shown, 10)+" "+b.does)
			}
		}
	}
	const width = 38
	columns := max(m.width/width, 1)
	rows := (len(all) + columns - 1) / columns
	lines := make([]string, 0, rows)
	for i := range rows {
		var line strings.Builder
		for j := i; j < len(all); j += rows {
			line.WriteString(m.charset.Left(all[j], width-1) + " ")
		}
		lines = append(lines, strings.TrimRight(line.String(), " "))
	}
	return lines[:max(min(len(lines), height), 0)]
}

// Keys is the table of all keys in Markdown, as docs/top.md has it.
func Keys() string {
	var b strings.Builder
	b.WriteString("| Where | Key | Does |\n|---|---|---|\n")
	for i := range bindings {
		if k := &bindings[i]; k.scope != whileHelp {
			var keys []string
			for _, word := range strings.Split(k.shown, ", ") {
				keys = append(keys, "`"+word+"`")
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", scopeNames[k.scope], strings.Join(keys, ", "), k.does)
		}
	}
	return b.String()
}
