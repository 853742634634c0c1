package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Rates are bounded so that the time between two of something, and how many
// come in the longest of times, can be counted everywhere.
const (
	minRate = 1.0 / 3600 // a second
	maxRate = 1_000_000
)

// rate reads a rate for each backend, in events a second. It leaves into alone
// when there is a mistake.
func (d *decoder) rate(n *yaml.Node, into *float64) bool {
	text, ok := d.scalar(n, "a rate such as 200/s")
	if !ok {
		return false
	}
	v, err := parseRate(strings.TrimSuffix(text.value, " per backend"))
	if err != nil {
		d.fail(text.at, "%v", err)
		return false
	}
	*into = v
	return true
}

// parseRate reads "200/s", "30/m" or "100/h".
func parseRate(s string) (perSecond float64, err error) {
	bad := func(why string, args ...any) (float64, error) {
		return 0, fmt.Errorf("bad rate %s: %s", quote(s), fmt.Sprintf(why, args...))
	}
	digits, unit, found := strings.Cut(s, "/")
	v, err := strconv.ParseFloat(digits, 64)
	switch {
	case digits == "" || strings.Trim(digits, "0123456789.") != "" || err != nil && v == 0:
		return bad("write a number and /s, /m or /h, such as 200/s")
	case !found:
		return bad("the unit is missing, write for example %s/s", cut(digits))
	}
	switch unit {
	case "s":
	case "m":
		v /= time.Minute.Seconds()
	case "h":
		v /= time.Hour.Seconds()
	default:
		return bad("it is counted by the second, minute or hour: write /s, /m or /h, such as %s/s", cut(digits))
	}
	switch {
	case v == 0:
		return bad("it must be more than 0")
	case v < minRate:
		return bad("the lowest is 1/h")
	case v > maxRate:
		return bad("the highest is %d/s", maxRate)
	}
	return v, nil
}
