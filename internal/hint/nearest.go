package hint

import "strings"

// DidYouMean returns ` (did you mean "x"?)` with the word of known that is
// nearest to word, or "" if none is near.
func DidYouMean(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return " (did you mean " + Quote(near) + "?)"
	}
	return ""
}

// Nearest returns the word of known that word was probably meant to be, or "".
func Nearest(word string, known []string) string {
	const maxWord = 64 // no known word is longer; bounds the work
	if len(word) < 2 || len(word) > maxWord {
		return ""
	}
	normal := normalForm(word)
	best, bestDistance := "", 2+len(word)/6
	for _, k := range known {
		if len(k) > maxWord {
			continue
		}
		if d := editDistance(normal, normalForm(k), bestDistance); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best != "" {
		return best
	}
	// A shortened or lengthened word: addr for address, warning for warn.
	for _, k := range known {
		if len(word) >= 3 && len(k) >= 3 && (strings.HasPrefix(k, normal) || strings.HasPrefix(normal, k)) {
			return k
		}
	}
	return ""
}

func normalForm(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// editDistance counts the bytes to insert, delete, replace or swap with their
// neighbour to turn a into b (optimal string alignment). Any result of limit
// or more just means "too far".
func editDistance(a, b string, limit int) int {
	if diff := len(a) - len(b); diff >= limit || -diff >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
