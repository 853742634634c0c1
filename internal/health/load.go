package health

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// loadHeader is how a backend reports its load in the answer to a check: 0 is
// idle, 1 or 100% is all it can carry.
const loadHeader = "Holdfast-Load"

// leastCapacity is what a backend with full load is still given, so that one
// that never changes its mind isn't left without any session for good. One
// that wants none answers 503.
const leastCapacity = 0.01

// heardLoad begins the answer to a check with the load that the backend
// reports. One that reports none has none to report, or has stopped.
func heardLoad(h http.Header) answer {
	a := answer{heard: true, capacity: 1}
	value := h.Get(loadHeader)
	if value == "" {
		return a
	}
	load, ok := parseLoad(value)
	if !ok {
		a.trouble = fmt.Sprintf("%s: %.64q is neither a number from 0 to 1 nor a percentage; the last good one stays in force", loadHeader, value)
		return a
	}
	a.capacity = max(1-load, leastCapacity)
	return a
}

// parseLoad reads "0.7" or "70%".
func parseLoad(s string) (load float64, ok bool) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	number = strings.TrimSpace(number)
	// ParseFloat takes more than people write: 0x1p-1, 1_0, inf.
	if strings.Trim(number, "0123456789.") != "" {
		return 0, false
	}
	load, err := strconv.ParseFloat(number, 64)
	if percent {
		load /= 100
	}
	return load, err == nil && load <= 1
}
