package health

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// loadHeader is the field in which a backend reports its load when it answers a
// check: 0 is idle, 1 or 100% is full.
const loadHeader = "Holdfast-Load"

// minCapacity is what a backend with full load still gets, so that one that always
// reports full load isn't left without sessions for good. A backend that wants no
// sessions answers 503.
const minCapacity = 0.01

// readLoad starts a result with the load that the backend reports. Without a
// report the load is 0.
func readLoad(h http.Header) result {
	a := result{reportsLoad: true, capacity: 1}
	value := h.Get(loadHeader)
	if value == "" {
		return a
	}
	load, ok := parseLoad(value)
	if !ok {
		a.problem = fmt.Sprintf("%s: %.64q is neither a number from 0 to 1 nor a percentage; the last valid one stays in force", loadHeader, value)
		return a
	}
	a.capacity = max(1-load, minCapacity)
	return a
}

// parseLoad parses "0.7" or "70%".
func parseLoad(s string) (load float64, ok bool) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	number = strings.TrimSpace(number)
	// ParseFloat accepts more than that: 0x1p-1, 1_0, inf.
	if strings.Trim(number, "0123456789.") != "" {
		return 0, false
	}
	load, err := strconv.ParseFloat(number, 64)
	if percent {
		load /= 100
	}
	return load, err == nil && load <= 1
}
