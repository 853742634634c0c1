package schema

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
)

var (
	heading = regexp.MustCompile("^(##+) `(\\w+)`")
	row     = regexp.MustCompile("^\\| `(\\w+)` \\|(.*)\\|\\s*$")
	link    = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	named   = regexp.MustCompile(`\[[^]]*\]`)
)

// Described returns what the tables of docs/config.md, which is given as its text, say
// about the key at a path of a configuration. The name of a pool doesn't matter.
func Described(markdown string) func(config.Path) string {
	// By section and key, or by that, the section around and key. Sections of the whole
	// file begin with a slash: there are other timeouts.
	texts := map[string]string{}
	const top = 2
	var around [5]string // by the depth of headings
	depth := 0
	for line := range strings.Lines(markdown) {
		if m := heading.FindStringSubmatch(line); m != nil {
			depth = min(len(m[1]), len(around)-1)
			around[depth] = m[2]
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil || depth == 0 {
			continue
		}
		columns := strings.Split(m[2], " | ")
		if len(columns) < 3 {
			continue
		}
		text := plain(columns[2])
		if usual := plain(columns[1]); usual != "none" && usual != "" {
			text += " Default: " + strings.TrimSuffix(usual, ".") + "."
			text = strings.ReplaceAll(text, "Default: required.", "Required.")
		}
		section := around[depth]
		names := []string{section + " " + m[1], around[depth-1] + " " + section + " " + m[1]}
		if depth == top {
			names = []string{"/" + names[0]}
		}
		for _, name := range names {
			if _, ok := texts[name]; !ok {
				texts[name] = text
			}
		}
	}
	return func(p config.Path) string {
		var keys []string
		for i, key := range strings.Split(named.ReplaceAllString(string(p), ""), ".") {
			if i != 1 || keys[0] != "pools" { // the name of the pool
				keys = append(keys, key)
			}
		}
		n := len(keys)
		if n == 1 {
			return texts["/"+keys[0]+" "+keys[0]]
		}
		last := keys[n-2] + " " + keys[n-1]
		if n == 2 {
			return texts["/"+last]
		}
		return cmp.Or(texts[keys[n-3]+" "+last], texts[last], texts["/"+last])
	}
}

// plain is the text of a cell without links and marks.
func plain(cell string) string {
	cell = link.ReplaceAllString(strings.TrimSpace(cell), "$1")
	return strings.ReplaceAll(strings.ReplaceAll(cell, "`", ""), ", see below", "")
}
