package haproxy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

var timeUnits = map[string]time.Duration{
	"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
}

// parseTime reads "5s". unit is that of a number alone.
func parseTime(s string, unit time.Duration) (time.Duration, error) {
	digits := strings.TrimRight(s, "usmhd")
	if word := s[len(digits):]; word != "" {
		u, ok := timeUnits[word]
		if !ok {
			return 0, fmt.Errorf("%s has no unit of time; those are us, ms, s, m, h and d", hint.Quote(s))
		}
		unit = u
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s isn't a time such as 5s", hint.Quote(s))
	}
	return time.Duration(n) * unit, nil
}

// maxTimeout is the longest time of a Config.
const maxTimeout = 365 * 24 * time.Hour

// parseSize reads "100k".
func parseSize(s string) (int, error) {
	unit, digits := 1, s
	for suffix, n := range map[string]int{"k": 1 << 10, "m": 1 << 20, "g": 1 << 30} {
		if rest, ok := strings.CutSuffix(strings.ToLower(s), suffix); ok {
			unit, digits = n, rest
		}
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s isn't a size such as 100k", hint.Quote(s))
	}
	return int(n) * unit, nil
}

// seconds is a time in whole seconds, at least one.
func seconds(d time.Duration) time.Duration { return max(time.Second, d.Truncate(time.Second)) }
