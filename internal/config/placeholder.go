package config

import (
	"strings"
	"unicode"
)

// placeholders are parts of secrets that nobody chose, including those of docs/.
// None of them is likely in letters and digits drawn at random.
var placeholders = []string{
	"changeme", "changethis", "replaceme", "replacethis", "placeholder", "yoursecret", "mysecret", "secretsecret", "supersecret",
	"secretkey", "topsecret", "secretof", "atleast16", "sixteencharacters", "openssl", "example", "password",
	"0123456789", "1234567890", "abcdefgh", "qwerty",
}

// A secret drawn at random has at least fewCharacters different characters.
const fewCharacters = 6

// isPlaceholder reports whether a secret is likely to be copied from an example,
// so that others know it.
func isPlaceholder(secret string) bool {
	different := map[rune]bool{}
	plain := strings.Map(func(r rune) rune {
		different[r] = true
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, secret)
	for _, p := range placeholders {
		if strings.Contains(plain, p) {
			return true
		}
	}
	return len(different) < fewCharacters
}
