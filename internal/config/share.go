package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Share is a number of backends, or a percentage of them if that isn't 0.
type Share struct{ Count, Percent int }

// maxBackends bounds a number of backends.
const maxBackends = 10_000

// ParseShare reads "2" or "50%".
func ParseShare(s string) (Share, error) {
	digits, percent := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil || strings.Trim(digits, "0123456789") != "":
		return Share{}, fmt.Errorf("expected a whole number of backends from 0 to %d or a percentage such as %q, got %s", maxBackends, "50%", hint.Quote(s))
	case percent && n > 100:
		return Share{}, fmt.Errorf("expected at most 100%%, got %s", hint.Quote(s))
	case percent:
		return Share{Percent: n}, nil
	case n > maxBackends:
		return Share{}, fmt.Errorf("expected a number from 0 to %d or a percentage such as %q, got %s", maxBackends, "50%", hint.Cut(s))
	}
	return Share{Count: n}, nil
}

func (s Share) String() string {
	if s.Percent > 0 {
		return fmt.Sprintf("%d%%", s.Percent)
	}
	return strconv.Itoa(s.Count)
}
