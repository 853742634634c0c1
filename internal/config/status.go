package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// StatusRange is a range of HTTP status codes, 200 to 599.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string { return fmt.Sprintf("%d-%d", r.From, r.To) }

// The status codes of an answer; those below are interim (RFC 9110 section
// 15.2).
const (
	minStatus = 200
	maxStatus = 599
	minFailed = 400
	// draining is the answer of a backend that wants no new sessions.
	draining = 503
)

// ParseStatus reads a status code or a range such as "200-299".
func ParseStatus(s string) (StatusRange, error) {
	r, err := parseStatus(s, minStatus, "200-299")
	if err == nil && r.From <= draining && draining <= r.To {
		err = fmt.Errorf("bad status %s: %d always says that a backend is draining, leave it out, as in [200-502, 504-599]", hint.Quote(s), draining)
	}
	if err != nil {
		return StatusRange{}, err
	}
	return r, nil
}

// ParseFailedStatus is ParseStatus for answers after which another backend is asked: 400
// to 599.
func ParseFailedStatus(s string) (StatusRange, error) { return parseStatus(s, minFailed, "502-504") }

func parseStatus(s string, lowest int, example string) (StatusRange, error) {
	bad := func(why string, args ...any) (StatusRange, error) {
		return StatusRange{}, fmt.Errorf("bad status %s: %s", hint.Quote(s), fmt.Sprintf(why, args...))
	}
	if len(s) == 3 && s[0] >= '2' && s[0] <= '5' && strings.EqualFold(s[1:], "xx") {
		return bad("write the range as %q", s[:1]+"00-"+s[:1]+"99")
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	r := StatusRange{statusCode(first), statusCode(last)}
	switch {
	case r.From < lowest || r.To < lowest:
		return bad("want a number from %d to %d, or a range such as %q", lowest, maxStatus, example)
	case r.From > r.To:
		return bad("the range is empty, did you mean %q?", last+"-"+first)
	}
	return r, nil
}

// statusCode is 0 if s is not a status code.
func statusCode(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || len(s) != 3 || n < minStatus || n > maxStatus {
		return 0
	}
	return n
}
