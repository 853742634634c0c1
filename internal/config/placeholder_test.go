package config

import (
	"crypto/rand"
	"encoding/base64"
	"os"
	"regexp"
	"testing"
)

func TestIsPlaceholder(t *testing.T) {
	for _, s := range []string{
		"change-me-change-me", "CHANGE_ME_0000000", "xxxxxxxxxxxxxxxxxxxx", "0123456789abcdef", "your-secret-goes-here", "abababababababab",
		"sixteen characters or more", "change me: openssl rand -base64 24", "a secret of sixteen or more", "Password123456789",
	} {
		if !isPlaceholder(s) {
			t.Errorf("%q is taken for a secret", s)
		}
	}
	for range 1000 {
		var key [24]byte
		rand.Read(key[:])
		if s := base64.StdEncoding.EncodeToString(key[:]); isPlaceholder(s) {
			t.Errorf("%q is taken for a placeholder", s)
		}
	}
	if isPlaceholder("correct horse battery staple") {
		t.Error("a passphrase is taken for a placeholder")
	}
}

// A secret that was copied from our documents gives a warning.
func TestSecretsOfDocsArePlaceholders(t *testing.T) {
	found := 0
	for _, file := range []string{"../../docs/config.md", "../../docs/balancing.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`secret: "([^"$]+)"`).FindAllStringSubmatch(string(text), -1) {
			found++
			if !isPlaceholder(m[1]) {
				t.Errorf("%s: %q is not known to be a placeholder", file, m[1])
			}
		}
	}
	if found < 2 {
		t.Errorf("%d secrets were found", found)
	}
}
