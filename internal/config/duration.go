package config

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Durations are bounded so that adding one to a time, or counting it in ticks,
// is safe everywhere.
const (
	minDuration = time.Millisecond
	maxDuration = 365 * 24 * time.Hour
)

// duration reads a duration. zero says whether it may be 0. It leaves into
// alone when there is a mistake.
func (d *decoder) duration(n *yaml.Node, into *time.Duration, zero bool) bool {
	return d.durationWithin(n, into, zero, minDuration, maxDuration)
}

// durationWithin reads a duration from shortest to longest, or 0 if zero says
// so. It leaves into alone when there is a mistake.
func (d *decoder) durationWithin(n *yaml.Node, into *time.Duration, zero bool, shortest, longest time.Duration) bool {
	text, ok := d.scalar(n, "a duration such as 5s")
	if !ok {
		return false
	}
	v, err := time.ParseDuration(text.value)
	_, notNumber := strconv.ParseFloat(text.value, 64)
	switch {
	case err != nil && notNumber == nil:
		d.fail(text.at, "bad duration %s: the unit is missing, write for example %ss", quote(text.value), cut(text.value))
	case err != nil:
		d.fail(text.at, "bad duration %s: write numbers with the units ms, s, m or h, such as 500ms, 5s or 1h30m", quote(text.value))
	case v < 0:
		d.fail(text.at, "bad duration %s: it must not be negative", quote(text.value))
	case v == 0 && !zero:
		d.fail(text.at, "bad duration %s: it must be more than 0", quote(text.value))
	case v != 0 && v < shortest:
		d.fail(text.at, "bad duration %s: the shortest is %s", quote(text.value), short(shortest))
	case v > longest && longest == maxDuration:
		d.fail(text.at, "bad duration %s: the longest is %s, a year", quote(text.value), short(longest))
	case v > longest:
		d.fail(text.at, "bad duration %s: the longest is %s", quote(text.value), short(longest))
	default:
		*into = v
		return true
	}
	return false
}

// short writes a duration as one would in the file: 1h, not 1h0m0s.
func short(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
